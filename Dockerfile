# docker build -t bitmoji-jax .                                     # runs on a CPU
# docker build -t bitmoji-jax:cuda --build-arg EXTRAS=web,cuda .    # on NVIDIA GPUs: docker run --gpus all
#
# docs/container.md has the commands. Python's version is that of requirements/ci.txt, whose versions are installed.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY requirements/ci.txt requirements/ci.txt
COPY experiments experiments
COPY bitmoji_jax bitmoji_jax
ARG EXTRAS=web
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/bitmoji && /opt/bitmoji/bin/pip install --constraint requirements/ci.txt ".[${EXTRAS}]"

FROM python:3.11-slim
COPY --from=build /opt/bitmoji /opt/bitmoji
# Nothing is written outside /tmp, so that the root file system can be read-only.
ENV PATH=/opt/bitmoji/bin:$PATH HOME=/tmp XDG_CACHE_HOME=/tmp/cache PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /work
EXPOSE 7860
# The server listens once all is compiled. The page is answered also while a photo is translated.
HEALTHCHECK --start-period=5m --interval=15s --timeout=10s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=9)"]
ENTRYPOINT ["bitmoji"]
CMD ["serve", "--host", "0.0.0.0"]
