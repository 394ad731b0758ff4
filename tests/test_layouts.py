"""Replicas of 23 competitions and data sets, from raw files to a checked submission."""

import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from snellen.competition.submission import check_submission, write_submission
from snellen.errors import DataError
from snellen.images.imageset import SAMPLE
from snellen.images.labels import names_of
from snellen.images.prepare import prepare
from snellen.prediction.predictions import Predictions
from snellen.task import Task

sys.path.insert(0, str(Path(__file__).parent / "sources"))
from layouts import LAYOUTS


def guesses(images):
    """Predictions of the test images that are sure of a class of their own each."""
    test = images.select("test")
    probabilities = np.full((len(test), len(images.classes)), 0.1 / len(images.classes), dtype=np.float32)
    probabilities[np.arange(len(test)), np.arange(len(test)) % len(images.classes)] += 0.9
    decided = probabilities >= 0.5 if images.task.has_several else None
    return Predictions(test.ids, probabilities, images.classes, decided)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read_as_its_author_meant_it(name, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    expected = LAYOUTS[name](raw)
    if expected.refused:
        with pytest.raises(DataError) as caught:
            prepare(raw, tmp_path / "data")
        assert expected.refused in str(caught.value)
        assert caught.value.do
        assert not (tmp_path / "data").exists()
        return
    images = prepare(raw, tmp_path / "data")
    classes, positive, allows_none = tuple(expected.classes), expected.positive, expected.allows_none
    task = Task(classes, expected.kind, expected.form, expected.metric, positive, allows_none=allows_none)
    assert images.task == task
    labelled = images.splits != "test"
    label_of = dict(zip(images.ids[labelled].tolist(), images.labels[labelled], strict=True))
    found = {id: names_of(label_of[id], images.classes) for id in expected.some}
    assert found == {id: [names] if isinstance(names, str) else names for id, names in expected.some.items()}
    assert images.counts["test"] == expected.num_test
    if expected.splits:
        assert images.counts == expected.splits
    predictions = guesses(images)
    path = write_submission(predictions, images, tmp_path / "submission.csv")
    assert check_submission(path, images) == expected.num_test
    if (images.folder / SAMPLE).exists():
        with open(images.folder / SAMPLE, newline="") as sample, open(path, newline="") as written:
            ours, theirs = list(csv.reader(written)), list(csv.reader(sample))
        assert ours[0] == theirs[0]
        assert [row[0] for row in ours] == [row[0] for row in theirs]
        assert {len(row[1].split()) for row in ours[1:]} == {5 if expected.form == "top5" else 1}
        kinds = Counter(row[1] in images.classes for row in ours[1:])
        assert set(kinds) == {expected.form in ("label", "labels")}
