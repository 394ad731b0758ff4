"""ImageSet: decoded images with their ids, labels and splits, stored as a readable folder.

images.npy             uint8 (N, H, W, 3), memory-mapped when opened
rows.csv               id,split,label,path; line n belongs to image n
about.json             classes, size, counts, what was skipped, fingerprint, versions
sample_submission.csv  the competition's own sample, byte for byte, if there is one
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from snellen.errors import DataError, did_you_mean, some_of
from snellen.images.choices import PHOTOGRAPH, SPLITS
from snellen.images.labels import read_labels
from snellen.images.reading import announce, read_rows
from snellen.sources.resize import Resize
from snellen.system import files
from snellen.system.contents import Contents, check_holds
from snellen.task import Task

COLUMNS = ["id", "split", "label", "path"]
SAMPLE = "sample_submission.csv"


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with ids. `select` returns a subset; nothing is copied until pixels are read.

    `ids` are unique within the labelled images and within the test images, not across both.
    """

    folder: Path
    stored: np.ndarray  # uint8 (all images, H, W, 3): the memory-mapped file
    rows: np.ndarray  # int64 (N,): which images of `stored` are in this set
    ids: np.ndarray  # str (N,)
    splits: np.ndarray  # str (N,): "train", "valid" or "test"
    labels: np.ndarray  # int64 (N,): index into `classes`, or -1 if unknown; bool (N, K) if images can have several
    has_label: np.ndarray  # bool (N,): whether the labels are known, even if there are none
    paths: np.ndarray  # str (N,): the origin of each image, for messages
    classes: tuple[str, ...]
    about: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> "ImageSet":
        """Open a folder that `prepare` wrote. Raises DataError if it is another folder, or is damaged."""
        folder = Path(folder)
        again = "run `snellen prepare` again into an empty folder"
        check_holds(folder, Contents.IMAGES, error=DataError)
        about = files.read_json(folder / "about.json", error=DataError, do=again)
        try:
            stored = np.lib.format.open_memmap(folder / "images.npy", mode="r")
            table = read_table((folder / "rows.csv").read_bytes())
            classes = tuple(about["classes"])
            _check(about)
            task = Task.from_dict(classes, about.get("task"))
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
                f"images.npy contains {stored.dtype} {stored.shape}, but rows.csv has {len(ids)} rows.",
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
        try:
            labels, has_label = read_labels(names.tolist(), classes, task.has_several)
        except (KeyError, ValueError) as problem:
            raise DataError(
                f'rows.csv has the label "{problem.args[0]}", which is missing from about.json.',
                where=str(folder / "rows.csv"),
                do=again,
            ) from None
        # Runs identify their images by the fingerprint, which is not recomputed here.
        if about.get("rows_sha256", digest := table_digest(table)) != digest:
            raise DataError(
                "rows.csv has changed since `snellen prepare` wrote it.",
                where=str(folder / "rows.csv"),
                expected="the same ids, splits and labels as when the images were prepared",
                do="restore it; for other labels or splits, change the raw files and prepare them into another folder",
            )
        return cls(folder, stored, np.arange(len(ids)), ids, splits, labels, has_label, paths, classes, about)

    def __len__(self) -> int:
        return len(self.rows)

    def scored_by(self, metric: str) -> "ImageSet":
        """Return the same images with another metric in their Task."""
        return replace(self, about=self.about | {"task": self.task.to_dict() | {"metric": metric}})

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) in pixels."""
        return self.stored.shape[1], self.stored.shape[2]

    @property
    def are_photographs(self) -> bool:
        """Return whether the images count as photographs, for which networks start from ImageNet weights."""
        return min(self.size) >= PHOTOGRAPH

    @cached_property
    def task(self) -> Task:
        """Return the Task: kind, form, metric. Defaults to single, label, accuracy if about.json does not have one."""
        return Task.from_dict(self.classes, self.about.get("task"))

    @property
    def resize(self) -> Resize:
        """Return how pictures that are not square became images."""
        return Resize.from_dict(self.about.get("resize"))

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of pixels and rows, as `prepare` computed it."""
        return self.about["fingerprint"]

    def check_fingerprint(self) -> None:
        """Raise DataError if pixels or rows have changed since `prepare`. Reads all pixels once per process."""
        files = [self.folder / "images.npy", self.folder / "rows.csv"]
        wanted = (self.about.get("fold") or {}).get("images", self.fingerprint)
        if _fingerprint_of(*files, *(path.stat().st_mtime_ns for path in files)) != wanted:
            raise DataError(
                "images.npy has changed since `snellen prepare` wrote it.",
                where=str(files[0]),
                expected=f"the fingerprint {wanted[:12]}..., as in about.json",
                do="restore the file, or run `snellen prepare` again into an empty folder",
            )

    @cached_property
    def counts(self) -> dict[str, int]:
        """Return the number of images in each split that is not empty."""
        return {split: n for split in SPLITS if (n := int((self.splits == split).sum()))}

    def select(self, *splits: str) -> "ImageSet":
        """Return the images of these splits, in row order. Raises DataError for an unknown or empty split."""
        for split in splits:
            if split not in SPLITS:
                raise DataError(
                    f'unknown split "{split}".',
                    expected=", ".join(SPLITS),
                    do=did_you_mean(split, SPLITS, "name one of those"),
                )
        chosen = np.flatnonzero(np.isin(self.splits, splits))
        if not len(chosen):
            raise DataError(
                f"there are no {' or '.join(splits)} images.",
                where=str(self.folder),
                expected=f"one of its splits: {', '.join(self.counts)}",
                do="choose another split, or prepare the raw files with this split",
            )
        return self.take(chosen)

    def take(self, index: Sequence[int] | np.ndarray) -> "ImageSet":
        """Return the images at these positions of this set, in this order."""
        index = np.asarray(index)
        parts = {name: getattr(self, name)[index] for name in ("rows", "ids", "splits", "labels", "has_label", "paths")}
        return replace(self, **parts)

    def pixels(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return the images from `start` to `stop` (default: all) in memory, uint8 (n, H, W, 3)."""
        return read_rows(self.stored, self.rows[start:stop])

    def at(self, index: np.ndarray) -> np.ndarray:
        """Return the images at these positions, in this order, in memory, uint8 (n, H, W, 3); see `read_rows`."""
        return read_rows(self.stored, self.rows[index])

    def announce(self, index: np.ndarray) -> None:
        """Tell the operating system that the images at these positions will be read soon; see `reading.announce`."""
        announce(self.stored, self.rows[index])

    @property
    def source(self) -> Path | None:
        """Return the folder of raw files that was prepared, or None if the source was an archive or a built-in one."""
        named = self.about.get("source")
        path = Path(str(named.get("source", ""))) if isinstance(named, dict) else None
        return path if path and path.is_absolute() and path.is_dir() else None

    def __str__(self) -> str:
        height, width = self.size
        counts = ", ".join(f"{n:,} {split}" for split, n in self.counts.items())
        names = some_of(self.task.names, 10)
        return f"{len(self):,} images of {width}x{height} pixels ({counts}); {len(self.classes)} classes: {names}"

    def __repr__(self) -> str:
        return f"<ImageSet {self.folder}: {self}>"


def read_table(rows_csv: bytes) -> list[list[str]]:
    """Return the lines of a rows.csv, including the header."""
    return list(csv.reader(io.StringIO(rows_csv.decode(), newline="")))


def table_digest(table: list[list[str]]) -> str:
    """Return the SHA-256 of the values, whatever quotes and line ends a spreadsheet writes."""
    return hashlib.sha256(json.dumps(table).encode()).hexdigest()


def _check(about: dict[str, Any]) -> None:
    """Raise ValueError, KeyError, TypeError or similar if a required value of about.json is missing or invalid."""
    numbers = [float(value) for name in ("mean", "std") for value in about[name]]
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)):
        raise ValueError("mean and std are not three numbers each")
    if not isinstance(about["fingerprint"], str) or not all(isinstance(name, str) for name in about["classes"]):
        raise ValueError("the fingerprint or a class is not a string")
    if any(type(about["class_counts"][name]) is not int for name in about["classes"]):
        raise ValueError("class_counts are not whole numbers")
    if any(not isinstance(entry[name], str) for entry in about["skipped"] for name in ("id", "split")):
        raise ValueError("skipped does not contain ids and splits")
    Task.from_dict(about["classes"], about.get("task"))
    Resize.from_dict(about.get("resize"))
    if type((about.get("options") or {}).get("seed", 0)) is not int:
        raise ValueError("the seed is not a whole number")


def fingerprint(stored: np.ndarray, rows_csv: bytes) -> str:
    """Return the SHA-256 of the pixels in row order and the text of rows.csv. It is the same on every machine."""
    digest = hashlib.sha256(rows_csv)
    at_once = max(1, 2**24 // stored[:1].nbytes)
    for start in range(0, len(stored), at_once):
        digest.update(np.ascontiguousarray(stored[start : start + at_once]).data)
    return digest.hexdigest()


@cache
def _fingerprint_of(pixels: Path, rows: Path, *_: int) -> str:
    """Return the fingerprint of two files. The other arguments are modification times, to reread changed files."""
    text = io.StringIO(newline="")  # as prepare wrote it, even if a spreadsheet has changed the quotes
    csv.writer(text, lineterminator="\n").writerows(read_table(rows.read_bytes()))
    return fingerprint(np.lib.format.open_memmap(pixels, mode="r"), text.getvalue().encode())
