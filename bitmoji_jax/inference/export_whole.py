"""All networks between any photo and its avatar, with a program that runs them, as one zip archive.

It is for programs that cannot have this package. Needs the extra `export`.
"""

import io
import zipfile
from pathlib import Path

from bitmoji_jax.inference.export_onnx import to_onnx
from bitmoji_jax.inference.onnx_faces import face_network_to_onnx
from bitmoji_jax.inference.weights import Weights
from bitmoji_jax.models.face_networks import SIZES, WEIGHTS

_RUNNER = Path(__file__).with_name("whole_runner.py")
_NOTICE = WEIGHTS.with_name("NOTICE_FACES")  # the licence of the face networks asks for it


def to_whole(weights: Weights) -> bytes:
    """Makes the archive: avatar.onnx (`to_onnx`), those of `face_network_to_onnx`, run.py and NOTICE.

    The same weights give the same bytes.
    """
    contents = {"avatar.onnx": to_onnx(weights)}
    contents |= {f"{name}.onnx": face_network_to_onnx(name) for name in SIZES}
    contents |= {"run.py": _RUNNER.read_bytes(), "NOTICE": _NOTICE.read_bytes()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name)  # dated 1980
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    return file.getvalue()
