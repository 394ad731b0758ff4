"""What every model can do, photographs' models can too: folds, refit, other classes, and one path to a prediction."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from made import make_images, scenes
from snellen.models.model_file import load_model
from snellen.prediction.evaluate import evaluate
from snellen.prediction.pictures import classify
from snellen.prediction.predict import predict
from snellen.reports.report import report
from snellen.runs.presets import PRESETS
from snellen.serving.export import export
from snellen.system.device import choose_runtime
from snellen.training.cross_validate import cross_validate
from snellen.training.train import train
from snellen.training.tune import tune

PHOTO = replace(PRESETS["photo"], epochs=1, batch_size=12, piece_size=6, small_size=24, precision="float32")
RECIPES = {"photo": PHOTO, "probe": replace(PRESETS["probe"], precision="float32")}


def dark_and_pale(num):
    pixels = scenes(num)
    pixels[1::2] = 255 - pixels[1::2] // 3
    return pixels, ["dark", "pale"] * (num // 2)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    splits = ["train"] * 24 + ["valid"] * 12 + ["test"] * 6
    return make_images(tmp_path_factory.mktemp("photo") / "data", *dark_and_pale(42), splits)


@pytest.fixture(scope="module", params=RECIPES)
def run(request, images, tmp_path_factory):
    return train(images, RECIPES[request.param], tmp_path_factory.mktemp("run") / request.param)


def test_all_ways_to_a_prediction_agree(run, images, tmp_path):
    guesses = predict(run, images, split="valid").probabilities
    scores = evaluate(run, images)
    assert scores["accuracy"] == run.metrics[-1]["valid_accuracy"]
    assert scores["accuracy"] == (guesses.argmax(axis=1) == images.select("valid").labels).mean()
    assert f'value="{scores["accuracy"]}"' in report(run, images, out=tmp_path / "report.html").read_text()
    assert export(run, tmp_path / "model.pt2", to="torch", images=images).difference < 1e-5
    png = io.BytesIO()
    Image.fromarray(images.select("valid").pixels(3, 4)[0]).save(png, "PNG")
    (one,) = classify(load_model(run), [("one", png.getvalue())], choose_runtime("float32"))
    np.testing.assert_allclose(one.probabilities, guesses[3], atol=1e-5)


def test_the_temperature_fits_the_valid_images(run, images):
    guesses = predict(run, images, split="valid").probabilities
    assert float(load_model(run).temperature) != 1
    assert -np.log(guesses[np.arange(12), images.select("valid").labels]).mean() < np.log(2)


def test_a_refit_takes_over_the_calibration(run, images, tmp_path):
    refit = train(images, run.recipe, tmp_path / "refit", on="train+valid", calibrated_by=run)
    assert float(load_model(refit).temperature) == float(load_model(run).temperature)
    assert len(predict(refit, images)) == 6


def test_folds_share_the_cached_features(images, tmp_path):
    cv = cross_validate(images, RECIPES["probe"], tmp_path / "folds", folds=2)
    assert cv.scores["images"] == 36
    assert cv.scores["accuracy"] > 0.8
    assert len(predict(cv, images)) == 6


def test_trials_of_a_study_share_the_cached_features(images, tmp_path):
    pytest.importorskip("optuna")
    study = tune(images, tmp_path / "study", trials=2, recipe=RECIPES["probe"])
    assert study.count("complete") == 2
    assert study.best is not None


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_run_starts_one_with_other_classes(run, images, tmp_path, num_classes):
    names = [f"kind {n % num_classes}" for n in range(24)]
    others = make_images(tmp_path / "others", images.pixels(0, 24), names, ["train"] * 18 + ["valid"] * 6)
    other = train(others, run.recipe, tmp_path / "other", init=run)
    assert other.about["init"]["from"] == str(run.folder)
    assert load_model(other).network[1].out_features == num_classes


def test_a_run_states_what_it_grew_from_and_resumes_only_from_that(run, images, tmp_path):
    """The start is a field of the recipe, and its checksum is in about.json."""
    assert run.recipe.start == "imagenet-efficientnet-lite0"
    assert len(run.about["init"]["sha256"]) == 64
    again = train(images, run.recipe, tmp_path / "again")
    assert again.about["init"] == run.about["init"]
    assert again.model.read_bytes() == run.model.read_bytes()
