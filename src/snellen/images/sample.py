"""The competition's sample submission: header, ids and columns that a submission must have."""

from dataclasses import dataclass, replace

from snellen.errors import DataError, first_few, some_of
from snellen.images.imageset import SAMPLE, ImageSet
from snellen.sources.answers import probability_hint
from snellen.sources.lookup import Lookup
from snellen.sources.tables import read_table
from snellen.task import Task


@dataclass(frozen=True)
class Sample:
    """The lines that a submission must have, in their order."""

    header: list[str]
    ids: list[str]  # as the sample spells them
    image_ids: list[str]  # the matching test images; "" if there is none
    values: list[list[str]]  # the values of the sample; empty if there is no sample


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
        header = ["id", *{"columns": task.classes, "positive": (task.positive or "",)}.get(task.form, ("label",))]
        return Sample(header, ids, ids, [])
    header, *rows = [row for _, row in read_table(str(path), path.read_bytes(), strip=False).lines]
    ids = [row[0] for row in rows]
    # An exact id comes before a path or a file name, which are matched as in prepare.
    own = {id: id.strip() if id.strip() in known else "" for id in ids}
    if unknown := [id for id, image_id in own.items() if not image_id]:
        pictures = Lookup(paths)
        for id in unknown:
            found = pictures.find(id.strip())
            own[id] = paths[found[0]] if len(found) == 1 else ""
    return Sample(header, ids, [own[id] for id in ids], [row[1:] for row in rows])


def answered_task(images: ImageSet, header: list[str]) -> Task:
    """Return the images' Task; for images from versions without one, the form follows from the sample's header."""
    task = images.task
    if "task" not in images.about and class_columns(header, images) is not None:
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
    if answered_task(images, sample.header).form == "columns":
        class_columns(sample.header, images)
    if missing := [id for id, own in zip(sample.ids, sample.image_ids, strict=True) if not own]:
        raise DataError(
            f"{len(missing)} of {len(sample.ids)} lines of the sample submission do not start with the id of a test "
            f"image, first {first_few(missing)}.",
            where=SAMPLE,
            expected="comma-separated lines: a header, then one line per test image that starts with its id",
            do="pass the competition's own file: --sample CSV",
        )


def class_columns(header: list[str], images: ImageSet) -> list[int] | None:
    """Return the class of each column of a sample with one probability column per class; None for id,label."""
    has_form = "task" in images.about
    if has_form and images.task.form != "columns":
        return None
    if not has_form and len(header) == 2 and (header[1] == "label" or header[1] not in images.classes):
        return None  # even if a class is called "label"
    if sorted(header[1:]) == sorted(images.classes):
        return [images.classes.index(name) for name in header[1:]]
    raise DataError(
        f'the sample submission has the columns "{",".join(header)[:80]}".',
        where=str(images.folder / SAMPLE),
        expected=f"an id and a label, or an id and one column per class ({some_of(images.classes)})",
        do="pass the right file: snellen prepare ... --sample CSV",
    )


def left_out(images: ImageSet) -> list[str]:
    """Return the ids of the test images that could not be read."""
    return [entry["id"] for entry in images.about["skipped"] if entry["split"] == "test"]
