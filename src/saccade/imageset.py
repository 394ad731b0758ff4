"""ImageSet: decoded images with their ids, labels and splits, as a folder a person can open.

images.npy             uint8 (N, H, W, 3), memory-mapped when opened
rows.csv               id,split,label,path; line n belongs to image n
about.json             classes, size, counts, what was skipped, fingerprint, versions
sample_submission.csv  the competition's own sample, byte for byte, where there was one
"""

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from saccade import files
from saccade.errors import DataError, did_you_mean, some_of

SPLITS = ("train", "valid", "test")
UNLABELLED = -1
COLUMNS = ["id", "split", "label", "path"]
SAMPLE = "sample_submission.csv"


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with ids. `select` gives a part of it; nothing is copied until pixels are taken.

    `ids` are unique among the labelled images and among the test images, not across both.
    """

    folder: Path
    stored: np.ndarray  # uint8 (all images, H, W, 3): the memory-mapped file
    rows: np.ndarray  # int64 (N,): which images of `stored` are in this set
    ids: np.ndarray  # str (N,)
    splits: np.ndarray  # str (N,): "train", "valid" or "test"
    labels: np.ndarray  # int64 (N,): index into `classes`, or -1 where no label is known
    paths: np.ndarray  # str (N,): where each image came from, for people
    classes: tuple[str, ...]
    about: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> "ImageSet":
        """Open what `prepare` wrote. Raises DataError where the folder is none, or is damaged."""
        folder = Path(folder)
        again = "run `saccade prepare` again into an empty folder"
        if not (folder / "about.json").exists():
            raise DataError(
                f'"{folder}" holds no prepared images.',
                expected="a folder written by `saccade prepare` (with about.json, images.npy and rows.csv)",
                do="check the path, or prepare the raw files first: saccade prepare SOURCE --out DATA",
            )
        about = files.read_json(folder / "about.json", error=DataError, do=again)
        try:
            stored = np.lib.format.open_memmap(folder / "images.npy", mode="r")
            text = (folder / "rows.csv").read_text(encoding="utf-8")
            table = list(csv.reader(io.StringIO(text, newline="")))
            classes = tuple(about["classes"])
            _check(about)
        except Exception as problem:  # numpy reads the header with Python's own parser, which can fail in any way
            raise DataError(f"the prepared images are damaged: {problem}.", where=str(folder), do=again) from None
        if not table or table[0] != COLUMNS or any(len(row) != len(COLUMNS) for row in table):
            raise DataError(
                "rows.csv is damaged.",
                where=str(folder / "rows.csv"),
                expected=f"columns {','.join(COLUMNS)}",
                do=again,
            )
        ids, splits, names, paths = (np.array([row[i] for row in table[1:]], dtype=str) for i in range(4))
        if stored.ndim != 4 or stored.shape[3] != 3 or stored.dtype != np.uint8 or len(stored) != len(ids):
            raise DataError(
                f"images.npy holds {stored.dtype} {stored.shape}, rows.csv {len(ids)} rows.",
                where=str(folder),
                expected="one uint8 image (H, W, 3) for each row",
                do=again,
            )
        if unknown := sorted({*splits.tolist()} - {*SPLITS}):
            raise DataError(
                f'rows.csv has the split "{unknown[0]}".',
                where=str(folder / "rows.csv"),
                expected=", ".join(SPLITS),
                do=again,
            )
        index = {name: label for label, name in enumerate(classes)} | {"": UNLABELLED}
        if unknown := sorted({*names.tolist()} - index.keys()):
            raise DataError(
                f'rows.csv has the label "{unknown[0]}", about.json does not.', where=str(folder / "rows.csv"), do=again
            )
        labels = np.array([index[name] for name in names.tolist()], dtype=np.int64)
        return cls(folder, stored, np.arange(len(ids)), ids, splits, labels, paths, classes, about)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.stored.shape[1], self.stored.shape[2]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over pixels and rows, as `prepare` computed it."""
        return self.about["fingerprint"]

    @cached_property
    def counts(self) -> dict[str, int]:
        """Images per split, for those splits that have any."""
        return {split: n for split in SPLITS if (n := int((self.splits == split).sum()))}

    def select(self, *splits: str) -> "ImageSet":
        """The images of these splits, in row order. Raises DataError for an unknown or empty split."""
        for split in splits:
            if split not in SPLITS:
                raise DataError(
                    f'there is no split "{split}".',
                    expected=", ".join(SPLITS),
                    do=did_you_mean(split, SPLITS, "name one of those"),
                )
        chosen = np.flatnonzero(np.isin(self.splits, splits))
        if not len(chosen):
            raise DataError(
                f"there are no {' or '.join(splits)} images.",
                where=str(self.folder),
                expected=f"one of its own splits: {', '.join(self.counts)}",
                do="name another split, or prepare the raw files with one",
            )
        return self.take(chosen)

    def take(self, index: Sequence[int] | np.ndarray) -> "ImageSet":
        """The images at these positions of this set, in this order."""
        index = np.asarray(index)
        parts = {name: getattr(self, name)[index] for name in ("rows", "ids", "splits", "labels", "paths")}
        return replace(self, **parts)

    def pixels(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """uint8 (n, H, W, 3) in memory: the images from `start` to `stop`, all by default."""
        rows = self.rows[start:stop]
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return np.array(self.stored[rows[0] : rows[-1] + 1])  # one long read instead of many small ones
        return self.stored[rows]

    def __str__(self) -> str:
        height, width = self.size
        counts = ", ".join(f"{n:,} {split}" for split, n in self.counts.items())
        names = some_of(self.classes, 10)
        return f"{len(self):,} images of {width}x{height} pixels ({counts}); {len(self.classes)} classes: {names}"

    def __repr__(self) -> str:
        return f"<ImageSet {self.folder}: {self}>"


def _check(about: dict[str, Any]) -> None:
    """Raise ValueError, KeyError, TypeError or the like where about.json lacks what its readers take from it."""
    numbers = [float(value) for name in ("mean", "std") for value in about[name]]
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)):
        raise ValueError("mean and std are not three numbers each")
    if not isinstance(about["fingerprint"], str) or not all(isinstance(name, str) for name in about["classes"]):
        raise ValueError("the fingerprint or a class is no text")
    if any(type(about["class_counts"][name]) is not int for name in about["classes"]):
        raise ValueError("class_counts are not whole numbers")
    if any(not isinstance(entry[name], str) for entry in about["skipped"] for name in ("id", "split")):
        raise ValueError("skipped does not name ids and splits")
    if type((about.get("options") or {}).get("seed", 0)) is not int:
        raise ValueError("the seed is no whole number")


def fingerprint(stored: np.ndarray, rows_csv: bytes) -> str:
    """SHA-256 over the pixels in row order and the text of rows.csv: equal for equal data on every machine."""
    digest = hashlib.sha256(rows_csv)
    for start in range(0, len(stored), 4096):
        digest.update(stored[start : start + 4096].tobytes())
    return digest.hexdigest()
