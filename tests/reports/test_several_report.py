"""Pages and checks of images with several labels."""

import json

import numpy as np
import pytest

from made import LIGHTS, several_images
from read_page import read_page
from snellen.prediction.evaluate import evaluate
from snellen.reports.check import check
from snellen.reports.compare import compare
from snellen.reports.report import report
from snellen.runs.presets import PRESETS
from snellen.scoring.label_errors import label_errors
from snellen.scoring.several_mistakes import frequent_pairs, label_rows, together, worst_alarms, worst_misses
from snellen.training.train import train

QUICKLY = PRESETS["smoke"].with_settings(["epochs=3", "precision=float32", "flip=random"])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def images(place):
    return several_images(place / "data")


@pytest.fixture(scope="module")
def run(images, place):
    return train(images, QUICKLY, place / "run")


def test_the_page_has_the_figures_of_every_class(images, run, place):
    page = read_page(report(run, images, out=place / "report.html"))
    valid = images.select("valid")
    for name, own in zip(LIGHTS, valid.labels.T, strict=True):
        [row] = [row for row in page.rows if row[0] == name and len(row) > 8]
        assert int(row[1]) == own.sum()
    assert len(page.data["auc"]) == 3
    assert evaluate(run, images)["metric"] == "f1_samples"
    assert "f1_samples" in page.text
    assert "Classes that occur together" in page.text
    assert "Missed labels" in page.text
    assert "False alarms" in page.text
    assert "Augmentation" in page.text
    assert page.data["value"] == [str(evaluate(run, images)["value"])]


def test_figures_of_classes_and_pairs_are_counted_by_hand():
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]], dtype=bool)
    decided = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0]], dtype=bool)
    probabilities = np.where(decided, 0.9, 0.2) - 0.01 * np.arange(4)[:, None]
    first, second, third = label_rows(labels, decided, probabilities, LIGHTS)
    assert (first.images, first.taken, first.hits, first.precision, first.recall, first.f1) == (2, 2, 2, 1, 1, 1)
    assert (second.images, second.taken, second.hits, second.auc) == (2, 2, 1, 0.5)
    assert (third.recall, third.precision, third.f1, third.auc) == (None, 0, 0, None)
    assert together(labels).tolist() == [[2, 1, 0], [1, 2, 0], [0, 0, 0]]
    [pair] = frequent_pairs(labels, decided, LIGHTS)
    assert (pair.first, pair.second, pair.images, pair.taken) == ("blue", "green", 1, 1)
    assert [one.tolist() for one in worst_misses(labels, decided, probabilities, 5)] == [[0], [1]]
    assert [one.tolist() for one in worst_alarms(labels, decided, probabilities, 5)] == [[1, 2], [1, 2]]


def test_missing_labels_and_labels_too_many_are_suspected():
    draw = np.random.default_rng(0)
    truth = draw.random((200, 3)) < 0.4
    guesses = np.clip(np.where(truth, 0.9, 0.1) + draw.normal(size=truth.shape) * 0.03, 0, 1).astype(np.float32)
    labels = truth.copy()
    labels[5, 1], labels[9, 2] = ~labels[5, 1], ~labels[9, 2]
    found = label_errors(guesses, labels)
    pairs = dict(zip(zip(found.index.tolist(), found.suggested.tolist(), strict=True), found.is_extra, strict=True))
    assert pairs[5, 1] == labels[5, 1]
    assert pairs[9, 2] == labels[9, 2]
    assert {*list(zip(found.index.tolist(), found.suggested.tolist(), strict=True))[:2]} == {(5, 1), (9, 2)}


def test_check_counts_labels_and_suspects_them(images, run, place):
    findings = check(images, run=run, out=place / "check.json")
    assert findings.counts["red"]["train"] == int(images.select("train").labels[:, 2].sum())
    found = json.loads((place / "check.json").read_text())
    assert all(one["problem"] in ("missing", "too many") for one in found["label_errors"])
    page = read_page(findings.save(place / "check.html"))
    assert "images" in page.text


def test_duplicates_with_other_labels_contradict_each_other(place, images):
    changed = several_images(place / "twins", num=30, num_test=2)
    pixels = np.array(changed.stored)
    pixels[1] = pixels[0]
    np.save(changed.folder / "images.npy", pixels)
    twins = type(changed).open(changed.folder)
    [group] = check(twins).groups
    assert (len(group.labels) > 1) == (twins.labels[0] != twins.labels[1]).any()


def test_compare_scores_both_runs_on_the_same_images(images, run, place):
    other = train(images, QUICKLY.with_settings(["epochs=1", "seed=1"]), place / "other")
    compared = compare([run, other], images, out=place / "compare.html")
    assert compared.runs[0].scores["metric"] == "f1_samples"
    assert compared.runs[0].scores["accuracy"] == evaluate(run, images)["accuracy"]
    read_page(place / "compare.html")
