import itertools
import logging
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from made import make_images, scenes
from snellen.cli.commands import main
from snellen.errors import RecipeError
from snellen.images.choices import PHOTOGRAPH
from snellen.runs.presets import PRESETS
from snellen.runs.run import Run
from snellen.system.device import choose_runtime
from snellen.training import budget, presets_for
from snellen.training.choose_recipe import choose_recipe


def sets(folder, size, num=12):
    splits = ["train"] * (num - 4) + ["valid"] * 4
    return make_images(folder, scenes(num, size), ["a", "b"] * (num // 2), splits)


@pytest.fixture
def photographs(tmp_path):
    return sets(tmp_path / "photographs", PHOTOGRAPH)


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch):
    """Let the few images of these tests count as enough for `photo`."""
    monkeypatch.setattr(presets_for, "FEW", 0)


def of_this_machine():
    return "photo" if str(choose_runtime().dtype) == "torch.bfloat16" else "photo_light"


def test_small_images_get_fast_and_photographs_photo(tmp_path, photographs, caplog):
    caplog.set_level(logging.INFO, "snellen")
    small = sets(tmp_path / "small", PHOTOGRAPH - 1)
    assert choose_recipe(None, small, tmp_path / "run") == PRESETS["fast"]
    assert f"recipe: fast, because images of {PHOTOGRAPH - 1}x{PHOTOGRAPH - 1} pixels are small" in caplog.text
    assert choose_recipe(None, photographs, tmp_path / "run") == PRESETS[of_this_machine()]
    assert f"recipe: {of_this_machine()}, because images of {PHOTOGRAPH}x{PHOTOGRAPH} pixels are photo" in caplog.text


def test_few_photographs_get_probe(tmp_path, monkeypatch, photographs, caplog):
    caplog.set_level(logging.INFO, "snellen")
    num = int((photographs.splits != "test").sum())
    monkeypatch.setattr(presets_for, "FEW", num + 1)
    assert choose_recipe(None, photographs, tmp_path / "run") == PRESETS["probe"]
    assert f"{num} are too few to train more than the last layer" in caplog.text
    assert budget.plan(photographs, 1000, clock=ticking(1.0)).recipe == PRESETS["probe"], "however long it may take"


def test_rare_classes_count_more_if_the_metric_gains_by_it(tmp_path, caplog):
    caplog.set_level(logging.INFO, "snellen")
    num = presets_for.UNEQUAL
    labels, splits = ["a"] * num + ["b"], ["train"] * (num - 1) + ["valid", "train"]
    images = make_images(tmp_path / "unequal", scenes(num + 1, 16), labels, splits)
    assert choose_recipe(None, images, tmp_path / "run") == PRESETS["fast"], "accuracy does not gain"
    by_f1 = images.scored_by("f1_macro")
    assert choose_recipe(None, by_f1, tmp_path / "run") == replace(PRESETS["fast"], class_power=0.5)
    assert "with class_power=0.5, because the classes are unequal and f1_macro gains" in caplog.text
    assert choose_recipe(None, by_f1, tmp_path / "run", settings=["class_power=0"]) == PRESETS["fast"]
    assert choose_recipe("fast", by_f1, tmp_path / "run") == PRESETS["fast"], "a named recipe stays as it is"
    equal = make_images(tmp_path / "equal", scenes(8, 16), ["a", "b"] * 4, ["train"] * 6 + ["valid"] * 2)
    assert choose_recipe(None, equal.scored_by("f1_macro"), tmp_path / "run") == PRESETS["fast"]


def test_settings_change_the_recipe_that_suits_the_images(tmp_path, photographs):
    chosen = choose_recipe(None, photographs, tmp_path / "run", settings=["epochs=3"])
    assert chosen == replace(PRESETS[of_this_machine()], epochs=3)
    assert choose_recipe("fast", photographs, tmp_path / "run", settings=["epochs=3"]) == replace(
        PRESETS["fast"], epochs=3
    )


def ticking(seconds):
    return itertools.count(0, seconds).__next__


def test_a_short_budget_gets_probe_and_a_longer_one_photo(photographs):
    def planned(seconds):
        return budget.plan(photographs, seconds, clock=ticking(1.0))

    assert planned(5).name == "probe"
    assert planned(5).recipe == PRESETS["probe"]
    long = planned(1000)
    assert long.name == presets_for.presets_for(photographs)[0][0]
    assert budget.PHOTO_EPOCHS[0] <= long.recipe.epochs <= budget.PHOTO_EPOCHS[1]


def test_wrong_settings_are_refused_before_anything_is_prepared(tmp_path):
    result = CliRunner().invoke(main, ["compete", "demo", "--out", str(tmp_path / "out"), "--set", "epoch=3"])
    assert result.exit_code == 1
    assert 'unknown setting "epoch"' in result.output
    assert not (tmp_path / "out").exists()
    with pytest.raises(RecipeError, match="field=value"):
        choose_recipe(None, None, tmp_path, settings=["epochs"])


def test_two_classes_of_five_photographs_become_a_submission(tmp_path, monkeypatch):
    """The whole path with the recipe that is chosen, shortened."""
    monkeypatch.setitem(PRESETS, of_this_machine(), replace(PRESETS[of_this_machine()], epochs=1, small_size=64))
    pixels = scenes(14, PHOTOGRAPH)
    pixels[1::2] = 255 - pixels[1::2] // 3
    for n, image in enumerate(pixels):
        folder = tmp_path / "raw" / ("test" if n >= 10 else f"train/{'ab'[n % 2]}")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{n}.png")
    words = ["compete", str(tmp_path / "raw"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"recipe: {of_this_machine()}, because images of" in result.output
    run = Run.open(tmp_path / "out" / "run")
    assert run.recipe == PRESETS[of_this_machine()]
    assert run.about["init"]["from"] == "imagenet-efficientnet-lite0"
    lines = (tmp_path / "out" / "submission.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in lines[1:]} == {"10", "11", "12", "13"}
    assert np.isfinite(run.metrics[-1]["valid_loss"])
