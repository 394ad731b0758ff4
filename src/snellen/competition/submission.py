"""Predictions + the competition's own sample -> a checked submission file."""

import csv
import io
import logging
from pathlib import Path

from snellen.errors import DataError, first_few, some_of
from snellen.images.imageset import SAMPLE, ImageSet
from snellen.images.sample import Sample, class_columns, left_out, read_sample
from snellen.prediction.predictions import Predictions
from snellen.system import files
from snellen.system.targets import check_file

log = logging.getLogger("snellen")


def write_submission(
    predictions: Predictions | str | Path, images: ImageSet | str | Path, out: str | Path = "submission.csv"
) -> Path:
    """Write the sample submission's header and ids, in its order, with the predicted labels; check every line.

    A sample with one column per class gets probabilities instead. Without a sample: id,label in the order of the test
    images. Test images that `prepare` had to leave out get the most frequent class (or the class shares), with a
    warning. Raises DataError for missing or unknown ids; then nothing is written.
    """
    images = images if isinstance(images, ImageSet) else ImageSet.open(images)
    out, sample = Path(out), read_sample(images)
    _check_target(out, images)
    predictions = predictions if isinstance(predictions, Predictions) else Predictions.open(predictions)
    if predictions.classes != images.classes:
        raise DataError(
            f"the predictions are of the classes {some_of(predictions.classes)}.",
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
            f"{len(extra)} predictions have ids that the submission does not ask for, first {first_few(extra)}.",
            where=str(images.folder / SAMPLE),
            expected="predictions of the test images and no others",
            do="predict the test split: snellen predict RUN DATA --split test --out predictions.csv",
        )
    counts = images.about["class_counts"]
    frequent = max(images.classes, key=lambda name: counts[name])
    columns = class_columns(sample.header, images)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sample.header)
    for id, own in lines:
        if columns is None:
            writer.writerow([id, predictions.label_of(own) if own in known else frequent])
        elif own in known:
            writer.writerow([id, *(f"{known[own][column]:.9g}" for column in columns)])
        else:
            shares = [counts[images.classes[column]] / sum(counts.values()) for column in columns]
            writer.writerow([id, *(f"{share:.9g}" for share in shares)])
    if unread:
        what = f'the most frequent class, "{frequent}"' if columns is None else "the shares of the classes"
        log.warning("%d test images could not be read; their lines hold %s", len(unread), what)
    _check(text.getvalue(), out, images, sample)
    files.write_text(out, text.getvalue())
    return out


def _check_target(out: Path, images: ImageSet) -> None:
    """Raise DataError if the submission would replace anything but one that passes the check line by line."""
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
    """Compare a submission with the sample line by line; returns the number of images in it.

    Raises DataError that names the first line that differs: header, id, order, a label that is no class, a probability
    that is none, a line too many or too few.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"the submission cannot be read: {problem}.", where=str(path), do="write it again") from None
    return _check(text, path, images, read_sample(images))


def _check(text: str, path: Path, images: ImageSet, sample: Sample) -> int:
    header, sample_ids = sample.header, sample.ids
    columns = class_columns(header, images)

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
        if len(row) != len(header) or row[0] != id:
            raise wrong(f'the line is "{",".join(row)[:60]}".', line, f'id "{id}" and {len(header) - 1} values')
        if columns is None and row[1] not in images.classes:
            raise wrong(f'"{row[1]}" is not a class.', line, f"one of {some_of(images.classes, 10)}")
        if columns is not None and not all(_is_probability(value) for value in row[1:]):
            raise wrong(f"a value of id {id} is not a probability.", line, "numbers from 0 to 1")
    return len(sample_ids)


def _is_probability(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
