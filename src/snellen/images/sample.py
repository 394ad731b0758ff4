"""The competition's sample submission: header, ids and columns that a submission must have."""

import csv
from collections.abc import Set

from snellen.errors import DataError, first_few, some_of
from snellen.images.imageset import SAMPLE, ImageSet


def check_sample(images: ImageSet) -> None:
    """Raise DataError now for a sample that no submission could follow, not after hours of training."""
    header, sample_ids = read_sample(images)
    class_columns(header, images)
    known = {*images.ids[images.splits == "test"].tolist(), *left_out(images)}
    if missing := [id for id in sample_ids if image_id(id, known) is None]:
        raise DataError(
            f"{len(missing)} of {len(sample_ids)} lines of the sample submission do not begin with the id of a test "
            f"image, first {first_few(missing)}.",
            where=SAMPLE,
            expected="comma-separated lines: a header, then one line for each test image that begins with its id",
            do="give the competition's own file: --sample CSV",
        )


def class_columns(header: list[str], images: ImageSet) -> list[int] | None:
    """For a sample with one probability column per class: the class of each column. None for id,label."""
    if len(header) == 2 and (header[1] == "label" or header[1] not in images.classes):
        return None  # also where a class is called "label"
    if sorted(header[1:]) == sorted(images.classes):
        return [images.classes.index(name) for name in header[1:]]
    raise DataError(
        f'the sample submission has the columns "{",".join(header)[:80]}".',
        where=str(images.folder / SAMPLE),
        expected=f"an id and a label, or an id and one column per class ({some_of(images.classes)})",
        do="give the right file: snellen prepare ... --sample CSV",
    )


def image_id(name: str, known: Set[str]) -> str | None:
    """The id among `known` that a sample's `name` means: itself, or itself without a file extension."""
    if name in known:
        return name
    stem = name.rsplit(".", 1)[0]
    return stem if stem in known else None


def read_sample(images: ImageSet) -> tuple[list[str], list[str]]:
    """Header and ids that the submission must have."""
    path = images.folder / SAMPLE
    if not path.exists():
        test = images.select("test")
        return ["id", "label"], [*test.ids.tolist(), *left_out(images)]
    # Read as prepare read it when it checked the ids: UTF-8, a byte-order mark allowed.
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    return rows[0], [row[0] for row in rows[1:]]


def left_out(images: ImageSet) -> list[str]:
    """Ids of the test images that could not be read."""
    return [entry["id"] for entry in images.about["skipped"] if entry["split"] == "test"]
