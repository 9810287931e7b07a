"""The commands of `python -m bitmoji_jax`, also installed as `bitmoji`.

`command.run_command` gives the exit codes, and one line on stderr for every error.
"""

import functools
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from bitmoji_jax.command import expand_home, run_command
from bitmoji_jax.console import make_console
from bitmoji_jax.data.images import quiet_decoders
from bitmoji_jax.errors import InputError
from bitmoji_jax.files import make_folder, write_atomic

if TYPE_CHECKING:
    from bitmoji_jax.data.framing import Frame, MeasureIta
    from bitmoji_jax.inference.look import Look
    from bitmoji_jax.inference.translator import Translator
    from bitmoji_jax.inference.weights import Weights

_Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]
_Tables = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="CSV...", help_behavior_hint="(optional)")]
# An empty hint leaves out "(default: None)": the text says what the default does.
_OptionalFolder = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
_Run = Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="")]
_Checkpoint = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="best|latest|IMAGES",
        help="Checkpoint of the run; by default the one with the lowest KID, or else the latest.",
        help_behavior_hint="",
    ),
]
_Packaged = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="NAME",
        help="Weights of the package by name, in place of --run: res5 is the article's network, at 64 px.",
        help_behavior_hint="",
    ),
]
_Colour = Annotated[str | None, tyro.conf.arg(metavar="COLOUR", help_behavior_hint="")]
_Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")]


def prepare(
    photos: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR...", help_behavior_hint="(required)")],
    avatars: _Folder,
    out: _Folder,
    labels_photos: _Tables = (),
    labels_avatars: _Tables = (),
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 128,
    align: _Flag = False,
    cut_out: _Flag = False,
) -> None:
    """Make a dataset from folders of photos and a folder of avatars.

    Reads JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and HEIC files in all subfolders. Images are turned upright, cropped to
    their central square and resized; one in ten goes to the test splits, chosen by a hash of its name. Unreadable,
    truncated, too small, too large and duplicate images are left out and listed in prepare_report.json, with --align
    also photos without a usable face.

    A table of labels has a column `file`, the path below the folder (in any case, and with folders in front, where that
    can mean one file only), and any of these: `gender` is male, female or
    blank; `eyeL_x`, `eyeL_y` and the same for eyeR, nose, mouthL and mouthR are fractions of the image's width and
    height; any other column becomes an attribute. `ita` is the lightness of the skin, an angle in degrees; it is
    measured where it is not given and the face's landmarks are known or found. `age` is a number of years, by which
    `evaluate` forms groups.

    Args:
        photos: Folders of photos, framed like those that will be translated unless --align frames them. Where several
            folders have a file of the same path, its name begins with its folder's name.
        avatars: Folder of avatars.
        out: Folder to create, for example data/mine.
        labels_photos: Tables of labels of the photos.
        labels_avatars: Tables of labels of the avatars.
        size: Height and width of the images in the dataset.
        align: Find the largest face of each photo, turn it upright and frame it, as `translate` does.
        cut_out: Put the person in each photo on white, as `translate` does. Without --align, photos are taken as framed
            already, and those on white already are left as they are.
    """
    from bitmoji_jax.data import prepare as preparation

    if not photos:
        raise InputError("name at least one folder of photos: --photos DIR")
    frame: Frame | None = None
    measure_ita: MeasureIta | None = None
    if align or cut_out:
        import jax

        from bitmoji_jax.faces.frame import aligned_frame, cut_out_frame

        jax.config.update("jax_platforms", "cpu")  # as in the worker processes, so that the bytes are the same
        frame = functools.partial(aligned_frame, cut_out=cut_out) if align else cut_out_frame
    if align or labels_photos:  # otherwise no landmarks are known
        from bitmoji_jax.metrics.face_colour import skin_ita

        measure_ita = skin_ita
    report = preparation.prepare(
        photos,
        avatars,
        out,
        size=size,
        labels_photos=labels_photos,
        labels_avatars=labels_avatars,
        frame=frame,
        measure_ita=measure_ita,
    )
    for line in report.warnings:
        print(f"warning: {line}", file=sys.stderr)
    print(report.summary(out))
    # Photos that were framed here are cut out or not, which a run has to know; others are as the user made them.
    not_cut_out = " --data.no-cut-out" if align and not cut_out else ""
    print(f"next: {_prog()} train --exp res5 --data.dir {shlex.quote(str(out))}{not_cut_out}")


