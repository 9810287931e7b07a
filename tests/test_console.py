import io
import os
import sys

import pytest

from bitmoji_jax.console import SteadyStream, make_console, steady_streams


class Gone(io.StringIO):
    """A stream that fails as closed pipes, full disks, lost terminals, closed files and re-entered buffers do."""

    error: Exception = BrokenPipeError(32, "Broken pipe")

    def write(self, _: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


ERRORS = [
    BrokenPipeError(32, "Broken pipe"),
    OSError(28, "No space left on device"),
    OSError(5, "Input/output error"),
    ValueError("I/O operation on closed file"),
    RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>"),
]


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_no_print_raises(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Gone()
    gone.error = error
    monkeypatch.setattr(sys, "stdout", gone)
    make_console().print("a line")
    with steady_streams():
        print("a line", flush=True)


def test_text_arrives_unchanged_and_what_an_encoding_lacks_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    make_console().print("[bold]2 × 3 · data/[x]")
    assert capsys.readouterr() == ("[bold]2 × 3 · data/[x]\n", "")
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print("2 × 3 \udcff", file=SteadyStream(ascii_only), flush=True)  # type: ignore[arg-type]
    assert ascii_only.buffer.getvalue() == b"2 \\xd7 3 \\udcff\n"  # type: ignore[attr-defined]


def test_streams_are_put_back_and_what_is_lost_does_not_disturb_the_end_of_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed_pipe:
        monkeypatch.setattr(sys, "stdout", closed_pipe)
        monkeypatch.setattr(sys, "stderr", None)  # as after 2>&-
        with steady_streams():
            print("lost")
            print("lost", file=sys.stderr)
        assert sys.stdout is closed_pipe
        closed_pipe.flush()  # as Python does; it raised
