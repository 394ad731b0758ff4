"""Pixels in arrays instead of picture files: .npz and .npy files (MedMNIST, Keras). Nothing is unpickled.

Arrays are told apart by shape: images (N, H, W), (N, H, W, 3) or (N, 3, H, W), labels (N,) or (N, 1), or (N, K) with
one 1 in each row. Their roles come from their names: train_images, x_train, val_labels.
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from snellen.errors import DataError, first_few
from snellen.sources.archives import Folder, Zip
from snellen.sources.names import shown
from snellen.sources.pixel_tables import PixelTable, find_pixel_tables
from snellen.sources.roles import role_of
from snellen.sources.rows import Row
from snellen.sources.source_files import Place, read_whole

MAX_LABEL_BYTES = 256 * 10**6
CHUNK_BYTES = 2**24
IMAGE_SIDE = 4096  # pixels; the largest side accepted


@dataclass(frozen=True)
class Stored:
    """One array in a file, of which only the header has been read."""

    file: Path
    member: str  # within an .npz file, or ""
    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool

    @property
    def name(self) -> str:
        """Return the name without its extension."""
        return self.member.removesuffix(".npy") if self.member else self.file.stem

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Yield the open file at the first byte of the values."""
        if self.member:
            with zipfile.ZipFile(self.file) as archive, archive.open(self.member) as file:
                _header(file)
                yield file
        else:
            with open(self.file, "rb") as file:
                _header(file)
                yield file


@dataclass(frozen=True, eq=False)
class Split:
    """The images and labels of one role."""

    role: str  # "train", "valid", "test", or ""
    images: Stored | PixelTable
    labels: list[str] | None

    @property
    def num(self) -> int:
        """Return the number of images."""
        return self.images.shape[0] if isinstance(self.images, Stored) else self.images.num

    def pixels(self) -> Iterator[np.ndarray]:
        """Yield uint8 (H, W, 3), image by image, with bounded memory."""
        if isinstance(self.images, PixelTable):
            yield from self.images.pixels()
        else:
            yield from _pixels(self.images)