def train() -> None:
    """Train an experiment, or continue its run: `train --exp NAME`; `train --help` lists the flags."""
    # For the list of commands only: `_run` gives the words after it to the launcher, which parses them in two steps.


def evaluate(
    run: Annotated[
        tuple[Path, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="DIR", help_behavior_hint="(required, repeatable)"),
    ],
    data: _OptionalFolder = None,
    out: _OptionalFolder = None,
    checkpoint: _Checkpoint = None,
) -> None:
    """Score runs on test images and write a report: index.html and scores.json.

    Scores that need labels are computed from those that the dataset has. Scores of single photos are computed by
    gender, skin tone and age too; the group on which a run does worst is printed and in the report.

    Args:
        run: Folder of a run; several are compared.
        data: Dataset made by `prepare`; by default the one the runs were trained with.
        out: Folder for the report; by default report/ in the folder of the first run.
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
    photos: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PHOTO_OR_DIR...", help_behavior_hint="(required)"),
    ],
    out: _Folder,
    run: _Run = None,
    checkpoint: _Checkpoint = None,
    weights: _Packaged = None,
    direction: Literal["x2y", "y2x"] = "x2y",
    aligned: _Flag = False,
    all_faces: _Flag = False,
    force: _Flag = False,
    format: Literal["png", "webp"] = "png",
    transparent: _Flag = False,
    grid: _Flag = False,
    skip_existing: _Flag = False,
    shard: Annotated[str | None, tyro.conf.arg(metavar="I/N", help_behavior_hint="")] = None,
    gender: Annotated[Literal["female", "male"] | None, tyro.conf.arg(help_behavior_hint="")] = None,
    skin: _Colour = None,
    hair: _Colour = None,
    glasses: _Flag = False,
    no_glasses: _Flag = False,
    mouth: Annotated[Literal["open", "closed"] | None, tyro.conf.arg(help_behavior_hint="")] = None,
    hat: _Flag = False,
    no_hat: _Flag = False,
    variants: _Flag = False,
    sticker: _Flag = False,
) -> None:
    """Turn photos into avatars.

    Reads photos of people (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC) and folders of them with all subfolders. Faces
    are found, turned upright, framed and cut out like the training photos. A file that cannot be used is skipped with a
    line that says why. Existing files are never overwritten. Avatars that this command made are left out of folders, so
    --out may be among the photos.

    Args:
        photos: Files and folders.
        out: Folder for the avatars; me.jpg becomes me.png, or me-2.png if me.png exists.
        run: Folder of a run, file of weights, or file of `export --format stablehlo`; by default the package's weights.
        direction: x2y turns photos into avatars; y2x turns avatars, framed as in training, into photos.
        aligned: The photos are already framed as in training: use their central squares.
        all_faces: Translate every face of a photo, not only the largest.
        force: Also translate faces that are hard to use, and the middle of a photo without a face.
        format: File format of the avatars.
        transparent: Make the white background transparent.
        grid: Also write sheets of the faces beside their avatars: grid.png, grid-2.png and so on.
        skip_existing: Leave out photos whose avatar is in --out already, to go on where a command was stopped.
        shard: Translate the I-th of N equal parts of the photos, for N commands at the same time, as in a job array.
        gender: Draw all avatars as this, not as the photo says.
        skin: Draw all avatars with skin of this colour, such as #c68642.
        hair: Draw all avatars with hair of this colour.
        glasses: Draw all avatars with glasses.
        no_glasses: Draw all avatars without glasses.
        mouth: Draw all avatars with an open or a closed mouth, not as the photo says.
        hat: Draw all avatars with a knitted hat.
        no_hat: Draw all avatars without a hat.
        variants: Write three avatars of each face to choose from, me_1.png to me_3.png: of the photo as it is, of the
            mirrored and of the enlarged one.
        sticker: Also write an animated sticker beside each avatar, me-sticker.webp: it blinks and smiles.
    """
    from bitmoji_jax.inference.translate_files import Options, translate_files

    if not photos:
        raise InputError("name at least one photo or folder of photos")
    make_folder(out, "--out")  # before the networks are loaded
    for name, wanted, unwanted in (("glasses", glasses, no_glasses), ("hat", hat, no_hat)):
        if wanted and unwanted:
            raise InputError(f"--{name} and --no-{name} cannot both be: give one of them")
    look = _look(gender, skin, hair, _choice(glasses, no_glasses), mouth, _choice(hat, no_hat))
    flags = (direction, aligned, all_faces, force, format, transparent, grid, skip_existing)
    options = Options(*flags, _shard(shard), look, variants, sticker)
    console = make_console(stderr=True)
    console.print("Getting ready: compiling takes up to a minute the first time")
    summary = translate_files(photos, out, _translator(run, checkpoint, weights), options, console)
    print(f"{summary} -> {out}")


def serve(
    run: _Run = None,
    checkpoint: _Checkpoint = None,
    weights: _Packaged = None,
    host: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, tyro.conf.arg(metavar="PORT")] = 7860,
    public_url: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="URL", help_behavior_hint="(optional, repeatable)"),
    ] = (),
) -> None:
    """Serve a web page that turns photos into avatars.

    Needs the extra `web`: pip install 'bitmoji-jax[web]'. Photos are not kept, and the page loads nothing from other
    servers. Ctrl-C or SIGTERM stops the server within 2 s, in which photos in progress are finished.

    Args:
        run: Folder of a run, or file of weights; by default the package's weights, which are for research only.
        host: Address to listen at; by default only this computer can reach it. 0.0.0.0 opens it to the network.
        port: Port to listen at; 0 takes a free one.
        public_url: Address of the page behind a reverse proxy, such as https://avatars.example.
    """
    try:
        from bitmoji_jax.web.origin import parse_public_url
        from bitmoji_jax.web.server import serve as serve_page
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise InputError("the web page needs the extra `web`: pip install 'bitmoji-jax[web]'") from error
    public = [parse_public_url(url) for url in public_url]
    translator = _translator(run, checkpoint, weights)
    serve_page(translator, host=host, port=port, pretrained=run is None, public=public)


def export(
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    format: Literal["stablehlo", "onnx", "web"],
    run: _Run = None,
    checkpoint: _Checkpoint = None,
    weights: _Packaged = None,
    whole: _Flag = False,
    onnxruntime_web: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("node_modules/onnxruntime-web"),
) -> None:
    """Write the photo-to-avatar network to one file, or a web page to a folder, that runs without this package.

    The file maps aligned photos, uint8 [N, H, H, 3], to avatars, uint8 [N, S, S, 3], as `Translator` does; the command
    prints H and S. The web page is that of `serve`, but needs no server: any host of static files will do, and the
    browser finds the face and makes the avatar, also without a network. Needs the extra `export`: pip install
    'bitmoji-jax[export]'.

    Args:
        out: File or, for web, folder to write; an existing one is never overwritten.
        format: stablehlo for JAX on a CPU, GPU or TPU; onnx for ONNX Runtime, browsers and phones included; web for a
            page that needs no server.
        run: Folder of a run, or file of weights; by default the package's weights.
        whole: Write a zip: also the networks that find and cut out faces, and a program for any photo. Only for onnx.
        onnxruntime_web: For web: the npm package that runs the networks; an error says how to install it.
    """
    if whole and format != "onnx":
        raise InputError("--whole is for ONNX networks: give --format onnx too")
    if out.exists():
        raise InputError(f"{out} exists already: remove it first, or choose another name")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent} for {out.name}: create it first")
    make_folder(out.parent, "the folder of --out,")
    from bitmoji_jax.models.networks import avatar_size

    try:
        if whole:
            from bitmoji_jax.inference.export_whole import to_whole as serialize
        elif format == "web":
            from bitmoji_jax.web.export_site import check_runtime, export_site

            check_runtime(onnxruntime_web)
        elif format == "onnx":
            from bitmoji_jax.inference.export_onnx import to_onnx as serialize
        else:
            from bitmoji_jax.inference.export_stablehlo import to_stablehlo as serialize
    except ModuleNotFoundError as error:
        raise InputError("ONNX files need the extra `export`: pip install 'bitmoji-jax[export]'") from error
    loaded = _weights(run, checkpoint, weights)
    if format == "web":
        megabytes = export_site(loaded, out, onnxruntime_web, pretrained=run is None) / 1e6
    else:
        write_atomic(out, serialize(loaded))
        megabytes = out.stat().st_size / 1e6
    photos, avatars = loaded.config.data.image_size, avatar_size(loaded.config, loaded.networks)
    print(f"exported {photos} px to {avatars} px, {loaded.images:,} images seen, {megabytes:.1f} MB: {out}")


def _translator(run: Path | None, checkpoint: str | None, weights: str | None) -> "Translator":
    """Loads the translator that --run, --checkpoint and --weights name."""
    from bitmoji_jax.inference.translator import Translator

    if run is not None and run.is_file() and checkpoint is None and weights is None:
        return Translator.from_file(run)
    return Translator.from_weights(_weights(run, checkpoint, weights))


def _weights(run: Path | None, checkpoint: str | None, weights: str | None) -> "Weights":
    from bitmoji_jax.inference.weights import load_weights, pretrained_weights, run_weights

    if run is not None and weights is not None:
        raise InputError("--run and --weights each name the weights to use: give one of them")
    if checkpoint is not None and (run is None or run.is_file()):
        raise InputError("--checkpoint is one of a run's: name the run's folder with --run")
    if run is None:
        return pretrained_weights(weights)
    return load_weights(run) if run.is_file() else run_weights(run, _checkpoint(checkpoint))[0]


def _choice(wanted: bool, unwanted: bool) -> bool | None:
    """What two flags ask for; None: neither."""
    return wanted if wanted or unwanted else None


def _look(
    gender: Literal["female", "male"] | None,
    skin: str | None,
    hair: str | None,
    glasses: bool | None,
    mouth: Literal["open", "closed"] | None,
    hat: bool | None,
) -> "Look":
    """The look that flags ask for."""
    from bitmoji_jax.inference.look import Look, parse_colour

    try:
        skin_colour, hair_colour = (None if text is None else parse_colour(text) for text in (skin, hair))
    except ValueError as error:
        raise InputError(str(error)) from None
    return Look(gender, skin_colour, hair_colour, glasses, mouth, hat)


def _shard(text: str | None) -> tuple[int, int] | None:
    """Parses "I/N"."""
    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise InputError(f"--shard {text} is not I/N with I from 1 to N: for example 1/8")
    return int(number), int(count)


def _checkpoint(name: str | None) -> str | int | None:
    return int(name) if name is not None and name.isdigit() else name


# Each command imports what it needs when it runs, so that --help and usage errors come at once.
_COMMANDS: dict[str, Callable[..., Any]] = {
    "prepare": prepare,
    "train": train,
    "translate": translate,
    "evaluate": evaluate,
    "serve": serve,
    "export": export,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      arguments: the command line after the program's name; by default that of the process.

    Returns:
      The exit code. Bad usage raises SystemExit(2), --help SystemExit(0).
    """
    return run_command(lambda: _run(sys.argv[1:] if arguments is None else list(arguments)))


def _run(arguments: list[str]) -> int:
    quiet_decoders()
    if arguments[:1] == ["train"]:
        from bitmoji_jax import experiments, launcher

        return launcher.main(arguments[1:], experiments, prog=f"{_prog()} train")
    tyro.extras.subcommand_cli_from_dict(_COMMANDS, prog=_prog(), args=expand_home(arguments))
    return 0


def _prog() -> str:
    """What the user typed to start this program."""
    return "bitmoji" if Path(sys.argv[0]).stem == "bitmoji" else "python -m bitmoji_jax"
