"""How to make a run again: the nearest named recipe, and the command lines."""

import shlex

from saccade.imageset import ImageSet
from saccade.presets import PRESETS
from saccade.recipe import Recipe, show_value
from saccade.run import Run


def nearest_preset(recipe: Recipe) -> str:
    """The name of the recipe from which the fewest settings differ."""
    return min(PRESETS, key=lambda name: len(recipe.differences(PRESETS[name])))


def commands(run: Run, images: ImageSet) -> list[str]:
    """The command lines that make the run again; that which prepares the images where they say how."""
    data = run.about.get("data", str(images.folder))
    found = []
    source, options = images.about.get("source"), images.about.get("options")
    if isinstance(source, dict) and isinstance(options, dict) and "source" in source:
        words = ["saccade", "prepare", str(source["source"]), "--out", data]
        for name in ("labels", "test", "sample"):
            words += [f"--{name}", str(source[name]["path"])] if name in source else []
        for name, value in options.items():
            if value is True:
                words.append(f"--{name.replace('_', '-')}")
            elif value not in (None, False):
                words += [f"--{name.replace('_', '-')}", str(value)]
        found.append(shlex.join(words))
    preset = nearest_preset(run.recipe)
    words = ["saccade", "train", data, "--out", "again", "--recipe", preset]
    for name, (value, _) in run.recipe.differences(PRESETS[preset]).items():
        words += ["--set", f"{name}={show_value(value)}"]
    words += ["--on", run.about["on"]] if run.about["on"] != "train" else []
    words += ["--folds", str(run.about["fold"]["of"])] if "fold" in run.about else []
    found.append(shlex.join(words))
    return found
