"""Averages of weights: of which weights they are, and with which batch-norm statistics."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import made
from made import some
from snellen.errors import RecipeError
from snellen.models.classifier import build_model
from snellen.models.model_file import load_model
from snellen.prediction.evaluate import evaluate
from snellen.runs.recipe import Recipe
from snellen.system.device import choose_runtime
from snellen.training import averaging
from snellen.training.train import train

RECIPE = Recipe(model="cifar_resnet8_v1", epochs=3, batch_size=10, peak_lr=0.1, precision="float32")
RUNTIME = choose_runtime("float32", "cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    names = [("cat", "dog")[number % 2] for number in range(50)]
    folder = tmp_path_factory.mktemp("some") / "data"
    return made.make_images(folder, made.noise(50), names, ["train"] * 40 + ["valid"] * 10)


def drifting(images, num):
    """So many models, each with other weights."""
    return [build_model(RECIPE.with_settings([f"seed={seed}"]), images.select("train")) for seed in range(num)]


def test_the_weights_are_the_mean_of_those_of_the_last_epochs(images):
    recipe = RECIPE.with_settings(["epochs=5", "average_last=3"])
    models = drifting(images, 5)
    average = build_model(recipe, images.select("train"))
    for epoch, model in enumerate(models, start=1):
        averaging.after_epoch(average, model, recipe, epoch, images.select("train"), RUNTIME)
        members = models[2:epoch] if epoch > 2 else [model]
        for name, value in average.named_parameters():
            mean = torch.stack([dict(member.named_parameters())[name] for member in members]).mean(dim=0)
            torch.testing.assert_close(value, mean, msg=name)
        if len(members) == 1:
            assert all(torch.equal(a, b) for a, b in zip(average.buffers(), model.buffers(), strict=True))


@pytest.mark.parametrize("piece", [500, 20])
def test_statistics_are_those_of_the_average_on_the_training_images(images, monkeypatch, piece):
    """By a forward hook on each batch norm: its running mean is the mean of what comes in, over all images."""
    monkeypatch.setattr(averaging, "PIECE", piece)
    recipe = RECIPE.with_settings(["average_last=2"])
    models = drifting(images, 2)
    chosen = images.select("train")
    average = build_model(recipe, chosen)
    for epoch, model in enumerate(models, start=2):
        averaging.after_epoch(average, model, recipe, epoch, chosen, RUNTIME)
    norms = [layer for layer in average.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}, "training goes on as before"
    first = norms[0]
    seen = []
    hook = first.register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    with torch.no_grad():
        average.eval()(torch.from_numpy(chosen.pixels()).permute(0, 3, 1, 2).float() / 255)
    hook.remove()
    torch.testing.assert_close(first.running_mean, seen[0].mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.running_var, seen[0].var(dim=(0, 2, 3)), rtol=0.05, atol=1e-5)


def test_a_run_ends_with_the_average_and_validates_it(images, tmp_path):
    plain = train(images, RECIPE, tmp_path / "plain")
    run = train(images, RECIPE.with_settings(["average_last=2"]), tmp_path / "averaged")
    for ours, theirs in zip(run.metrics, plain.metrics, strict=True):
        assert ours["train_loss"] == theirs["train_loss"], "the training itself is the same"
    assert [a["valid_loss"] == b["valid_loss"] for a, b in zip(run.metrics, plain.metrics, strict=True)] == [
        True,
        True,
        False,
    ]
    assert evaluate(run, images)["accuracy"] == run.metrics[-1]["valid_accuracy"]
    weights = [load_model(folder).state_dict()["network.output.weight"] for folder in (run.folder, plain.folder)]
    assert not np.allclose(*weights)


@pytest.mark.parametrize(
    ("settings", "words"),
    [(["ema=0.9", "average_last=2"], "set only one of them"), (["average_last=4"], "there are only 3 epochs")],
)
def test_averages_that_cannot_be_are_refused(settings, words):
    with pytest.raises(RecipeError, match=words):
        RECIPE.with_settings(settings)


@some
@given(ema=st.floats(0.5, 0.9999), steps=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_average_equals_the_sum_written_out(ema, steps, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = copy.deepcopy(model)
    expected = {name: value.clone().double() for name, value in model.state_dict().items()}
    for step in range(steps):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        model(torch.randn(4, 2))  # moves the statistics of batch norm
        averaging.after_step(average, model, Recipe(ema=ema), step)
        share = min(ema, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            expected[name] = share * expected[name] + (1 - share) * value.double()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], atol=1e-5, rtol=1e-5)
        else:
            assert torch.equal(value, model.state_dict()[name]), "counts are copied"


def test_the_average_of_constant_weights_is_those_weights():
    model = nn.Linear(3, 3)
    average = nn.Linear(3, 3)
    assert not torch.equal(model.weight, average.weight)
    for step in range(400):
        averaging.after_step(average, model, Recipe(ema=0.9), step)
    torch.testing.assert_close(average.weight, model.weight)
