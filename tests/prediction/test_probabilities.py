"""A model whose numbers are none is refused by every verb that uses it, in one place."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from made import make_images, noise, small_model
from snellen.errors import DivergedError
from snellen.models.model_file import save_model
from snellen.prediction.evaluate import evaluate
from snellen.prediction.predict import predict
from snellen.prediction.probabilities import logits, probabilities
from snellen.reports.compare import compare
from snellen.reports.report import report
from snellen.runs.recipe import Recipe
from snellen.system.device import choose_runtime
from snellen.training.train import train

SMOKE = Recipe(model="whitened_cnn", epochs=1, batch_size=20, peak_lr=20, head_lr=20, precision="float32")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    splits = ["train"] * 40 + ["valid"] * 10 + ["test"] * 10
    return make_images(tmp_path_factory.mktemp("some") / "data", noise(60), ["cat", "dog", "owl"] * 20, splits)


@pytest.fixture(scope="module")
def broken(images, tmp_path_factory):
    """A finished run with one weight that is not a number."""
    run = train(images, SMOKE, tmp_path_factory.mktemp("broken") / "run")
    model = small_model()
    with torch.no_grad():
        model.network.output.weight[1, 0] = math.nan
    header = {"recipe": SMOKE.to_dict(), "on": "train", "fingerprint": images.fingerprint, "scores": {"epoch": 1}}
    save_model(run.model, model, **header)
    return run


@pytest.mark.parametrize("verb", [evaluate, predict, report, lambda run, images: compare([run, run], images)])
def test_one_weight_that_is_no_number_is_a_message_of_every_verb(images, broken, verb):
    with pytest.raises(
        DivergedError, match=r"network\.output\.weight contains values that are infinite or not a number"
    ) as caught:
        verb(broken, images)
    assert caught.value.where == str(broken.model)
    assert caught.value.do == "use another model, or train again with a lower learning rate"


def test_a_model_in_memory_with_such_a_weight_is_a_message_too(images, broken):
    model = small_model(images.classes)
    with torch.no_grad():
        model.network.output.weight[1, 0] = math.nan
    with pytest.raises(DivergedError, match=r"outputs for 10 of 10 images are not finite numbers"):
        evaluate(model, images)


def test_predictions_that_are_no_numbers_are_not_written(images, broken, tmp_path):
    words = ["predict", broken.folder, images.folder, "--out", tmp_path / "predictions.csv"]
    done = subprocess.run([sys.executable, "-m", "snellen", *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert "snellen: the model's network.output.weight contains values that are infinite or not a number" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "predictions.csv").exists()


@pytest.mark.parametrize("temperature", [math.nan, math.inf, 0.0, -1.0])
def test_a_temperature_that_cannot_be_is_refused(temperature):
    model = small_model()
    model.temperature.fill_(temperature)
    with pytest.raises(DivergedError, match=f"the model's temperature is {temperature}"):
        probabilities(model, noise(3), choose_runtime("float32", "cpu"))


def test_only_the_images_with_such_outputs_are_counted():
    model = small_model()
    model.network.features.register_forward_hook(lambda _, x, y: y.index_fill(0, torch.tensor(2), math.inf))
    with pytest.raises(DivergedError, match="for 1 of 5 images"):
        logits(model, noise(5), choose_runtime("float32", "cpu"))


def test_finite_outputs_pass_whatever_their_size():
    model = small_model()
    with torch.no_grad():
        model.network.output.weight.fill_(1e30)
        model.network.output.weight[0].fill_(-1e30)
    assert np.isfinite(probabilities(model, noise(4), choose_runtime("float32", "cpu"))).all()
