"""The commands of `python -m bitmoji_jax`.

Exit codes: 0 done; 2 bad usage or input, with a line on stderr that says what and how to mend it; 130
interrupted.
"""

import io
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from bitmoji_jax.errors import InputError

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

    Takes JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF of any colour kind, in nested folders. Images are turned
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
    inception: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Judge runs on test images, and write a report: index.html and scores.json.

    Needs the extra `eval`: pip install 'bitmoji-jax[eval]'. Scores that need labels are taken as far as the
    dataset has them.

    Args:
        run: The folder of a run; repeat the flag to set several side by side.
        data: A dataset made by `prepare`; by default the one the runs were trained with.
        out: The report's folder; by default report/ in the first run's.
        checkpoint: Of every run; by default the one of the lowest KID, or the latest where none was taken.
        inception: Weights of the Inception network that FID is defined by, a file for PyTorch as pytorch-fid has
            it; without it there is no FID.
    """
    from bitmoji_jax.evaluation.evaluate import evaluate as evaluate_runs

    if not run:
        raise InputError("name at least one run: --run DIR")
    evaluate_runs(
        run,
        run[0] / "report" if out is None else out,
        data=data,
        checkpoint=_checkpoint(checkpoint),
        inception=inception,
    )


def export(
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    format: Literal["stablehlo", "onnx"],
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="best|latest|IMAGES")] = None,
) -> None:
    """Write the photo-to-avatar network as one file that runs without this package.

    It takes aligned photos, uint8 [N, size, size, 3], and gives avatars of the same shape, as `Translator` does.
    Needs the extra `export`: pip install 'bitmoji-jax[export]'.

    Args:
        out: The file to write; one that is there already is not touched.
        format: stablehlo for JAX on a CPU, a GPU or a TPU; onnx for ONNX Runtime on anything, browsers and phones
            included.
        run: The folder of a run; without it, the weights that come with the package.
        checkpoint: By default the one of the lowest KID, or the latest where none was taken.
    """
    from bitmoji_jax.inference.export import export_onnx, export_stablehlo
    from bitmoji_jax.inference.weights import pretrained_weights, run_weights

    if run is None and checkpoint is not None:
        raise InputError("a checkpoint is one of a run: name it with --run DIR")
    weights = pretrained_weights() if run is None else run_weights(run, _checkpoint(checkpoint))[0]
    (export_onnx if format == "onnx" else export_stablehlo)(weights, out)
    megabytes = out.stat().st_size / 1e6
    print(f"exported {weights.config.data.image_size} px, {weights.images:,} images seen, {megabytes:.1f} MB: {out}")


def _checkpoint(name: str | None) -> str | int | None:
    return int(name) if name is not None and name.isdigit() else name


# Each imports what it needs when it runs, so that --help and a mistyped flag are answered at once.
_COMMANDS: dict[str, Callable[..., Any]] = {"prepare": prepare, "evaluate": evaluate, "export": export}


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
    try:
        tyro.extras.subcommand_cli_from_dict(_COMMANDS, prog="python -m bitmoji_jax", args=arguments)
    except (InputError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
