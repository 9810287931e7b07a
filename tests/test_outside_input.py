"""Tables, configurations, weights and exported files, whatever is in them, are used or refused in one line."""

import csv
import dataclasses
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from bitmoji_jax.config import ExperimentConfig, from_json, to_json
from bitmoji_jax.data.builder import GENDERS
from bitmoji_jax.data.labels import attribute_types, read_labels
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.export_stablehlo import to_stablehlo
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import BEST, load_weights, run_weights, save_weights
from tests.outside_input import EDITS, TEXT, Edit, assert_one_line, changed_json, edited, examples
from tests.random_weights import random_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples: pytest makes `tmp_path` once for a test, not for an example."""
    return tmp_path_factory.mktemp("outside")


# Tables of labels.

FILES = {"a.png", "b/c.jpg", "b/C.jpg", "ä.png", "d e.png", "'f\n.png"}
COLUMNS = ["file", "gender", "eyeL_x", "eyeL_y", "mouthR_y", "hat", " file", "", "FILE", "hat\n\x1b[31m", "é" * 300]
CELLS = st.one_of(
    st.sampled_from([*sorted(FILES), "b\\c.jpg", "x/a.png", "A.PNG", "a\u0308.png", "x" * 131_000, "a/" * 60_000]),
    st.sampled_from(
        [*GENDERS, "Male", "0.5", "nan", "-inf", "1e999", "3", "0_1", "", " ", "\0", "no\nbody", "\x1b[2J"]
    ),
    TEXT,
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """CSVs, whole and damaged."""
    rows = [draw(st.lists(st.one_of(st.sampled_from(COLUMNS), TEXT), max_size=5))]
    if draw(st.integers(0, 4)):
        rows[0].insert(draw(st.integers(0, len(rows[0]))), "file")
    width = st.just(len(rows[0])) if draw(st.integers(0, 4)) else st.integers(0, 7)
    for _ in range(draw(st.integers(0, 4))):
        count = draw(width)
        rows.append(draw(st.lists(CELLS, min_size=count, max_size=count)))
    if draw(st.integers(0, 4)) == 0:
        text = draw(st.sampled_from(["\n", "\r", "\r\n"])).join(",".join(row) for row in rows)
    else:
        stream = io.StringIO()
        csv.writer(stream, quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))).writerows(rows)
        text = stream.getvalue()
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    content = text.encode(encoding, "replace")
    return edited(content, draw(EDITS)) if draw(st.integers(0, 4)) == 0 else content


@examples(250)
@hypothesis.given(table=tables(), other=tables())
def test_any_table_gives_labels_or_one_line(folder: Path, table: bytes, other: bytes) -> None:
    paths = [folder / "1.csv", folder / "2.csv"]
    for path, content in zip(paths, (table, other), strict=True):
        path.write_bytes(content)
    for chosen in (paths[:1], paths):
        try:
            labels, lines = read_labels(chosen, FILES, "photos")
        except InputError as error:
            assert_one_line(str(error))
            continue
        types, more = attribute_types(labels.items())
        for line in (*lines, *more):
            assert_one_line(line)
        assert set(labels) <= FILES
        for label in labels.values():
            assert label.gender in GENDERS
            assert (label.landmarks.dtype, label.landmarks.shape) == (np.float32, (5, 2))
            assert not (np.abs(label.landmarks - 0.5) > 1.5).any()
            assert label.attributes.keys() <= types.keys()
            assert all(types[name](value) is not None for name, value in label.attributes.items())


# Configurations and files of weights.


@examples(250)
@hypothesis.given(data=st.data())
def test_any_json_is_a_configuration_that_survives_or_a_value_error_of_one_line(data: st.DataObject) -> None:
    text = changed_json(dataclasses.asdict(ExperimentConfig()), data)
    try:
        config = from_json(text)
    except ValueError as error:
        assert_one_line(str(error))
    else:
        assert from_json(to_json(config)) == config
        assert config.train.total_images(70_000) >= 0


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """A run with the weights of a tiny network."""
    (folder / "run").mkdir()
    save_weights(folder / "run" / BEST, random_weights())
    (folder / "run" / "config.json").write_text(to_json(random_weights().config))
    return folder / "run"


@examples(60)
@hypothesis.given(edits=EDITS)
def test_a_damaged_configuration_of_a_run_is_one_line(run: Path, edits: list[Edit]) -> None:
    whole = (run / "config.json").read_bytes()
    (run / "config.json").write_bytes(edited(whole, edits))
    try:
        assert run_weights(run)[0].networks.keys() == {"g", "f"}
    except InputError as error:
        assert_one_line(str(error).replace(str(run), ""))
    finally:
        (run / "config.json").write_bytes(whole)


def parts_of_weights(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and what follows it."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def changed_weights(content: bytes, data: st.DataObject) -> bytes:
    """A safetensors file whose bytes, header, types, names or metadata are others."""
    header, arrays = parts_of_weights(content)
    names = sorted(header.keys() - {"__metadata__"})
    change = data.draw(st.sampled_from(["bytes", "header", "metadata", "config", "config", "type", "name"]))
    if change == "bytes":
        return edited(content, data.draw(EDITS))
    if change == "config":
        config = json.loads(header["__metadata__"]["config"])
        header["__metadata__"]["config"] = changed_json(config, data)
    elif change == "metadata":
        name = data.draw(st.sampled_from(["images", "config"]))
        header["__metadata__"][name] = data.draw(st.sampled_from(["", "nan", "-1", "1e9", "9" * 5000]) | TEXT)
    elif change == "type":
        types = [
            ("F8_E4M3", 1),
            ("F8_E5M2", 1),
            ("F64", 8),
            ("C64", 8),
            ("BOOL", 1),
            ("BF16", 2),
            ("I64", 8),
            ("U8", 1),
        ]
        kind, size = data.draw(st.sampled_from(types))
        start, end = header[name := data.draw(st.sampled_from(names))]["data_offsets"]
        header[name] |= {"dtype": kind, "shape": [(end - start) // size]}
    elif change == "name":
        new = st.sampled_from(["g", "g/params", names[0] + "/x", "", "guard/mean", "critics/d_x", "q/w", "critics/"])
        header[data.draw(new | TEXT)] = header.pop(data.draw(st.sampled_from(names)))
    text = json.dumps(header) if change != "header" else changed_json(header, data)
    encoded = text.encode("utf-8", "replace")
    return struct.pack("<Q", len(encoded)) + encoded + arrays


@examples(60)
@hypothesis.given(data=st.data())
def test_any_file_of_weights_is_read_or_one_line(run: Path, data: st.DataObject) -> None:
    whole = (run / BEST).read_bytes()
    (run / BEST).write_bytes(changed_weights(whole, data))
    try:
        for load in (load_weights, Translator.from_file, lambda path: run_weights(path.parent)[0]):
            try:
                load(run / BEST)
            except InputError as error:
                assert_one_line(str(error).replace(str(run), ""))
    finally:
        (run / BEST).write_bytes(whole)


# Exported files.


@pytest.fixture(scope="module")
def exported() -> bytes:
    """A tiny network as a StableHLO file."""
    return to_stablehlo(random_weights())


def changed_export(content: bytes, data: st.DataObject) -> bytes:
    """An exported file whose bytes, function or members are others."""
    change = data.draw(st.sampled_from(["bytes", "end", "function", "metadata", "metadata", "members"]))
    if change == "bytes":
        return edited(content, data.draw(EDITS))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start, metadata = archive.getinfo("metadata.json").header_offset, archive.read("metadata.json")
    if change == "end":  # of the archive, where its directory is
        return content[:-120] + edited(content[-120:], data.draw(EDITS))
    function, name, mode = content[:start], "metadata.json", zipfile.ZIP_STORED
    if change == "function":
        function = edited(function, data.draw(EDITS))
    elif change == "metadata":
        metadata = changed_json(json.loads(metadata), data).encode("utf-8", "replace")
    else:
        name = data.draw(st.sampled_from(["metadata.json", "config.json", "../metadata.json"]))
        mode = data.draw(st.sampled_from([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))
    file = io.BytesIO(function)
    with zipfile.ZipFile(file, "a", mode) as archive:
        archive.writestr(name, metadata)
    if change == "members" and data.draw(st.booleans()):
        return function + edited(file.getvalue()[start:], data.draw(EDITS))
    return file.getvalue()


@examples(80)
@hypothesis.given(data=st.data())
def test_any_exported_file_translates_or_is_one_line(exported: bytes, folder: Path, data: st.DataObject) -> None:
    path = folder / "exported"
    path.write_bytes(changed_export(exported, data))
    try:
        found = Translator.from_file(path)
    except InputError as error:
        assert_one_line(str(error))
    else:
        assert (found.input_size, found.size, found.directions) == (32, 32, {"x2y"})
