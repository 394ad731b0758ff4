"""CIFAR-10 and CIFAR-100 as their author publishes them, in binary or Python form.

Binary: records of one label byte (CIFAR-100: coarse, then fine) and 3072 pixel bytes; names in a text file.
Python: pickled dicts, see cifar_pickle.py.
Pixels lie plane by plane (red, green, blue), each 32 rows of 32.
Source of both layouts: https://www.cs.toronto.edu/~kriz/cifar.html
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from snellen.errors import DataError
from snellen.sources.cifar_pickle import Array, load_pickle
from snellen.sources.decode import is_picture
from snellen.sources.names import CONTROL, MAX_LETTERS, shown
from snellen.sources.rows import Row, natural_key

SIDE = 32  # pixels
PIXEL_BYTES = 3 * SIDE * SIDE
MAX_BYTES = 256 * 10**6  # of one file; the largest of CIFAR-100 is 155 MB


@dataclass(frozen=True)
class CifarFiles:
    """The files of CIFAR in a source."""

    kind: str  # "CIFAR-10" or "CIFAR-100"
    is_binary: bool
    train: tuple[str, ...]  # in the order of the ids
    test: tuple[str, ...]
    meta: str  # contains the names of the classes


LAYOUTS = [  # kind, is_binary, train, test, meta
    ("CIFAR-10", True, r"data_batch_\d+\.bin", r"test_batch\.bin", r"batches\.meta\.txt"),
    ("CIFAR-10", False, r"data_batch_\d+", r"test_batch", r"batches\.meta"),
    ("CIFAR-100", True, r"train\.bin", r"test\.bin", r"fine_label_names\.txt"),
    ("CIFAR-100", False, r"train", r"test", r"meta"),
]


def find_cifar(names: Sequence[str]) -> CifarFiles | None:
    """Find the files of one of the four forms by name, in any folder of a source. Return None if there are none."""
    names = [name for name in names if not is_picture(name)]
    for kind, is_binary, train, test, meta in LAYOUTS:
        for name in names:
            folder, _, base = name.rpartition("/")
            if re.fullmatch(meta, base):
                near = {n: n.rpartition("/")[2] for n in names if n.rpartition("/")[0] == folder}
                batches = sorted((n for n, base in near.items() if re.fullmatch(train, base)), key=natural_key)
                if batches:
                    tests = tuple(n for n, base in near.items() if re.fullmatch(test, base))
                    return CifarFiles(kind, is_binary, tuple(batches), tests, name)
    return None


def read_cifar(found: CifarFiles, contents: dict[str, bytes]) -> tuple[list[Row], tuple[str, ...], np.ndarray]:
    """Return one row for each image, the classes in the order of the files, and the pixels, uint8 (N, 32, 32, 3).

    contents: the bytes of every file of `found`.
    Ids count from 1 across the train files and again from 1 in the test file. Test images keep their labels.
    Raises DataError for a damaged file.
    """
    classes = _read_classes(found, contents[found.meta])
    rows: list[Row] = []
    pixels: list[np.ndarray] = []
    for names, split in ((found.train, None), (found.test, "test")):
        number = 0
        for name in names:
            labels, planes = (_read_binary if found.is_binary else _read_pickle)(name, contents[name], found.kind)
            if not all(0 <= label < len(classes) for label in labels):
                odd = next(i for i, label in enumerate(labels) if not 0 <= label < len(classes))
                _damaged(name, f"record {odd + 1} has the label {labels[odd]}, but there are {len(classes)} classes")
            file = name.rpartition("/")[2].removesuffix(".bin")
            rows += [
                Row(str(number + i), classes[label], split, f"{file}/{i}") for i, label in enumerate(labels, start=1)
            ]
            number += len(labels)
            pixels.append(planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
    return rows, classes, np.concatenate(pixels)


def _read_classes(found: CifarFiles, data: bytes) -> tuple[str, ...]:
    if found.is_binary:
        try:
            names = data.decode("ascii").split()
        except UnicodeDecodeError:
            _damaged(found.meta, "it is not a list of names")
    else:
        names = _unpickled(found.meta, data).get("label_names" if found.kind == "CIFAR-10" else "fine_label_names", [])
        names = [name.decode("latin1") if isinstance(name, bytes) else str(name) for name in names]
    if len(names) < 2 or len(set(names)) < len(names):
        _damaged(found.meta, "it does not name each class once")
    if any(len(name) > MAX_LETTERS or CONTROL.search(name) for name in names):
        _damaged(found.meta, f"a class name contains control characters or more than {MAX_LETTERS:,} characters")
    return tuple(names)


def _read_binary(name: str, data: bytes, kind: str) -> tuple[list[int], np.ndarray]:
    num_labels = 1 if kind == "CIFAR-10" else 2  # the second one of CIFAR-100 is the fine one
    if len(data) % (num_labels + PIXEL_BYTES) or not data:
        _damaged(name, f"{len(data):,} bytes are not a whole number of images of {num_labels + PIXEL_BYTES}")
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, num_labels + PIXEL_BYTES)
    return records[:, num_labels - 1].tolist(), records[:, num_labels:]


def _read_pickle(name: str, data: bytes, kind: str) -> tuple[list[int], np.ndarray]:
    batch = _unpickled(name, data)
    labels, pixels = batch.get("labels" if kind == "CIFAR-10" else "fine_labels"), batch.get("data")
    pixels = pixels.pixels if isinstance(pixels, Array) else None
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        _damaged(name, "it does not contain a list of labels")
    if pixels is None or pixels.shape != (len(labels), PIXEL_BYTES):
        _damaged(name, f"it does not contain {PIXEL_BYTES} pixel bytes for each of its {len(labels)} labels")
    return labels, pixels


def _damaged(name: str, why: str) -> NoReturn:
    raise DataError(
        f"{name.rpartition('/')[2]} is damaged: {why}.",
        where=name,
        expected="a file of CIFAR-10 or CIFAR-100 as its author publishes it",
        do="unpack or download the archive again",
    ) from None


def _unpickled(name: str, data: bytes) -> dict[str, Any]:
    try:
        batch = load_pickle(data)
        return {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    except Exception as problem:  # a damaged pickle can raise nearly anything
        _damaged(name, shown(str(problem)) or type(problem).__name__)
