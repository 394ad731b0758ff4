"""A name, a file or a folder -> the Recipe that it means; the same words on the command line and in Python."""

from pathlib import Path

from snellen.errors import RecipeError, did_you_mean
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe


def find_recipe(given: Recipe | str | Path) -> Recipe:
    """The recipe itself, or that of a preset's name, a recipe.json file, a run, or a study: there the best one.

    Raises RecipeError for anything else, and for a study without a complete trial.
    """
    if isinstance(given, Recipe):
        return given
    if not isinstance(given, str | Path):
        raise RecipeError(
            f"a recipe is expected, not a {type(given).__name__}.",
            expected="a recipe, or the name, recipe.json, run or study that stands for one",
            do='snellen.PRESETS["fast"], a name, or snellen.Recipe(...)',
        )
    name, path = str(given), Path(given)
    if name in PRESETS:
        return PRESETS[name]
    if name.endswith(".json"):
        return Recipe.open(path)
    if (path / "recipe.json").exists():
        return Recipe.open(path / "recipe.json")
    if (path / "study.json").exists():
        if not (path / "best.json").exists():
            raise RecipeError(
                "no trial of this study is complete.", where=name, do="run the same `snellen tune` again to go on"
            )
        return Recipe.open(path / "best.json")
    raise RecipeError(
        f'there is no recipe "{name}".',
        where=f"--recipe {name}",
        expected=", ".join(PRESETS) + ", a recipe.json file, a run, or a folder that `snellen tune` wrote",
        do=did_you_mean(name, PRESETS, "check the spelling"),
    )
