import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from conftest import write_world
from made import make_images, many
from snellen.cli.commands import main
from snellen.errors import RunError
from snellen.runs.presets import CURVES, CURVES_IMAGES, PRESETS
from snellen.runs.run import Run
from snellen.system.device import choose_runtime
from snellen.training import budget
from snellen.training.budget import Pace, Work, plan
from snellen.training.choose_recipe import choose_recipe
from snellen.training.job import Job
from snellen.training.loader import Batches
from snellen.training.loop import first_model, update
from snellen.training.state import State
from snellen.training.train import train

SMOKE = replace(PRESETS["smoke"], batch_size=100, precision="float32")
SMALL = replace(SMOKE, model="cifar_resnet8_v1", peak_lr=0.1, head_lr=0.0)  # a quicker one


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    labels = np.arange(800) % 4
    pixels = np.random.default_rng(0).integers(0, 200, (800, 16, 16, 3)).astype(np.uint8)
    pixels[..., 0] += (labels * 15).astype(np.uint8)[:, None, None]
    splits = ["train"] * 600 + ["valid"] * 100 + ["test"] * 100
    return make_images(
        tmp_path_factory.mktemp("budget"), pixels, ["abcd"[n] if n is not None else None for n in labels], splits
    )


paces = st.builds(Pace, st.floats(1e-5, 1e-1), st.floats(1e-6, 1e-2))
works = st.builds(Work, st.integers(100, 10**6), st.integers(0, 10**5), st.integers(0, 10**6))


@many
@given(pace=paces, work=works, seconds=st.floats(1, 1e5))
def test_the_planned_epochs_end_in_time_and_hardly_more_would(pace, work, seconds):
    epochs = work.epochs(pace, seconds)
    if epochs:
        assert work.seconds(pace, epochs) <= seconds * (1 + 1e-9)
    assert work.seconds(pace, epochs + 0.02) > seconds or math.ceil(epochs + 0.02) > math.ceil(epochs)


def test_all_trainings_of_a_competition_count(images):
    train_only = budget._work(images, "train", None, False, 0)
    assert (train_only.trained, train_only.scored) == (600, 100)
    assert budget._work(images, "train+valid", None, False, 0).trained == 700
    assert budget._work(images, "train", None, True, 0).trained == 600 + 700
    folds = budget._work(images, "train", 5, False, 100)
    assert (folds.trained, folds.scored) == (5 * 700 - 700, 700)
    assert folds.predicted >= 5 * 100


def test_a_longer_training_promises_no_less_and_a_too_short_one_nothing():
    for name, points in CURVES.items():
        assert list(points) == sorted(points), f"{name}: more epochs, more accuracy"
        first, last = points[0], points[-1]
        seen = [budget._expected(name, epochs * CURVES_IMAGES) for epochs in np.linspace(first[0], 3 * last[0], 50)]
        assert seen == sorted(seen)
        assert (seen[0], seen[-1]) == (first[1], last[1])
        assert budget._expected(name, 0.5 * first[0] * CURVES_IMAGES) is None


def ticking(seconds):
    """A clock that moves on by so many seconds whenever it is read: each step, and each prediction, takes that long."""
    return itertools.count(0, seconds).__next__


def test_the_plan_fills_the_budget_at_the_measured_pace(images):
    made = plan(images, 100.0, SMALL, clock=ticking(1.0))
    assert made.pace.train_seconds == pytest.approx(1 / 100)  # a step of 100 images
    assert made.pace.predict_seconds == pytest.approx(SMALL.views / budget.PREDICTED)
    assert made.recipe == replace(SMALL, epochs=made.recipe.epochs)
    assert 90 < made.seconds <= 100
    assert plan(images, 100.0, SMALL, clock=ticking(0.5)).recipe.epochs > 1.8 * made.recipe.epochs