@dataclass(frozen=True)
class Arrays:
    """A source of arrays: its splits in the order train, valid, test."""

    kind: str
    told: str  # where the labels come from, for messages
    splits: list[Split]

    def rows(self) -> list[Row]:
        """Return a row for each image. Ids count from 1 across train and valid, and again from 1 in test."""
        has_valid = any(split.role == "valid" for split in self.splits)
        rows, number = [], {False: 0, True: 0}
        for split in self.splits:
            is_test = split.role == "test"
            role = split.role if is_test or has_valid else None
            name = shown(split.images.name)
            for index in range(split.num):
                number[is_test] += 1
                label = split.labels[index] if split.labels is not None else None
                rows.append(Row(str(number[is_test]), label, role or None, f"{name}/{index + 1}"))
        return rows

    def read(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index, pixels) of each row."""
        index = 0
        for split in self.splits:
            for image in split.pixels():
                yield index, image
                index += 1


def find_arrays(files: dict[str, Place], scratch: Path, *, label: str | None = None) -> Arrays | None:
    """Return the arrays among the files of a source, or None if there are none.

    scratch: files in archives are copied there. label: the label column of pixel tables. Raises DataError if the arrays
    are not images with labels.
    """
    names = [name for name in files if name.lower().endswith((".npz", ".npy"))]
    if not names:
        tables = find_pixel_tables(files, label=label)
        return None if tables is None else _of_tables(tables)
    stored = [array for name in names for array in _stored(_on_disk(name, files[name], scratch))]
    images = {
        role: [a for a in stored if _is_images(a) and _role(a) == role] for role in ("train", "valid", "test", "")
    }
    splits = []
    for role in ("train", "", "valid", "test"):
        if len(images[role]) > 1:
            raise DataError(
                f"several arrays could be the {role or 'labelled'} images: {first_few(a.name for a in images[role])}.",
                where=str(images[role][0].file),
                expected="one array of images for train, valid and test, such as train_images",
                do="keep only one of them in the source",
            )
        if images[role]:
            splits.append(Split(role, images[role][0], _labels(role, images[role][0], stored)))
    labelled = [split for split in splits if split.role != "test"]
    if not labelled or any(split.labels is None for split in labelled):
        raise DataError(
            f"the arrays are not images with labels: {first_few((f'{a.name} {a.shape}' for a in stored), 6)}.",
            where=first_few(names),
            expected="images (N, H, W) or (N, H, W, 3) and labels (N,), such as train_images and train_labels",
            do="save them under these names with numpy.savez",
        )
    told = f"array {next(a.name for a in stored if not _is_images(a))} of {names[0]}"
    return Arrays(f"arrays in {first_few(names)}", told, splits)


def _of_tables(tables: dict[str, PixelTable]) -> Arrays:
    order = [role for role in ("train", "", "valid", "test") if role in tables]
    splits = [Split(role, tables[role], tables[role].labels) for role in order]
    first = tables[order[0]]
    return Arrays("pixels in a table", f'column "{shown(first.label_name)}" of {first.name}', splits)


def _role(array: Stored) -> str:
    name = array.name if role_of(array.name) or not array.member else f"{array.file.stem}_{array.name}"
    role = role_of(name)
    return {"all": "train", "unlabelled": "test"}.get(role, role)


def _on_disk(name: str, place: Place, scratch: Path) -> Path:
    if isinstance(place.container, Folder):
        return place.container.path / place.name
    path = scratch / "arrays" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(place.container, Zip):
        place.container.copy_out(place.name, path)
    else:
        path.write_bytes(read_whole({name: place}, [name], 2**30)[name])
    return path


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)  # type: ignore[arg-type]
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)  # type: ignore[arg-type]


def _stored(path: Path) -> list[Stored]:
    """Return the arrays in a file. Raises DataError if it is damaged or contains Python objects."""
    found = []
    try:
        if path.suffix.lower() == ".npy":
            with open(path, "rb") as file:
                found.append(Stored(path, "", *_reordered(_header(file))))
        else:
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if member.endswith(".npy"):
                        with archive.open(member) as file:
                            found.append(Stored(path, member, *_reordered(_header(file))))
    except Exception as problem:  # the header is read by Python's own parser, which can fail in any way
        raise DataError(
            f"{path.name} is damaged: {shown(str(problem)) or type(problem).__name__}.",
            where=str(path),
            expected="a file written by numpy.savez or numpy.save",
            do="download it again",
        ) from None
    if objects := [array for array in found if array.dtype.hasobject]:
        raise DataError(
            f"{path.name} contains Python objects ({first_few(a.name for a in objects)}), which could run code.",
            where=str(path),
            expected="arrays of numbers",
            do="save the arrays again as numbers, without allow_pickle",
        )
    return found


def _reordered(header: tuple[tuple[int, ...], bool, np.dtype]) -> tuple[tuple[int, ...], np.dtype, bool]:
    shape, is_fortran, dtype = header
    return shape, dtype, is_fortran


def _is_images(array: Stored) -> bool:
    return len(array.shape) in (3, 4) and min(array.shape) > 0 and max(array.shape[1:]) <= IMAGE_SIDE


def _labels(role: str, images: Stored, stored: list[Stored]) -> list[str] | None:
    """Return the labels of an array of images: the array of the same role with the same number of rows."""
    fitting = [
        a for a in stored if not _is_images(a) and a.shape and a.shape[0] == images.shape[0] and _role(a) == role
    ]
    fitting = [a for a in fitting if a.file == images.file or not a.member]
    if len(fitting) > 1:
        named = [a for a in fitting if {"label", "labels", "y", "target", "targets"} & {*a.name.lower().split("_")}]
        fitting = named if len(named) == 1 else fitting
    if not fitting:
        return None
    if len(fitting) > 1:
        raise DataError(
            f"several arrays could be the labels of {images.name}: {first_few(a.name for a in fitting)}.",
            where=str(images.file),
            expected="one array of labels for each array of images",
            do="keep only one of them in the source",
        )
    [array] = fitting
    size = int(np.prod(array.shape)) * array.dtype.itemsize
    if size > MAX_LABEL_BYTES or (array.is_fortran and len(array.shape) > 1):
        raise DataError(f"the labels {array.name} are too large or in column order.", where=str(array.file))
    with array.opened() as file:
        values = np.frombuffer(_exactly(file, size, array), dtype=array.dtype).reshape(array.shape)
    return _label_names(values.reshape(len(values), -1), array)


def _label_names(values: np.ndarray, array: Stored) -> list[str]:
    """Return one name for each row of labels (N, 1) or (N, K). Raises DataError for several labels or fractions."""
    if values.shape[1] > 1:
        if not np.isin(values, (0, 1)).all() or not (values.sum(axis=1) == 1).all():
            raise DataError(
                f"the images have several labels each: {array.name} has the shape {array.shape}.",
                where=str(array.file),
                expected="one label per image",
                do="this version trains on one label per image; save one label per image",
            )
        return [str(label) for label in values.argmax(axis=1).tolist()]
    column = values[:, 0]
    if column.dtype.kind in "US":
        return [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in column.tolist()]
    if column.dtype.kind == "f" and (column == np.floor(column)).all():
        column = column.astype(np.int64)
    if column.dtype.kind not in "iub":
        raise DataError(
            f"the labels {array.name} are {column.dtype} with fractions: this is regression.",
            where=str(array.file),
            expected="whole numbers or names",
            do="snellen only classifies; save the classes as whole numbers",
        )
    return [str(int(label)) for label in column.tolist()]


def _exactly(file: IO[bytes], size: int, array: Stored) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise DataError(f"{array.file.name} is damaged: {array.name} ends early.", where=str(array.file))
    return data


def _pixels(array: Stored) -> Iterator[np.ndarray]:
    if array.is_fortran:
        raise DataError(
            f"{array.name} is stored column by column (Fortran order).",
            where=str(array.file),
            expected="images one after another (C order)",
            do="save numpy.ascontiguousarray(images)",
        )
    stride = int(np.prod(array.shape[1:])) * array.dtype.itemsize
    at_once = max(1, CHUNK_BYTES // stride)
    is_channels_first = len(array.shape) == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3)
    scale: float | None = None
    with array.opened() as file:
        for start in range(0, array.shape[0], at_once):
            num = min(at_once, array.shape[0] - start)
            chunk = np.frombuffer(_exactly(file, stride * num, array), dtype=array.dtype)
            chunk = chunk.reshape(num, *array.shape[1:])
            if chunk.dtype != np.uint8:
                scale = scale or (255.0 if chunk.dtype.kind == "f" and float(chunk.max()) <= 1 else 1.0)
                chunk = _as_bytes(chunk, scale, array)
            if is_channels_first:
                chunk = chunk.transpose(0, 2, 3, 1)
            if chunk.ndim == 3:
                chunk = chunk[..., None]
            if chunk.shape[3] not in (1, 3):
                raise DataError(
                    f"{array.name} has {chunk.shape[3]} channels.", where=str(array.file), expected="1 or 3 channels"
                )
            yield from np.ascontiguousarray(np.broadcast_to(chunk, (*chunk.shape[:3], 3)))


def _as_bytes(values: np.ndarray, scale: float, array: Stored) -> np.ndarray:
    scaled = np.nan_to_num(values.astype(np.float32)) * scale
    if scaled.min() < 0 or scaled.max() > 255:
        raise DataError(
            f"{array.name} has values from {values.min():g} to {values.max():g}.",
            where=str(array.file),
            expected="whole numbers from 0 to 255, or fractions from 0 to 1",
            do="scale the images to one of these ranges",
        )
    return np.round(scaled).astype(np.uint8)
