"""Replicas of 21 competitions and data sets, from raw files to a checked submission."""

import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from snellen.competition.submission import check_submission, write_submission
from snellen.errors import DataError
from snellen.images.imageset import SAMPLE
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
    return Predictions(test.ids, probabilities, images.classes)


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
    assert images.task == Task(tuple(expected.classes), "single", expected.form, expected.metric, expected.positive)
    labelled = images.splits != "test"
    label_of = dict(zip(images.ids[labelled].tolist(), images.labels[labelled].tolist(), strict=True))
    assert {id: images.classes[label_of[id]] for id in expected.some} == expected.some
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
        assert set(kinds) == {expected.form == "label"}
