"""Translates all photos of a folder or bucket on a Ray cluster.

    pip install 'ray[data]'
    python examples/translate_ray.py s3://mine/photos s3://mine/avatars --actors 8 --gpus 1

Each actor has its own translator, and with --gpus 1 its own GPU. a/me.jpg becomes a/me.jpg.png. Run it again to go on
where it was stopped: photos whose avatar exists are left out. Folders must be shared by all machines.
"""

import argparse
import io
from pathlib import Path

import pyarrow.fs
import ray

import bitmoji_jax as bj


class Translate:
    """Makes the avatar of a photo and writes it: one in each actor."""

    def __init__(self, source: pyarrow.fs.FileSystem, photos: str, target: pyarrow.fs.FileSystem, avatars: str) -> None:
        self.source, self.photos, self.target, self.avatars = source, photos, target, avatars
        self.translator = bj.Translator.pretrained()

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        with self.source.open_input_stream(row["photo"]) as stream:
            photo = stream.read()
        png = io.BytesIO()
        try:
            self.translator.photo(photo).save(png, "PNG")
        except bj.InputError as error:
            return {**row, "error": str(error)}
        path = f"{self.avatars}/{relative(row['photo'], self.photos)}.png"
        self.target.create_dir(str(Path(path).parent), recursive=True)
        with self.target.open_output_stream(f"{path}.part") as stream:
            stream.write(png.getvalue())
        self.target.move(f"{path}.part", path)  # so that a file of this name is whole
        return {**row, "error": ""}


def open_folder(address: str) -> tuple[pyarrow.fs.FileSystem, str, list[str]]:
    """Returns the file system of an address, the folder's path there, and those of the files below it."""
    files, folder = pyarrow.fs.FileSystem.from_uri(address if "://" in address else str(Path(address).absolute()))
    below = files.get_file_info(pyarrow.fs.FileSelector(folder, allow_not_found=True, recursive=True))
    return files, folder, [info.path for info in below if info.is_file]


def relative(path: str, folder: str) -> str:
    return str(Path(path).relative_to(folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("avatars")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--gpus", type=float, default=0, help="of each actor")
    arguments = parser.parse_args()
    source, photos, paths = open_folder(arguments.photos)
    target, avatars, existing = open_folder(arguments.avatars)
    done = {relative(path, avatars) for path in existing}
    missing = [path for path in paths if f"{relative(path, photos)}.png" not in done]
    print(f"{len(paths)} files, {len(paths) - len(missing)} of them have an avatar")
    if missing:
        # The actors read the photos themselves: tasks that read would wait for a core that no actor has.
        rows = ray.data.from_items([{"photo": path} for path in missing]).map(
            Translate,
            fn_constructor_args=(source, photos, target, avatars),
            compute=ray.data.ActorPoolStrategy(size=arguments.actors),
            num_gpus=arguments.gpus,
        )
        errors = [row for row in rows.iter_rows() if row["error"]]
        for row in errors:
            print(f"skipped {row['photo']}: {row['error']}")
        print(f"{len(missing) - len(errors)} avatars, {len(errors)} skipped -> {arguments.avatars}")
