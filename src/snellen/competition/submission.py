"""Predictions + the competition's own sample -> a checked submission file."""

import csv
import io
import logging
from pathlib import Path

from snellen.competition.lines import Answer, shares
from snellen.errors import DataError, first_few, some_of
from snellen.images.imageset import SAMPLE, ImageSet
from snellen.images.sample import Sample, answered_task, form_hint, left_out, read_sample
from snellen.prediction.predictions import Predictions
from snellen.system import files
from snellen.system.targets import check_file

log = logging.getLogger("snellen")


def write_submission(
    predictions: Predictions | str | Path, images: ImageSet | str | Path, out: str | Path = "submission.csv"
) -> Path:
    """Write a submission with the header, ids and order of the sample, and check every line.

    The form of the images' Task determines the values of a line: a label, one or more probabilities, or five labels.
    If there is no sample, each test image gets a line. Test images that `prepare` had to skip get the most frequent
    class (or the class shares), with a warning. Raises DataError for missing or unknown ids; then nothing is written.
    """
    images = images if isinstance(images, ImageSet) else ImageSet.open(images)
    out, sample = Path(out), read_sample(images)
    check_target(out, images)
    predictions = predictions if isinstance(predictions, Predictions) else Predictions.open(predictions)
    if predictions.classes != images.classes:
        raise DataError(
            f"the predictions have other classes: {some_of(predictions.classes)}.",
            expected=f"those of {images.folder}: {some_of(images.classes)}",
            do="predict with a model trained on this data",
        )
    unread = set(left_out(images))
    known = dict(zip(predictions.ids.tolist(), predictions.probabilities, strict=True))
    lines = list(zip(sample.ids, sample.image_ids, strict=True))
    if missing := [id for id, own in lines if own not in known and own not in unread]:
        raise DataError(
            f"{len(missing)} of {len(lines)} ids have no prediction, first {first_few(missing)}.",
            where=str(images.folder / SAMPLE),
            expected="a prediction for every test image",
            do="predict the test split: snellen predict RUN DATA --split test --out predictions.csv",
        )
    if extra := sorted(known.keys() - {*sample.image_ids}):
        raise DataError(
            f"{len(extra)} predictions have ids that are not in the sample, first {first_few(extra)}.",
            where=str(images.folder / SAMPLE),
            expected="predictions for the test images only",
            do="predict the test split: snellen predict RUN DATA --split test --out predictions.csv",
        )
    counts = images.about["class_counts"]
    frequent, usual = max(images.classes, key=lambda name: counts[name]), shares(images)
    answer = _answer(images, sample)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sample.header)
    for id, own in lines:
        is_read = own in known
        labels = predictions.labels_of(own) if is_read else [frequent]
        writer.writerow(answer.line(id, answer.values(known[own] if is_read else usual, labels)))
    if unread:
        what = (
            f'the most frequent class, "{frequent}"'
            if answer.task.form in ("label", "labels")
            else "the shares of the classes"
        )
        log.warning("%d test images could not be read; their lines contain %s", len(unread), what)
    check_lines(text.getvalue(), out, answer, sample.ids)
    files.write_text(out, text.getvalue())
    if hint := form_hint(images, sample):
        log.warning("%s", hint)
    return out


def check_target(out: Path, images: ImageSet) -> None:
    """Raise DataError if `out` is a file that is not a valid submission for the same images."""
    sample = images.folder / SAMPLE

    def is_submission(path: Path) -> bool:
        if sample.exists() and path.read_bytes() == sample.read_bytes():
            return False  # the competition's own sample passes the check too
        try:
            return check_submission(path, images) > 0
        except DataError:
            return False

    check_file(out, "a submission for this sample", is_submission, source=images.source)


def check_submission(path: str | Path, images: ImageSet) -> int:
    """Compare a submission with the sample line by line, and return its number of images.

    Raises DataError for the first line that differs: a wrong header, id or order, an unknown label, an invalid
    probability, or an extra or missing line.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"the submission cannot be read: {problem}.", where=str(path), do="write it again") from None
    sample = read_sample(images)
    return check_lines(text, path, _answer(images, sample), sample.ids)


def _answer(images: ImageSet, sample: Sample) -> Answer:
    return Answer(answered_task(images, sample), sample.header, sample.id_column)


def check_lines(text: str, path: Path, answer: Answer, sample_ids: list[str]) -> int:
    """Compare the text of a submission with the sample's header and ids, and return the number of lines.

    Raises DataError for the first line that differs or has values of the wrong form.
    """
    header = list(answer.header)

    def wrong(what: str, line: int, expected: str) -> DataError:
        again = "write it again: snellen submission predictions.csv DATA --out submission.csv"
        return DataError(what, where=f"{path}, line {line}", expected=expected, do=again)

    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as problem:
        raise DataError(f"the submission cannot be read: {problem}.", where=str(path), do="write it again") from None
    if not rows or rows[0] != header:
        raise wrong(f'the header is "{",".join(rows[0]) if rows else ""}".', 1, f'the sample\'s: "{",".join(header)}"')
    if len(rows) - 1 != len(sample_ids):
        raise wrong(f"there are {len(rows) - 1} lines.", len(rows), f"{len(sample_ids)}, one for each id of the sample")
    for line, (row, id) in enumerate(zip(rows[1:], sample_ids, strict=True), start=2):
        if len(row) != len(header) or row[answer.id_column] != id:
            raise wrong(f'the line is "{",".join(row)[:60]}".', line, f'id "{id}" and {len(header) - 1} values')
        if problem_here := answer.problem(answer.without_id(row)):
            raise wrong(f"{problem_here[0]} (id {id}).", line, problem_here[1])
    return len(sample_ids)
