"""What a word means as a recipe, in Python as on the command line."""

import pytest

from conftest import write_world
from snellen.competition.compete import compete
from snellen.errors import RecipeError
from snellen.images.prepare import prepare
from snellen.runs.named_recipes import find_recipe
from snellen.runs.presets import PRESETS
from snellen.training.train import train
from snellen.training.tune import tune


def test_names_files_runs_and_studies_are_recipes(tmp_path):
    recipe = PRESETS["smoke"].with_settings(["epochs=3"])
    assert find_recipe(recipe) is recipe
    assert find_recipe("smoke") == PRESETS["smoke"]
    recipe.save(tmp_path / "recipe.json")
    (tmp_path / "about.json").write_text("{}")
    for given in (tmp_path, str(tmp_path), tmp_path / "recipe.json"):
        assert find_recipe(given) == recipe
    study = tmp_path / "study"
    study.mkdir()
    (study / "study.json").write_text("{}")
    with pytest.raises(RecipeError, match="no trial of this study is complete"):
        find_recipe(study)
    recipe.save(study / "best.json")
    assert find_recipe(study) == recipe


def test_a_misspelt_name_is_told_the_nearest():
    with pytest.raises(RecipeError, match=r'"fats" is not a known recipe[\s\S]*did you mean "fast"'):
        find_recipe("fats")


def test_what_a_path_holds_instead_is_named(tmp_path):
    for name in ("about.json", "images.npy"):
        (tmp_path / name).write_text("")
    with pytest.raises(RecipeError, match="holds prepared images, not a recipe"):
        find_recipe(tmp_path)


@pytest.mark.parametrize(("given", "kind"), [({"epochs": 2}, "dict"), (7, "int")])
def test_what_is_no_recipe_is_refused_with_what_is(tmp_path, given, kind):
    with pytest.raises(RecipeError, match=f"a {kind} is not a recipe") as caught:
        find_recipe(given)
    assert "name, recipe.json, run or study" in caught.value.expected
    assert caught.value.do == 'snellen.PRESETS["fast"], a name, or snellen.Recipe(...)'
    with pytest.raises(RecipeError, match="is not a recipe"):
        compete(tmp_path / "nowhere", tmp_path / "out", recipe=given)
    assert not (tmp_path / "out").exists()


def test_train_compete_and_tune_take_a_name(tmp_path):
    world = write_world(tmp_path / "world").folder
    images = prepare(world, tmp_path / "data", size=16)
    assert train(images, "smoke", tmp_path / "run").recipe == PRESETS["smoke"]
    assert compete(world, tmp_path / "entry", recipe=tmp_path / "run", size=16, refit=False).run.recipe.model
    pytest.importorskip("optuna")
    study = tune(images, tmp_path / "study", recipe="smoke", trials=1, space=["crop_pad=0,1"])
    assert study.recipe == PRESETS["smoke"]
