"""The text files of prepared images: rows.csv and about.json, with the groups of duplicates."""

import csv
import io
import logging
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL

import snellen
from snellen.errors import DataError, first_few
from snellen.images import duplicates
from snellen.images.choices import SPLITS
from snellen.images.imageset import COLUMNS, SAMPLE
from snellen.images.splits import groups_of
from snellen.sources.label_lists import labels_in
from snellen.sources.rows import Row
from snellen.sources.source import Source
from snellen.sources.tables import FORMULA
from snellen.system.progress import Progress

log = logging.getLogger("snellen")


def readable_rows(rows: Sequence[Row], unreadable: dict[int, str], skip_unreadable: bool) -> list[Row]:
    """Return the rows of readable pictures. Raises DataError for unreadable ones, unless they are to be skipped."""
    if unreadable:
        named = [f"{rows[index].path} ({reason})" for index, reason in sorted(unreadable.items())]
        if not skip_unreadable:
            raise DataError(
                f"{len(unreadable)} of {len(rows)} pictures cannot be read, first {first_few(named)}.",
                expected="complete pictures of a common format",
                do="replace these files, or pass --skip-unreadable to leave them out",
            )
        log.warning("%d unreadable pictures are left out, first %s", len(unreadable), first_few(named))
    return [row for index, row in enumerate(rows) if index not in unreadable]


def duplicate_ids(path: Path, rows: Sequence[Row], on_progress: Progress | None) -> list[list[str]]:
    """Return groups of ids of labelled pictures that are duplicates of each other."""
    num_labelled = sum(row.split != "test" for row in rows)  # they come first
    first = duplicates.groups(np.load(path, mmap_mode="r")[:num_labelled], on_progress=on_progress)
    members: dict[int, list[str]] = {}
    for index, group in enumerate(first.tolist()):
        members.setdefault(group, []).append(rows[index].id)
    found = [ids for ids in members.values() if len(ids) > 1]
    if any(row.split is None for row in rows):
        num = sum(map(len, found))
        log.info("%d of %d labelled pictures have a duplicate; they are used for training", num, num_labelled)
    else:
        log.warning("the source has its own split: --group-duplicates keeps duplicates together only in folds")
    return found


def rows_text(rows: Sequence[Row], splits: Sequence[str]) -> bytes:
    """Return rows.csv."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((row.id, split, row.label or "", row.path) for row, split in zip(rows, splits, strict=True))
    return text.getvalue().encode("utf-8")


def class_counts_of(rows: Sequence[Row], has_several: bool) -> Counter[str]:
    """Return the number of labelled images that have each class."""
    return Counter(name for row in rows if row.split != "test" for name in labels_in(row.label, has_several))


def warn_of_rows(source: Source, rows: Sequence[Row]) -> None:
    """Warn about classes without an image, and names that a spreadsheet would evaluate. rows: of readable pictures."""
    classes, with_images = source.classes, class_counts_of(rows, source.task.has_several)
    if absent := [name for name in classes if name not in with_images]:
        log.warning("%d classes have no image, first %s", len(absent), first_few(absent))
    if formulas := [name for name in (*classes, *(row.id for row in rows)) if FORMULA.match(name)]:
        # Kept unchanged: a submission must have the ids of its competition.
        log.warning(
            "%d ids or classes look like formulas, first %s: spreadsheets evaluate them; import results as text",
            len(formulas),
            first_few(formulas),
        )


def about_of(
    source: Source,
    rows: Sequence[Row],
    splits: Sequence[str],
    side: int,
    unreadable: Mapping[int, str],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Return about.json: the classes, the Task and the counts; what was skipped; the versions; and the values `more`.

    rows, splits: of the readable pictures. unreadable: reasons, by index into the rows of the source.
    """
    counts, class_counts = Counter(splits), class_counts_of(rows, source.task.has_several)
    groups = groups_of(rows)
    return {
        "format": 1,
        "classes": list(source.classes),
        "task": source.task.to_dict(),
        "size": [side, side],
        "counts": {split: counts[split] for split in SPLITS},
        "class_counts": {name: class_counts[name] for name in source.classes},
        "skipped": [_skipped(source.rows[index], reason) for index, reason in sorted(unreadable.items())],
        "sample": None if source.sample is None else SAMPLE,
        "kind": source.kind,
        **({"groups": groups} if groups else {}),
        **more,
        "versions": {
            "snellen": snellen.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
    }


def _skipped(row: Row, reason: str) -> dict[str, str]:
    return {"id": row.id, "split": "test" if row.split == "test" else "train", "path": row.path, "reason": reason}
