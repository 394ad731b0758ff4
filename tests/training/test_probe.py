import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from made import make_images, scenes
from snellen.errors import RecipeError
from snellen.models.model_file import load_model
from snellen.prediction.evaluate import evaluate
from snellen.prediction.probabilities import probabilities
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe
from snellen.system.device import choose_runtime
from snellen.training.logistic import PENALTIES, best_penalty, fit_logistic, logistic
from snellen.training.train import train


def two_kinds(num, size=32):
    """Scenes, every second one with a red disc."""
    pixels = scenes(num, size)
    y, x = np.mgrid[:size, :size] - size / 2
    pixels[1::2, x**2 + y**2 < 36] = (220, 30, 30)
    return pixels, ["plain", "disc"] * (num // 2)


@pytest.fixture
def images(tmp_path):
    return make_images(tmp_path / "data", *two_kinds(60), ["train"] * 36 + ["valid"] * 12 + ["test"] * 12)


def test_probe_leaves_a_run_whose_model_predicts_what_it_reports(images, tmp_path):
    rows = []
    run = train(images, "probe", tmp_path / "run", on_epoch=rows.append)
    assert run.finished
    assert run.metrics == rows
    assert run.metrics[0]["valid_accuracy"] >= 0.9
    assert run.about["init"]["from"] == "imagenet-efficientnet-lite0"
    assert len(run.about["init"]["sha256"]) == 64
    assert evaluate(run, images)["accuracy"] == run.metrics[0]["valid_accuracy"]
    assert run.metrics[0]["train_accuracy"] == pytest.approx(evaluate(run, images, split="train", views=1)["accuracy"])
    model, start = load_model(run), load_model("imagenet-efficientnet-lite0")
    for value, other in zip(
        model.network[0].state_dict().values(), start.network[0].state_dict().values(), strict=True
    ):
        assert torch.equal(value, other)  # the network rests


def test_features_are_computed_once_and_may_be_deleted(images, tmp_path, caplog):
    caplog.set_level("INFO", "snellen")
    train(images, "probe", tmp_path / "a")
    (cached,) = (images.folder / "features").iterdir()
    with np.load(cached) as file:
        assert file["features"].shape == (1, 48, 3824)
    content = cached.read_bytes()
    caplog.clear()
    train(images, "probe", tmp_path / "b")
    assert f"features of 36 images are in {images.folder / 'features'}" in caplog.text
    assert cached.read_bytes() == content
    cached.write_bytes(content[:100])
    train(images, "probe", tmp_path / "c")
    assert "is damaged; its features are recomputed" in caplog.text
    shutil.rmtree(images.folder / "features")
    train(images, "probe", tmp_path / "d")
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abcd"]
    assert len(set(models)) == 1


def test_with_flips_the_mirrored_view_is_a_second_training_image(images, tmp_path):
    train(images, replace(PRESETS["probe"], flip="random"), tmp_path / "run")
    valid, both = sorted((images.folder / "features").iterdir(), key=lambda path: path.stat().st_size)
    with np.load(valid) as one, np.load(both) as two:
        assert one["features"].shape == (1, 12, 3824)
        assert two["features"].shape == (2, 36, 3824)


def test_a_refit_on_all_labels_takes_the_calibration_over(images, tmp_path):
    run = train(images, "probe", tmp_path / "run")
    refit = train(images, "probe", tmp_path / "refit", on="train+valid", calibrated_by=run)
    assert float(load_model(refit).temperature) == float(load_model(run).temperature)
    guesses = probabilities(load_model(refit), images.select("test"), choose_runtime())
    np.testing.assert_allclose(guesses.sum(axis=1), 1, atol=1e-5)


def test_lbfgs_without_a_network_to_start_from_is_refused(images, tmp_path):
    with pytest.raises(RecipeError, match="of a trained network"):
        train(images, Recipe(model="efficientnet_lite0", optimizer="lbfgs"), tmp_path / "run")


def test_an_unknown_start_is_refused(images, tmp_path):
    from snellen.errors import RunError

    recipe = Recipe(model="efficientnet_lite0", start="imagenet-efficientnet", optimizer="lbfgs")
    with pytest.raises(RunError, match="imagenet-efficientnet"):
        train(images, recipe, tmp_path / "run")


def test_logistic_regression_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(200, 10)).astype(np.float32)
    labels = (x @ draw.normal(size=(10, 3)) + draw.normal(size=(200, 3))).argmax(axis=1)
    weights = fit_logistic(torch.from_numpy(x), torch.from_numpy(labels), 3, penalty=0.01, steps=500)
    theirs = linear_model.LogisticRegression(C=1 / (0.01 * 200), max_iter=5000, tol=1e-8).fit(x, labels)
    expected = torch.from_numpy(theirs.predict_proba(x)).float()
    torch.testing.assert_close(logistic(torch.from_numpy(x), weights).softmax(1), expected, atol=2e-3, rtol=0)


def test_the_penalty_is_strong_for_noise_and_weak_for_a_clear_signal():
    draw = np.random.default_rng(0)
    labels = torch.arange(120) % 2
    noise = torch.from_numpy(draw.normal(size=(120, 40)).astype(np.float32))
    assert best_penalty(noise, labels, 2, seed=0) >= 0.3
    assert best_penalty(noise + 3 * labels[:, None], labels, 2, seed=0) <= 0.1
    assert best_penalty(noise[:3], labels[:3], 2, seed=0) in PENALTIES  # fewer images than folds


def test_the_preset_is_named_by_its_optimizer():
    assert PRESETS["probe"].optimizer == "lbfgs"
