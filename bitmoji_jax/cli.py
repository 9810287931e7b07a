"""The commands of `python -m bitmoji_jax`, installed as `bitmoji` too.

Exit codes: 0 done; 2 bad usage or input, with a line on stderr that says what and how to mend it; 130
interrupted.
"""

import io
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import rich.console
import tyro

from bitmoji_jax.cache import use_compilation_cache
from bitmoji_jax.data.images import quiet_decoders
from bitmoji_jax.errors import InputError
from bitmoji_jax.files import write_atomic

if TYPE_CHECKING:
    from bitmoji_jax.inference.translator import Translator
    from bitmoji_jax.inference.weights import Weights

_LabelFiles = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="CSV...", help_behavior_hint="(optional)")]


def prepare(
    photos: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    avatars: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    labels_photos: _LabelFiles = (),
    labels_avatars: _LabelFiles = (),
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 128,
) -> None:
    """Make a dataset of a folder of photos and a folder of avatars.

    Takes JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and HEIC of any colour kind, in nested folders. Images are turned
    upright, cut to their central square and resized; one in ten goes to the test splits, by a hash of its
    name. Unreadable, truncated, too small, too large and duplicate ones are dropped and listed in
    prepare_report.json.

    Args:
        photos: Folder of photos, framed like those that will be translated.
        avatars: Folder of avatars.
        out: Folder to make, for example data/mine.
        labels_photos: What is known about photos, one table or several. Column `file` is the path below the
            folder; `gender` is male, female or blank; `eyeL_x`, `eyeL_y` and so on for eyeR, nose, mouthL and
            mouthR are fractions of the image; any other column becomes an attribute.
        labels_avatars: The same about avatars.
        size: Height and width of the images in the dataset.
    """
    from bitmoji_jax.data import prepare as preparation

    report = preparation.prepare(
        photos, avatars, out, size=size, labels_photos=labels_photos, labels_avatars=labels_avatars
    )
    for line in report.warnings:
        print(f"warning: {line}", file=sys.stderr)
    print(report.summary(out))
    print(f"next: python launch.py --exp res5 --data.dir {shlex.quote(str(out))}")


def evaluate(
    run: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR"), tyro.conf.UseAppendAction],
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="best|latest|IMAGES")] = None,
) -> None:
    """Judge runs on test images, and write a report: index.html and scores.json.

    Scores that need labels are taken as far as the dataset has them.

    Args:
        run: The folder of a run; repeat the flag to set several side by side.
        data: A dataset made by `prepare`; by default the one the runs were trained with.
        out: The report's folder; by default report/ in the first run's.
        checkpoint: Of every run; by default the one of the lowest KID, or the latest where none was taken.
    """
    from bitmoji_jax.evaluation.evaluate import evaluate as evaluate_runs

    if not run:
        raise InputError("name at least one run: --run DIR")
    evaluate_runs(
        run,
        run[0] / "report" if out is None else out,
        data=data,
        checkpoint=_checkpoint(checkpoint),
    )


