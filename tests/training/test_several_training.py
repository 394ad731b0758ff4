"""From images with several labels to a run, its predictions and scores: pictures whose lights are on or off."""

import numpy as np
import pytest

from made import LIGHTS, make_images, scenes, several_images, true_lights
from snellen.images.folds import fold
from snellen.models.model_file import load_model
from snellen.prediction.decide import decide, rule_of
from snellen.prediction.evaluate import evaluate
from snellen.prediction.predict import predict
from snellen.prediction.predictions import Predictions
from snellen.runs.presets import PRESETS
from snellen.scoring.metrics import MULTI_METRICS
from snellen.task import Task
from snellen.training.cross_validate import cross_validate
from snellen.training.train import train

QUICKLY = PRESETS["smoke"].with_settings(["epochs=4", "precision=float32"])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return several_images(tmp_path_factory.mktemp("several") / "data")


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
    return train(images, QUICKLY, tmp_path_factory.mktemp("several") / "run")


def test_labels_are_read_off_the_rows(images):
    assert images.labels.dtype == bool
    assert images.labels.shape == (170, 3)
    assert (images.labels[:150] == true_lights(images.stored[:150])).all()
    assert images.has_label[:150].all()
    assert not images.has_label[150:].any()
    assert not images.labels[:150].any(axis=1).all(), "some images have no label, which is known"
    assert "several labels" not in str(images)


def test_a_run_learns_them_and_says_what_evaluate_says(images, run):
    last = run.metrics[-1]
    scores = evaluate(run, images)
    assert scores["value"] > 0.9
    # An epoch is scored before calibration, which moves the thresholds a little.
    assert last["valid_f1_samples"] == pytest.approx(scores["value"], abs=0.05)
    assert last["valid_accuracy"] == pytest.approx(scores["accuracy"], abs=0.1)
    assert scores["metric"] == "f1_samples"
    assert [scores["classes"][name]["images"] for name in LIGHTS] == images.select("valid").labels.sum(axis=0).tolist()
    for metric in MULTI_METRICS:
        assert evaluate(run, images, metric=metric)["metric"] == metric


def test_predictions_find_the_lights_of_the_test_images_by_id(images, run, tmp_path):
    guesses = predict(run, images, out=tmp_path / "predictions.csv")
    test = images.select("test")
    truth = dict(zip(test.ids.tolist(), true_lights(test.pixels()), strict=True))
    right = [guesses.labels_of(id) == [n for n, on in zip(LIGHTS, truth[id], strict=True) if on] for id in truth]
    assert np.mean(right) > 0.85
    assert (guesses.labels == decide(guesses.probabilities, rule_of(load_model(run)))).all()
    assert (tmp_path / "predictions.csv").read_text().startswith("id,labels,p_blue,p_green,p_red\nt150,")
    again = Predictions.open(tmp_path / "predictions.csv")
    assert (again.labels == guesses.labels).all()
    assert (again.probabilities == guesses.probabilities).all()


def test_the_model_knows_its_thresholds_and_sigmoids(run):
    model = load_model(run)
    assert model.about["rule"]["kind"] == "thresholds"
    assert model.about["rule"]["metric"] == "f1_samples"
    assert not model.about["rule"]["at_least_one"], "some training images have no label"
    assert model.temperature.shape == model.shift.shape == (3,)
    assert model.task.has_several


@pytest.mark.parametrize("settings", [["mixup=0.4"], ["cutmix=1.0"], ["label_smoothing=0.2"], ["class_power=0.5"]])
def test_every_way_to_train_still_learns(images, tmp_path, settings):
    run = train(images, QUICKLY.with_settings(settings), tmp_path / "run")
    assert run.metrics[-1]["valid_f1_samples"] > 0.8
    assert np.isfinite(run.metrics[-1]["train_loss"])


def test_a_probe_fits_one_logistic_regression_per_class(tmp_path):
    pixels, draw = scenes(90, 32), np.random.default_rng(0)
    has = draw.random((90, 2)) < 0.5
    y, x = np.mgrid[:32, :32]
    for part, (left, colour) in enumerate(((9, (220, 30, 30)), (23, (30, 30, 220)))):
        disc = (x - left) ** 2 + (y - 16) ** 2 < 49
        for image in np.flatnonzero(has[:, part]):
            pixels[image, disc] = colour
    names = [[name for name, there in zip(("red", "sea"), row, strict=True) if there] for row in has]
    task = Task(("red", "sea"), "multi", "labels", "f1_macro", allows_none=True)
    images = make_images(tmp_path / "data", pixels, names, ["train"] * 60 + ["valid"] * 30, task=task)
    run = train(images, "probe", tmp_path / "run")
    assert evaluate(run, images, metric="auc")["value"] > 0.85
    assert run.metrics[0]["valid_f1_macro"] > 0.7


def test_folds_keep_the_shares_and_fit_one_rule_for_the_average(images, tmp_path):
    shares = [fold(images, number, 3, 0).select("valid").labels.mean(axis=0) for number in (1, 2, 3)]
    assert np.ptp(shares, axis=0).max() < 0.05
    folds = cross_validate(images, QUICKLY.with_settings(["epochs=2"]), tmp_path / "folds", 3)
    assert folds.scores["images"] == 150
    assert folds.about["rule"]["kind"] == "thresholds"
    assert Predictions.open(folds.predictions).labels.shape == (150, 3)
    guesses = predict(folds.folder, images)
    assert (guesses.labels == decide(guesses.probabilities, folds.about["rule"])).all()


def test_a_refit_takes_over_calibration_and_rule(images, run, tmp_path):
    refit = train(images, QUICKLY, tmp_path / "refit", on="train+valid", calibrated_by=run.folder)
    mine, first = load_model(refit), load_model(run)
    assert mine.about["rule"] == first.about["rule"]
    assert (mine.temperature == first.temperature).all()
    assert (mine.shift == first.shift).all()
