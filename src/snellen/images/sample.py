"""The competition's sample submission: header, ids and columns that a submission must have."""

from dataclasses import dataclass, replace
from functools import cache

from snellen.errors import DataError, first_few, some_of
from snellen.images.imageset import SAMPLE, ImageSet
from snellen.sources.answers import probability_hint
from snellen.sources.lookup import Lookup, id_column
from snellen.sources.tables import read_table
from snellen.task import Task


@dataclass(frozen=True)
class Sample:
    """The lines that a submission must have, in their order."""

    header: list[str]
    id_column: int
    ids: list[str]  # as the sample spells them
    image_ids: list[str]  # the matching test images; "" if there is none
    values: list[list[str]]  # the other values of each line; empty if there is no sample


def read_sample(images: ImageSet) -> Sample:
    """Return the competition's sample, or one line per test image if there is none."""
    path = images.folder / SAMPLE
    test = images.splits == "test"
    skipped = [entry for entry in images.about["skipped"] if entry["split"] == "test"]
    paths = dict(zip(images.paths[test].tolist(), images.ids[test].tolist(), strict=True))
    paths |= {entry["path"]: entry["id"] for entry in skipped}
    known = {*images.ids[test].tolist(), *left_out(images)}
    if not path.exists():
        ids = [*images.select("test").ids.tolist(), *left_out(images)]
        task = images.task
        by_form = {"columns": task.classes, "positive": (task.positive or "",), "labels": ("labels",)}
        header = ["id", *by_form.get(task.form, ("label",))]
        return Sample(header, 0, ids, ids, [])
    pictures = cache(lambda: Lookup(paths))  # rarely needed

    def image_id(id: str) -> str:
        """Return the exact id, or else that of the only picture with this path or file name, as in prepare."""
        if id in known:
            return id
        found = pictures().find(id)
        return paths[found[0]] if len(found) == 1 else ""

    table = read_table(str(path), path.read_bytes(), strip=False)
    column = id_column(table, image_id)
    ids = table.column(column)[1:]
    values = [row[:column] + row[column + 1 :] for _, row in table.lines[1:]]
    return Sample(table.lines[0][1], column, ids, [image_id(id.strip()) for id in ids], values)


def answered_task(images: ImageSet, sample: Sample) -> Task:
    """Return the images' Task; for images from versions without one, the form follows from the sample's header."""
    task = images.task
    if "task" not in images.about and class_columns(sample.header, images, sample.id_column) is not None:
        return replace(task, form="columns")
    return task


def form_hint(images: ImageSet, sample: Sample) -> str:
    """Return a hint if the zeros of the sample could be labels or probabilities, otherwise ""."""
    options = images.about.get("options") or {}
    if options.get("form") or options.get("metric"):
        return ""
    return probability_hint(images.task, {row[0].strip() for row in sample.values if len(row) == 1} - {""})


def check_sample(images: ImageSet) -> None:
    """Raise DataError for a sample that no submission can match, before hours of training."""
    sample = read_sample(images)
    if answered_task(images, sample).form == "columns":
        class_columns(sample.header, images, sample.id_column)
    if missing := [id for id, own in zip(sample.ids, sample.image_ids, strict=True) if not own]:
        raise DataError(
            f"{len(missing)} of {len(sample.ids)} lines of the sample submission do not contain the id of a test "
            f"image, first {first_few(missing)}.",
            where=SAMPLE,
            expected="comma-separated lines: a header, then one line per test image that starts with its id",
            do="pass the competition's own file: --sample CSV",
        )


def class_columns(header: list[str], images: ImageSet, id_column: int = 0) -> list[int] | None:
    """Return the class of each column of a sample with one probability column per class; None for id,label."""
    names = header[:id_column] + header[id_column + 1 :]
    has_form = "task" in images.about
    if has_form and images.task.form != "columns":
        return None
    if not has_form and len(names) == 1 and (names[0] == "label" or names[0] not in images.classes):
        return None  # even if a class is called "label"
    if sorted(names) == sorted(images.classes):
        return [images.classes.index(name) for name in names]
    raise DataError(
        f'the sample submission has the columns "{",".join(header)[:80]}".',
        where=str(images.folder / SAMPLE),
        expected=f"an id and a label, or an id and one column per class ({some_of(images.classes)})",
        do="pass the right file: snellen prepare ... --sample CSV",
    )


def left_out(images: ImageSet) -> list[str]:
    """Return the ids of the test images that could not be read."""
    return [entry["id"] for entry in images.about["skipped"] if entry["split"] == "test"]