def translate(
    photos: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO_OR_DIR...")],
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None,
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="best|latest|IMAGES")] = None,
    direction: Literal["x2y", "y2x"] = "x2y",
    aligned: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    all_faces: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    format: Literal["png", "webp"] = "png",
    transparent: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    grid: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Make avatars of photos.

    Takes any photos of people, JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and HEIC, and folders of them with everything
    below. Finds the face, turns it upright, frames it and cuts it out as the training photos were. A file that can't
    be used is skipped with a line that says why; nothing that exists is overwritten.

    Args:
        photos: Files and folders.
        out: Folder for the avatars; me.jpg becomes me.png, or me-2.png where there is one.
        run: The folder of a run, or a file of weights or of `export --format stablehlo`; by default the weights that
            come with the package.
        checkpoint: Of the run; by default the one of the lowest KID, or the latest where none was taken.
        direction: y2x makes photos of avatars, which must be framed as in training.
        aligned: The photos are framed as in training already: take their central squares as they are.
        all_faces: Every face of a photo, not only the largest.
        force: Also faces that can hardly be used, and the middle of a photo in which none is found.
        format: Of the avatars.
        transparent: Leave the white background out.
        grid: Also write sheets of the faces beside their avatars, grid.png and so on.
    """
    from bitmoji_jax.inference.translate_files import Options, translate_files

    if not photos:
        raise InputError("name at least one photo or folder of photos")
    options = Options(direction, aligned, all_faces, force, format, transparent, grid)
    console = rich.console.Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    summary = translate_files(photos, out, _translator(run, checkpoint), options, console)
    print(f"{summary} -> {out}")


def serve(
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None,
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="best|latest|IMAGES")] = None,
    host: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, tyro.conf.arg(metavar="PORT")] = 7860,
) -> None:
    """Serve a web page that turns photos into avatars.

    Needs the extra `web`: pip install 'bitmoji-jax[web]'. Nothing that people send is kept, and the page asks
    nothing of any other server. Ctrl-C or SIGTERM stops it after the photos under way.

    Args:
        run: The folder of a run, or a file of weights; by default those of the package, which are for research only.
        checkpoint: Of the run; by default the one of the lowest KID, or the latest where none was taken.
        host: Where to listen; by default only this computer can reach it. 0.0.0.0 is for everybody in the network.
        port: 0 takes a free one.
    """
    try:
        from bitmoji_jax.web.server import serve as serve_page
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise InputError("the web page needs the extra `web`: pip install 'bitmoji-jax[web]'") from error
    serve_page(_translator(run, checkpoint), host=host, port=port, pretrained=run is None)


def export(
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    format: Literal["stablehlo", "onnx"],
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None,
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="best|latest|IMAGES")] = None,
) -> None:
    """Write the photo-to-avatar network as one file that runs without this package.

    It takes aligned photos, uint8 [N, size, size, 3], and gives avatars of the same shape, as `Translator` does.
    Needs the extra `export`: pip install 'bitmoji-jax[export]'.

    Args:
        out: The file to write; an existing file is not overwritten.
        format: stablehlo for JAX on a CPU, a GPU or a TPU; onnx for ONNX Runtime on anything, browsers and phones
            included.
        run: The folder of a run, or a file of weights; by default those that come with the package.
        checkpoint: Of the run; by default the one of the lowest KID, or the latest where none was taken.
    """
    if out.exists():
        raise InputError(f"{out} exists already: remove it first, or choose another name")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent} for {out.name}: create it first")
    try:
        if format == "onnx":
            from bitmoji_jax.inference.export_onnx import to_onnx as serialize
        else:
            from bitmoji_jax.inference.export_stablehlo import to_stablehlo as serialize
    except ModuleNotFoundError as error:
        raise InputError("ONNX files need the extra `export`: pip install 'bitmoji-jax[export]'") from error
    weights = _weights(run, checkpoint)
    write_atomic(out, serialize(weights))
    megabytes = out.stat().st_size / 1e6
    print(f"exported {weights.config.data.image_size} px, {weights.images:,} images seen, {megabytes:.1f} MB: {out}")


def _translator(run: Path | None, checkpoint: str | None) -> "Translator":
    """What --run and --checkpoint name."""
    from bitmoji_jax.inference.translator import Translator

    use_compilation_cache()
    if run is not None and run.is_file() and checkpoint is None:
        return Translator.from_file(run)
    return Translator.from_weights(_weights(run, checkpoint))


def _weights(run: Path | None, checkpoint: str | None) -> "Weights":
    from bitmoji_jax.inference.weights import load_weights, pretrained_weights, run_weights

    if checkpoint is not None and (run is None or run.is_file()):
        raise InputError("--checkpoint is one of a run's: name the run's folder with --run")
    if run is None:
        return pretrained_weights()
    return load_weights(run) if run.is_file() else run_weights(run, _checkpoint(checkpoint))[0]


def _checkpoint(name: str | None) -> str | int | None:
    return int(name) if name is not None and name.isdigit() else name


# Each imports what it needs when it runs, so that --help and a mistyped flag are answered at once.
_COMMANDS: dict[str, Callable[..., Any]] = {
    "prepare": prepare,
    "translate": translate,
    "evaluate": evaluate,
    "serve": serve,
    "export": export,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: Those of the process by default.

    Returns:
        The exit code; bad usage raises SystemExit(2), as --help does SystemExit(0).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A file name may be any bytes.
    quiet_decoders()
    try:
        # The name it was called by: the installed command, or the module.
        prog = "bitmoji" if Path(sys.argv[0]).stem == "bitmoji" else "python -m bitmoji_jax"
        tyro.extras.subcommand_cli_from_dict(_COMMANDS, prog=prog, args=arguments)
    except (InputError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
