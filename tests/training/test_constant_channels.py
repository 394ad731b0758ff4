"""Drawings on a black background leave most channels of the first layers almost constant."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from made import make_images, noise
from snellen.models.classifier import build_network
from snellen.models.model_file import load_model
from snellen.runs.presets import PRESETS
from snellen.training.train import train


def strokes(num, size=16):
    """uint8 (num, size, size, 3) and names: one grey stroke on black, lying or standing."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    pixels, names = np.zeros((num, size, size, 3), dtype=np.uint8), []
    for n in range(num):
        across, along = (x, y) if n % 2 else (y, x)
        stroke = (np.abs(across + draw.uniform(-3, 3)) < 1) & (np.abs(along) < draw.uniform(3, 6))
        pixels[n] = stroke[..., None] * draw.integers(120, 255)
        names.append("standing" if n % 2 else "lying")
    return pixels, names


@pytest.mark.parametrize("seed", [0, 1])
def test_grey_strokes_on_black_are_learned_and_no_channel_is_blown_up(tmp_path, seed):
    images = make_images(tmp_path / "data", *strokes(600), ["train"] * 500 + ["valid"] * 100)
    recipe = replace(PRESETS["fast"], epochs=3, batch_size=100, seed=seed)
    run = train(images, recipe, tmp_path / "run")
    assert run.metrics[-1]["valid_accuracy"] > 0.9
    norm = load_model(run).network.features[2].norm1
    # With an eps of 1e-12 this was 1e14, and the training diverged; with 1e-3 it was 4e4.
    assert (norm.running_mean.abs() / norm.running_var.sqrt()).max() < 1000


def test_smoke_stays_finite_on_grey_noise(tmp_path):
    pixels = noise(200)[..., :1].repeat(3, axis=3)
    images = make_images(tmp_path / "data", pixels, ["a", "b"] * 100, ["train"] * 160 + ["valid"] * 40)
    assert np.isfinite(train(images, PRESETS["smoke"], tmp_path / "run").metrics[-1]["valid_loss"])


@pytest.mark.parametrize("name", ["whitened_cnn", "whitened_resnet"])
def test_batch_norm_leaves_a_faint_channel_faint(name):
    norm = build_network(name, 3).features[2].norm1.train()
    faint = 1e-4 * torch.randn(8, norm.num_features, 8, 8)
    assert norm(faint).std() < 0.01
