"""Pixels in arrays instead of picture files: .npz and .npy files (MedMNIST, Keras). Nothing is unpickled.

The shape of an array shows what it is: images are (N, H, W), (N, H, W, 3) or (N, 3, H, W), labels are (N,), (N, 1), or
(N, K) with 0 and 1, one 1 in each row or, if images have several labels, any number. Its name shows the split:
train_images, x_train, val_labels.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snellen.errors import DataError, first_few
from snellen.sources.array_labels import hold_several, is_images, label_names, labels_of, role_of_array
from snellen.sources.names import shown
from snellen.sources.pixel_tables import PixelTable, find_pixel_tables
from snellen.sources.rows import Row
from snellen.sources.several_labels import Reading
from snellen.sources.source_files import Place
from snellen.sources.stored_arrays import Stored, exactly, on_disk, stored_in

log = logging.getLogger("snellen")
CHUNK_BYTES = 2**24


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
    has_several: bool = False  # whether images can have several labels

    @property
    def reading(self) -> Reading | None:
        """Return how the labels are held, if there are several per image."""
        return Reading(None) if self.has_several else None

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
    stored = [array for name in names for array in stored_in(on_disk(name, files[name], scratch))]
    images = {
        role: [a for a in stored if is_images(a) and role_of_array(a) == role]
        for role in ("train", "valid", "test", "")
    }
    splits: list[tuple[str, Stored, tuple[Stored, np.ndarray] | None]] = []
    for role in ("train", "", "valid", "test"):
        if len(images[role]) > 1:
            raise DataError(
                f"several arrays could be the {role or 'labelled'} images: {first_few(a.name for a in images[role])}.",
                where=str(images[role][0].file),
                expected="one array of images for train, valid and test, such as train_images",
                do="keep only one of them in the source",
            )
        if images[role]:
            splits.append((role, images[role][0], labels_of(role, images[role][0], stored)))
    labelled = [labels for role, _, labels in splits if role != "test"]
    if not labelled or any(labels is None for labels in labelled):
        raise DataError(
            f"the arrays are not images with labels: {first_few((f'{a.name} {a.shape}' for a in stored), 6)}.",
            where=first_few(names),
            expected="images (N, H, W) or (N, H, W, 3) and labels (N,), such as train_images and train_labels",
            do="save them under these names with numpy.savez",
        )
    told = f"array {next(a.name for a in stored if not is_images(a))} of {names[0]}"
    has_several = any(hold_several(values, array) for _, _, labels in splits if labels for array, values in [labels])
    named = [
        Split(role, image, None if labels is None else label_names(labels[1], labels[0], has_several))
        for role, image, labels in splits
    ]
    return Arrays(f"arrays in {first_few(names)}", told, named, has_several)


def _of_tables(tables: dict[str, PixelTable]) -> Arrays:
    order = [role for role in ("train", "", "valid", "test") if role in tables]
    splits = [Split(role, tables[role], tables[role].labels) for role in order]
    first = tables[order[0]]
    return Arrays("pixels in a table", f'column "{shown(first.label_name)}" of {first.name}', splits)


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
            chunk = np.frombuffer(exactly(file, stride * num, array), dtype=array.dtype)
            chunk = chunk.reshape(num, *array.shape[1:])
            scale = scale or _scale(chunk, array)
            if chunk.dtype != np.uint8 or scale != 1:
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


def _scale(first: np.ndarray, array: Stored) -> float:
    """Return the factor that scales values to 0 to 255: 255 if the first images have values of at most 1."""
    if first.max() > 1:
        return 1.0
    if first.dtype.kind in "iu":
        log.warning("%s has values of at most 1: 1 becomes white", array.name)
    return 255.0


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
