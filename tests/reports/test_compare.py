"""Runs side by side: figures of evaluate, an exact paired test, and refusal of what cannot be compared."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from made import make_images, noise
from read_page import read_page
from snellen.charts.pages import mark
from snellen.errors import DataError, RunError, SnellenError
from snellen.prediction.evaluate import evaluate
from snellen.prediction.predict import predict
from snellen.reports.compare import compare
from snellen.runs.presets import PRESETS
from snellen.training.train import train

BRIEF = PRESETS["smoke"].with_settings(["epochs=2", "batch_size=8", "precision=float32"])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("compare")


def two_classes(folder, num=96, seed=0):
    """Images told apart by how bright they are, not without doubt."""
    pixels = noise(num, 16, seed) // 2
    bright = np.arange(num) % 2 == 1
    pixels[bright] += 60
    splits = ["valid" if n // 2 % 3 == 2 else "train" for n in range(num)]
    return make_images(folder, pixels, ["bright" if one else "dark" for one in bright], splits)


@pytest.fixture(scope="module")
def images(place):
    return two_classes(place / "data")


@pytest.fixture(scope="module")
def runs(images, place):
    """One that learned, one whose weights never moved, and the first again with another seed."""
    still = BRIEF.with_settings(["peak_lr=0", "head_lr=0", "epochs=1"])
    return [
        train(images, recipe, place / name / "run")
        for name, recipe in (("a", BRIEF), ("b", still), ("$c_1$ <i>", BRIEF.with_settings(["seed=3"])))
    ]


@pytest.fixture(scope="module")
def comparison(runs, images):
    return compare(runs, images)


def test_scores_are_those_of_evaluate(comparison, runs, images):
    for one, run in zip(comparison.runs, runs, strict=True):
        scores = evaluate(run, images)
        assert {name: scores[name] for name in one.scores} == one.scores


def test_differences_count_the_images_that_only_one_has_right(comparison, runs, images):
    labels = images.select("valid").labels
    right = [predict(run, images, split="valid").labels == labels for run in runs]
    assert comparison.runs[0].difference is None
    for one, mine in zip(comparison.runs[1:], right[1:], strict=True):
        difference = one.difference
        assert difference.gained == (mine & ~right[0]).sum()
        assert difference.lost == (right[0] & ~mine).sum()
        assert difference.value == pytest.approx(mine.mean() - right[0].mean())
        assert difference.low <= difference.value <= difference.high
    worse = comparison.runs[1].difference
    assert worse.value < 0
    assert worse.beyond_noise


def test_only_settings_that_differ_are_listed(comparison):
    assert comparison.settings == {
        "epochs": ("2", "1", "2"),
        "peak_lr": ("20", "0", "20"),
        "head_lr": ("20", "0", "20"),
        "seed": ("0", "0", "3"),
    }


def test_table_names_each_run_by_what_tells_it_apart(comparison):
    text = str(comparison)
    for words in ("a/run", "b/run", "$c_1$ <i>/run", "against a/run", "beyond noise", "images/s", "parameters"):
        assert words in text
    lines = text.splitlines()
    assert lines[0].startswith("32 valid images of")
    assert lines[2].startswith("a/run ")
    assert len({line.index("95% interval") for line in lines if "95% interval" in line}) == 1


def test_page_stands_alone_and_agrees(comparison, place):
    page = read_page(comparison.save(place / "compare.html"))
    assert [float(value) for value in page.data["score"]] == [one.scores["accuracy"] for one in comparison.runs]
    assert "$c_1$ <i>/run" in page.text
    assert not page.all("i")
    assert len(page.all("svg")) == 1
    assert comparison.save(place / "again.html").read_bytes() == (place / "compare.html").read_bytes()


def test_figure_and_json_are_written(comparison, place):
    with Image.open(comparison.save(place / "figure.png")) as figure:
        assert figure.size[0] > 500
    found = json.loads(comparison.save(place / "figures.json").read_text())
    assert found.pop("made_by") == mark("compare")
    assert found == json.loads(json.dumps(comparison.to_dict()))
    assert [one["name"] for one in found["runs"]] == [one.name for one in comparison.runs]
    assert found["runs"][1]["difference"]["beyond_noise"] is True


def test_out_is_written_and_another_ending_is_refused(runs, images, place):
    compare(runs[:2], images, out=place / "out.html")
    assert read_page(place / "out.html").all("svg")
    with pytest.raises(SnellenError, match=r"out\.pdf"):
        compare(runs[:2], images, out=place / "out.pdf")


def test_a_run_does_not_differ_from_itself(runs, images):
    twice = compare([runs[0].folder, runs[0].folder], images)
    difference = twice.runs[1].difference
    assert (difference.value, difference.gained, difference.lost, difference.p) == (0, 0, 0, 1)
    assert not difference.beyond_noise
    assert "The recipes are the same." in str(twice)


def test_other_first_weights_are_said(runs, images, place):
    taught = train(images, BRIEF.with_settings(["epochs=1"]), place / "taught", init=runs[0].folder)
    assert compare([runs[0], taught], images).settings == {
        "epochs": ("2", "1"),
        "(initial weights)": ("random", f"whitened_cnn {runs[0].folder}"),
    }


def test_images_are_found_where_the_run_had_them(runs):
    assert compare(runs[:2]).images.counts == {"train": 64, "valid": 32}


def test_images_that_have_moved_are_asked_for(images, place):
    moved = two_classes(place / "moving", num=24)
    run = train(moved, BRIEF.with_settings(["epochs=1"]), place / "of moved")
    moved.folder.rename(place / "moved")
    with pytest.raises(DataError, match=r"(?s)moving.*--data DATA"):
        compare([run, run])
    assert len(compare([run, run], place / "moved").runs) == 2


def test_a_single_run_is_refused(runs):
    with pytest.raises(RunError, match="comparing takes two runs or more, not 1"):
        compare(runs[:1])


def test_runs_on_other_images_are_refused_by_name(runs, images, place):
    other = two_classes(place / "other data", seed=1)
    stranger = train(other, BRIEF.with_settings(["epochs=1"]), place / "stranger")
    with pytest.raises(RunError, match='"stranger" was trained on other images'):
        compare([runs[0], stranger], images)
    with pytest.raises(RunError, match='"a/run" was trained on other images'):
        compare(runs[:2], other)


def test_runs_that_saw_the_images_are_refused_by_name(runs, images, place):
    everything = train(images, BRIEF.with_settings(["epochs=1"]), place / "everything", on="train+valid")
    with pytest.raises(RunError, match='"everything" was trained on the valid images'):
        compare([runs[0], everything], images)


def test_another_metric_heads_table_page_and_figures(runs, images, place):
    by_loss = compare(runs, images, metric="log_loss")
    first, worse, _ = by_loss.runs
    assert worse.scores["value"] == worse.scores["log_loss"] > first.scores["log_loss"]
    assert worse.difference.value == pytest.approx(worse.scores["log_loss"] - first.scores["log_loss"])
    assert 0 < worse.difference.low < worse.difference.value < worse.difference.high
    assert worse.difference.beyond_noise
    heading, line = str(by_loss).splitlines()[1:3]
    assert re.split(r" {2,}", heading)[:3] == ["run", "log_loss", "95% interval"]
    assert "accuracy" in heading
    assert f"{first.scores['value']:.4f} nats" in line
    page = read_page(by_loss.save(place / "by_loss.html"))
    assert [float(value) for value in page.data["score"]] == [one.scores["value"] for one in by_loss.runs]
    assert "Lower values of log_loss are better" in page.text
    assert json.loads(by_loss.save(place / "by_loss.json").read_text())["metric"] == "log_loss"
    with Image.open(by_loss.save(place / "by_loss.png")) as figure:
        assert figure.size[0] > 500


def test_a_function_compares_runs_too(runs, images):
    def confidence(labels, probabilities):
        return float(probabilities.max(axis=1).mean())

    by_function = compare(runs[:2], images, metric=confidence)
    first, second = (predict(run, images, split="valid").probabilities.max(axis=1).mean() for run in runs[:2])
    assert by_function.runs[1].difference.value == pytest.approx(float(second - first), abs=1e-6)
    assert "confidence" in str(by_function)


def test_a_metric_that_is_undefined_is_shown_as_that(place):
    pixels = noise(12)
    images = make_images(place / "one class", pixels, ["a", "b"] * 4 + ["a"] * 4, ["train"] * 8 + ["valid"] * 4)
    runs = [
        train(images, BRIEF.with_settings([f"seed={seed}"]), place / f"one {seed}", metric="auc") for seed in (0, 1)
    ]
    assert [row["valid_auc"] for row in runs[0].metrics] == [None, None], "and the metrics are not damaged"
    assert "valid auc undefined" in str(runs[0])
    by_auc = compare(runs, images)
    assert by_auc.metric.name == "auc"
    assert "undefined" in str(by_auc)
    assert json.loads(by_auc.save(place / "auc.json").read_text())["runs"][1]["difference"]["value"] is None
    assert read_page(by_auc.save(place / "auc.html")).all("svg")
