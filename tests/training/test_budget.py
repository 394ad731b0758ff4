import math
import time
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from conftest import write_world
from made import make_images, many
from snellen.cli.commands import main
from snellen.errors import RunError
from snellen.runs.presets import CURVES, CURVES_IMAGES, PRESETS
from snellen.runs.run import Run
from snellen.training import budget
from snellen.training.budget import Pace, Work, plan, settled
from snellen.training.train import train

SMOKE = replace(PRESETS["smoke"], batch_size=100, precision="float32")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    labels = np.arange(2200) % 4
    pixels = np.random.default_rng(0).integers(0, 200, (2200, 16, 16, 3)).astype(np.uint8)
    pixels[..., 0] += (labels * 15).astype(np.uint8)[:, None, None]
    splits = ["train"] * 2000 + ["valid"] * 100 + ["test"] * 100
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
    assert (train_only.trained, train_only.scored) == (2000, 100)
    assert budget._work(images, "train+valid", None, False, 0).trained == 2100
    assert budget._work(images, "train", None, True, 0).trained == 2000 + 2100
    folds = budget._work(images, "train", 5, False, 100)
    assert (folds.trained, folds.scored) == (5 * 2100 - 2100, 2100)
    assert folds.predicted >= 5 * 100


def test_a_longer_training_promises_no_less_and_a_too_short_one_nothing():
    for name, points in CURVES.items():
        assert list(points) == sorted(points), f"{name}: more epochs, more accuracy"
        first, last = points[0], points[-1]
        seen = [budget._expected(name, epochs * CURVES_IMAGES) for epochs in np.linspace(first[0], 3 * last[0], 50)]
        assert seen == sorted(seen)
        assert (seen[0], seen[-1]) == (first[1], last[1])
        assert budget._expected(name, 0.5 * first[0] * CURVES_IMAGES) is None


def test_training_ends_about_when_the_budget_says(images, tmp_path):
    started = time.monotonic()
    run = train(images, SMOKE, tmp_path / "run", budget=10)
    assert 5 < time.monotonic() - started < 14
    assert run.recipe == replace(SMOKE, epochs=run.recipe.epochs)
    assert run.metrics[-1]["step"] == math.ceil(run.recipe.epochs * 20)
    # Again: the plan holds, nothing is measured or trained anew.
    assert settled(None, images, run.folder, 600, None) == run.recipe
    assert train(images, SMOKE, tmp_path / "run", budget=600).recipe == run.recipe


def test_the_schedule_is_planned_for_the_length_not_cut_off(images, tmp_path):
    run = train(images, replace(SMOKE, schedule="linear"), tmp_path / "run", budget=8)
    last = run.metrics[-1]
    assert last["lr"] == pytest.approx(SMOKE.peak_lr / last["step"])


def test_without_a_recipe_a_measured_one_is_chosen_and_the_plan_says_what_to_expect(images):
    made = plan(images, 30.0)
    assert made.name in CURVES
    assert replace(made.recipe, epochs=1) == replace(PRESETS[made.name], epochs=1)
    assert made.seconds <= 30
    assert f"plan: {made.name}, " in str(made)
    assert "images/s in training" in str(made)


def test_a_budget_for_less_than_one_step_is_refused(images, tmp_path):
    with pytest.raises(RunError, match="weight update"):
        train(images, SMOKE, tmp_path / "run", budget=0.01)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError, match="weight update"):  # the same where the recipe is to be chosen
        plan(images, 0.01)


def test_a_budget_beside_epochs_is_refused(images, tmp_path):
    command = ["train", str(images.folder), "--out", str(tmp_path / "run"), "--budget", "10s", "--set", "epochs=3"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "leave one of them out" in result.output


def test_compete_with_a_budget_goes_all_the_way_and_keeps_its_plan(tmp_path):
    source = str(write_world(tmp_path / "world").folder)
    command = [
        "compete",
        source,
        "--size",
        "16",
        "--out",
        str(tmp_path / "out"),
        "--budget",
        "14s",
        "--recipe",
        "smoke",
    ]
    first = CliRunner().invoke(main, command)
    assert first.exit_code == 0, first.output
    recipe = Run.open(tmp_path / "out" / "run").recipe
    (tmp_path / "out" / "submission.csv").unlink()
    assert CliRunner().invoke(main, command).exit_code == 0
    assert Run.open(tmp_path / "out" / "refit").recipe == recipe
    assert (tmp_path / "out" / "submission.csv").exists()
