"""What a GPU computes against what a processor does. Skipped where there is none."""

import math

import numpy as np
import pytest
import torch

from conftest import write_world
from snellen.images.imageset import ImageSet
from snellen.images.prepare import prepare
from snellen.models.model_file import load_model
from snellen.prediction.evaluate import evaluate
from snellen.prediction.probabilities import probabilities
from snellen.runs.presets import PRESETS
from snellen.system.device import choose_runtime
from snellen.training.train import train

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="there is no CUDA device here"),
]
FIELDS = ["epochs=2", "batch_size=13", "piece_size=5"]
RECIPES = {
    "sgd": PRESETS["smoke"].with_settings(FIELDS),
    "muon": PRESETS["fast"].with_settings([*FIELDS, "peak_lr=5", "head_lr=5"]),
    "augmented": PRESETS["d2l"].with_settings([*FIELDS, "model=cifar_resnet8_v1", "cutout=4", "mixup=1"]),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> ImageSet:
    world = write_world(tmp_path_factory.mktemp("world") / "raw")
    return prepare(world.folder, tmp_path_factory.mktemp("prepared") / "data", size=16)


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_gives_what_it_gives_on_a_processor(images, tmp_path, name):
    recipe = RECIPES[name].with_settings(["precision=float64"])
    here, there = (train(images, recipe, tmp_path / device, device=device) for device in ("cpu", DEVICE))
    # Muon's own steps are in bfloat16, where the two round differently.
    closeness = 2e-2 if name == "muon" else 1e-6
    for mine, other in zip(here.metrics, there.metrics, strict=True):
        assert other["train_loss"] == pytest.approx(mine["train_loss"], rel=closeness)
        assert other["valid_loss"] == pytest.approx(mine["valid_loss"], rel=closeness)


@pytest.mark.parametrize("name", RECIPES)
def test_a_stopped_training_goes_on_to_the_same_result(images, tmp_path, name):
    whole = train(images, RECIPES[name], tmp_path / "whole", device=DEVICE)
    seen = []

    def stop(*progress):
        seen.append(progress)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(images, RECIPES[name], tmp_path / "parts", device=DEVICE, checkpoint_seconds=0, on_progress=stop)
    parts = train(images, RECIPES[name], tmp_path / "parts", device=DEVICE)
    assert parts.metrics[-1]["valid_loss"] == pytest.approx(whole.metrics[-1]["valid_loss"], rel=0.05)
    assert parts.metrics[-1]["step"] == whole.metrics[-1]["step"]


def test_a_prediction_is_the_processors_up_to_rounding(images, tmp_path):
    run = train(images, RECIPES["sgd"], tmp_path / "run", device=DEVICE)
    model, test = load_model(run.folder), images.select("test")
    here = probabilities(model, test, choose_runtime("float32", "cpu"), views=6)
    there = probabilities(model, test, choose_runtime("float32", DEVICE), views=6)
    np.testing.assert_allclose(there, here, atol=1e-4)
    assert math.isfinite(evaluate(run, images, device=DEVICE)["log_loss"])
