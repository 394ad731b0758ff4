"""timm is an extra that does not fit every torch: benchmarks/timm_models.py is for an environment that has it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from made import make_images, scenes
from snellen.errors import RecipeError, RunError
from snellen.models.classifier import build_network
from snellen.models.model_file import load_model
from snellen.prediction.evaluate import evaluate
from snellen.runs.presets import PRESETS
from snellen.serving.export import export
from snellen.training.train import train

try:
    import timm
except Exception:
    timm = None
needs_timm = pytest.mark.skipif(timm is None, reason="timm cannot be imported")
NAME = "test_resnet"  # timm's smallest


@pytest.mark.skipif(timm is not None, reason="timm is installed")
def test_without_timm_its_models_name_what_is_missing():
    with pytest.raises(RunError, match="timm:resnet18 needs the package timm") as caught:
        build_network("timm:resnet18", 2)
    assert "pip install torch torchvision 'snellen[timm]'" in caught.value.do


@needs_timm
@pytest.mark.parametrize("name", ["resnet81", "hf-hub:someone/model", "local-dir:/tmp"])
def test_names_that_timm_does_not_have_are_refused(name):
    """Among them names that would make timm download."""
    with pytest.raises(RecipeError, match="timm has no model"):
        build_network(f"timm:{name}", 2)


@needs_timm
@pytest.mark.parametrize("optimizer", ["lbfgs", "adamw"])
def test_a_timm_model_is_trained_saved_evaluated_and_exported(tmp_path, optimizer):
    images = make_images(tmp_path / "data", scenes(24, 96), ["a", "b"] * 12, ["train"] * 16 + ["valid"] * 8)
    torch.manual_seed(0)
    weights = timm.create_model(NAME, num_classes=7).state_dict()
    torch.save(weights, tmp_path / "weights.pth")
    recipe = replace(
        PRESETS["probe" if optimizer == "lbfgs" else "photo"],
        model=f"timm:{NAME}",
        start=str(tmp_path / "weights.pth"),
        frozen_blocks=0,
        epochs=1,
        small_size=0,
        small_share=0,
        precision="float32",
    )
    run = train(images, recipe, tmp_path / "run")
    model = load_model(run)
    assert model.mean.flatten().tolist() == pytest.approx(timm.create_model(NAME).pretrained_cfg["mean"])
    for name, value in model.network[0].body.state_dict().items():
        if optimizer == "lbfgs":
            assert torch.equal(value, weights[name])
    assert evaluate(run, images)["accuracy"] == run.metrics[-1]["valid_accuracy"]
    assert export(run, tmp_path / "model.pt2", to="torch", images=images).difference < 1e-5
    assert np.isfinite(run.metrics[-1]["valid_loss"])
