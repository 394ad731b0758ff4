"""Names, files and folders that stand for a recipe, on the command line and in Python."""

from collections.abc import Sequence
from pathlib import Path

from snellen.errors import RecipeError, did_you_mean
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe, check_settings
from snellen.system.contents import Contents, contents_of


def named_recipe(named: Recipe | str | Path | None, settings: Sequence[str] = ()) -> Recipe | None:
    """Return the named recipe with these settings ("field=value") changed, or None if no recipe is named.

    Then the images decide; see choose_recipe.py. Raises RecipeError for an unknown name or an invalid setting.
    """
    if named is None:
        check_settings(settings)
        return None
    return find_recipe(named).with_settings(tuple(settings))


def find_recipe(named: Recipe | str | Path) -> Recipe:
    """Return the recipe of a preset's name, a recipe.json file, a run, or a study's best trial, or a Recipe itself.

    Raises RecipeError for anything else, or a study without a complete trial.
    """
    if isinstance(named, Recipe):
        return named
    if not isinstance(named, str | Path):
        raise RecipeError(
            f"a {type(named).__name__} is not a recipe.",
            expected="a recipe, or the name, recipe.json, run or study that stands for one",
            do='snellen.PRESETS["fast"], a name, or snellen.Recipe(...)',
        )
    name, path = str(named), Path(named)
    if name in PRESETS:
        return PRESETS[name]
    found = contents_of(path)
    if path.suffix == ".json":
        return Recipe.open(path)
    if found in (Contents.RUN, Contents.UNFINISHED_RUN):
        return Recipe.open(path / "recipe.json")
    if found is Contents.STUDY:
        if not (path / "best.json").exists():
            raise RecipeError(
                "no trial of this study is complete.", where=name, do="run the same `snellen tune` again to resume it"
            )
        return Recipe.open(path / "best.json")
    raise RecipeError(
        f'"{name}" holds {found}, not a recipe.' if found.is_ours else f'"{name}" is not a known recipe.',
        where=f"--recipe {name}",
        expected=", ".join(PRESETS) + ", a recipe.json file, a run, or a folder that `snellen tune` wrote",
        do=did_you_mean(name, PRESETS, "check the spelling"),
    )