def test_what_is_measured_is_the_training_itself(images):
    """Its steps change the weights as those of a training do."""
    recipe = replace(SMALL, ema=0.9, mixup=1.0, precision="float64").lasting(budget.MOST_EPOCHS)
    job = Job(recipe, images.select("train"), None, choose_runtime("float64", "cpu"))
    measured, trained = (first_model(job).train() for _ in range(2))
    seconds = list(itertools.islice(budget.step_seconds(job, measured, clock=ticking(1.0)), 3))
    assert seconds == pytest.approx([1 / 100] * 3)
    batches = Batches(job.train_images, recipe, job.runtime.device)
    state = State.begun(trained, job, batches)
    for batch in itertools.islice(batches.epoch(0), 4):  # the first one warms up
        update(state, batch, job)
    for name, value in trained.state_dict().items():
        assert torch.equal(measured.state_dict()[name], value), name


def test_a_measured_phase_begins_where_it_is_in_the_training(images):
    """At the share where the whitening bias no longer trains, its gradient is not computed."""
    recipe = replace(SMOKE, whiten_bias_share=0.5).lasting(budget.MOST_EPOCHS)
    job = Job(recipe, images.select("train"), None, choose_runtime("float32", "cpu"))
    model = first_model(job).train()
    bias = model.network.features[0].bias
    for start, trains in ((0.25, True), (0.5, False)):
        next(budget.step_seconds(job, model, start=start, clock=ticking(1.0)))
        assert bias.requires_grad is trains


@pytest.fixture
def few_epochs(monkeypatch):
    """However fast this machine is, an ample budget is planned for two epochs."""
    monkeypatch.setattr(budget, "MOST_EPOCHS", 2)


def test_a_training_with_a_budget_keeps_its_plan(images, tmp_path, few_epochs):
    run = train(images, SMALL, tmp_path / "run", budget=500)
    assert run.recipe == replace(SMALL, epochs=2)
    assert run.metrics[-1]["step"] == 2 * 6
    # The second call measures and trains nothing.
    assert choose_recipe(None, images, run.folder, 600) == run.recipe
    assert train(images, SMALL, tmp_path / "run", budget=600).recipe == run.recipe


def test_the_schedule_is_planned_for_the_length_not_cut_off(images, tmp_path):
    made = plan(images, 30.0, replace(SMALL, schedule="linear"), clock=ticking(2.0))
    last = train(images, made.recipe, tmp_path / "run").metrics[-1]
    assert last["lr"] == pytest.approx(SMALL.peak_lr / last["step"])


def test_without_a_recipe_a_measured_one_is_chosen_and_the_plan_says_what_to_expect(images):
    made = plan(images, 300.0, clock=ticking(1.0))
    assert made.name in CURVES
    assert replace(made.recipe, epochs=1) == replace(PRESETS[made.name], epochs=1)
    assert made.seconds <= 300
    assert f"plan: {made.name}, " in str(made)
    assert "images/s in training" in str(made)


def test_a_budget_for_less_than_one_step_is_refused(images, tmp_path):
    with pytest.raises(RunError, match="training step"):
        train(images, SMALL, tmp_path / "run", budget=0.01)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError, match="training step"):  # the same if the recipe is to be chosen
        plan(images, 0.01)


def test_a_budget_beside_epochs_is_refused(images, tmp_path):
    command = ["train", str(images.folder), "--out", str(tmp_path / "run"), "--budget", "10s", "--set", "epochs=3"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "omit either --budget or --set epochs" in result.output


def test_compete_with_a_budget_goes_all_the_way_and_keeps_its_plan(tmp_path, few_epochs):
    source = str(write_world(tmp_path / "world").folder)
    command = ["compete", source, "--size", "16", "--out", str(tmp_path / "out"), "--recipe", "smoke"]
    command += ["--budget", "500s", "--set", "batch_size=10"]
    first = CliRunner().invoke(main, command)
    assert first.exit_code == 0, first.output
    recipe = Run.open(tmp_path / "out" / "run").recipe
    assert recipe.epochs == 2
    (tmp_path / "out" / "submission.csv").unlink()
    assert CliRunner().invoke(main, command).exit_code == 0
    assert Run.open(tmp_path / "out" / "refit").recipe == recipe
    assert (tmp_path / "out" / "submission.csv").exists()
