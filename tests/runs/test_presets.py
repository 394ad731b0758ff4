from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from made import make_images
from snellen.models.classifier import MODELS, build_model
from snellen.runs.presets import DEFAULT, PRESETS
from snellen.training.loader import Batches
from snellen.training.optim import Optimizer


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    labels = np.arange(40) % 4
    pixels = np.random.default_rng(0).integers(0, 200, (40, 32, 32, 3), dtype=np.uint8)
    pixels[..., 0] += (labels * 15).astype(np.uint8)[:, None, None]
    return make_images(tmp_path_factory.mktemp("presets"), pixels, ["abcd"[n] for n in labels], ["train"] * 40)


def test_the_default_is_one_of_them():
    assert DEFAULT in PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_names_a_model_that_exists(name):
    assert PRESETS[name].model in MODELS


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name].optimizer != "lbfgs"])  # it has no steps
def test_every_preset_runs_one_step_and_every_weight_moves(images, name):
    recipe = replace(PRESETS[name], batch_size=20, precision="float32")
    if not recipe.model.startswith(
        "whitened"
    ):  # the network is tested elsewhere; here its smallest cousin shows the settings
        recipe = replace(recipe, model="cifar_resnet8_v2")
    model = build_model(recipe, images).to(memory_format=torch.channels_last)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    batches = Batches(images, recipe, torch.device("cpu"))
    optimizer = Optimizer(model, recipe, batches.total_steps, batches.steps_per_epoch)
    batch = next(batches.epoch(0))
    F.cross_entropy(model(batch.x), batch.target, label_smoothing=recipe.label_smoothing).backward()
    optimizer.step(0)
    for key, p in model.named_parameters():
        assert p.isfinite().all(), key
        assert torch.equal(p, before[key]) != p.requires_grad, key


def test_the_chapters_learning_rate_on_a_summed_loss_is_ours_on_a_mean_loss():
    """The d2l chapter's own update (sum over the batch of 32, lr 2e-4, decay 5e-4) beside ours, for three steps."""
    recipe = PRESETS["d2l"]
    torch.manual_seed(0)
    ours, chapters = nn.Linear(6, 3), nn.Linear(6, 3)
    chapters.load_state_dict(ours.state_dict())
    optimizer = Optimizer(ours, recipe, 3000, 1000)
    sgd = torch.optim.SGD(chapters.parameters(), lr=2e-4, momentum=0.9, weight_decay=5e-4)
    for step in range(3):
        x, y = torch.randn(32, 6), torch.randint(3, (32,))
        F.cross_entropy(ours(x), y).backward()
        optimizer.step(step)
        sgd.zero_grad()
        F.cross_entropy(chapters(x), y, reduction="sum").backward()
        sgd.step()
    torch.testing.assert_close(ours.weight, chapters.weight, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.bias, chapters.bias, atol=1e-6, rtol=1e-5)
    assert recipe.batch_size == 32


def test_the_chapters_settings_are_those_of_the_chapter():
    recipe = PRESETS["d2l"]
    assert (recipe.epochs, recipe.lr_drop_every, recipe.lr_drop, recipe.schedule) == (20, 4, 0.9, "constant")
    assert round(32 * recipe.enlarge) == 40
    assert (recipe.crop_area, recipe.flip, recipe.crop_pad) == (0.64, "random", 0)
    exercise = PRESETS["d2l_exercise"]
    assert (exercise.epochs, exercise.batch_size, exercise.peak_lr) == (100, 128, 0.1)
    assert (exercise.lr_drops, exercise.lr_drop) == ((50,), 0.1)


def test_the_zoos_settings_are_those_of_its_script():
    recipe = PRESETS["gluoncv_resnet20_v2"]
    assert (recipe.epochs, recipe.lr_drops, recipe.lr_drop) == (240, (80, 160), 0.1)
    assert (recipe.peak_lr, recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.1, 0.9, True, 1e-4)
    assert recipe.decay_all, "its trainer decays every parameter"
    assert (recipe.crop_pad, recipe.crop_border, recipe.flip) == (4, "zero", "random")
    mixed = PRESETS["gluoncv_resnet20_v2_mixup"]
    assert (mixed.mixup, mixed.mix_off_epochs) == (1.0, 20)
