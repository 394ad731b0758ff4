"""Choose the recipe of a training run: the named one, or the one that suits the images, the machine and the time."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snellen.errors import RunError
from snellen.images.imageset import ImageSet
from snellen.runs.cross_validation import fold_folder
from snellen.runs.named_recipes import named_recipe
from snellen.runs.recipe import Recipe, show_value
from snellen.runs.run import Run
from snellen.system import processes
from snellen.system.contents import Contents, contents_of
from snellen.system.threads import choose_threads
from snellen.training.budget import plan
from snellen.training.presets_for import presets_for, suited_preset

log = logging.getLogger("snellen")


def choose_recipe(
    recipe: Recipe | str | Path | None,
    images: ImageSet,
    out: str | Path,
    seconds: float | None = None,
    *,
    settings: Sequence[str] = (),
    folds: int | None = None,
    device: str | None = None,
    **work: Any,
) -> Recipe:
    """Return the recipe to train in `out`: the named one or the images' default, with `settings` changed.

    With a budget, `seconds`, its epochs are planned to fill the time; without a recipe and settings, the most promising
    recipe is planned. A run already started in `out` keeps its plan; otherwise it would be a different run.
    folds, work: as in `plan`.
    """
    named = named_recipe(recipe, settings)
    if seconds is None:
        return named or default_recipe(images, settings, device)
    if processes.is_shared():  # each would measure a different speed, and the plans would differ
        raise RunError(
            "a budget must be planned by a single process.",
            where=f"--budget {seconds:g}s",
            do="start with --budget alone and stop; then reuse the plan of that run: --recipe RUN --devices N",
        )
    started = Path(out) if folds is None else fold_folder(out, 1)
    if contents_of(started) in (Contents.RUN, Contents.UNFINISHED_RUN):
        begun = Run.open(started).recipe
        log.info("%s was started with %s epochs; the budget does not change that", started, show_value(begun.epochs))
        return begun
    if named is None and settings:
        named = default_recipe(images, settings, device)
    choose_threads()  # before anything is timed
    made = plan(images, seconds, named, folds=folds, device=device, **work)
    log.info("%s", made)
    return made.recipe


def default_recipe(images: ImageSet, settings: Sequence[str] = (), device: str | None = None) -> Recipe:
    """Return the preset that suits the images, with these settings changed, and log the choice."""
    names, why = presets_for(images, device)
    recipe = suited_preset(names[0], images)
    if recipe.class_power:
        why += (
            f"; with class_power={recipe.class_power:g}, because the classes are unequal and {images.task.metric} gains"
        )
    log.info("recipe: %s, because %s", names[0], why)
    return recipe.with_settings(tuple(settings))
