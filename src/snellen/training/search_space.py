"""The search space of a study: which settings vary, and between which values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from snellen.errors import RecipeError
from snellen.runs.recipe import Recipe, parse_setting, show_value

# Drawn on a log scale: ratios matter, not differences.
LOG_SCALE = ("peak_lr", "head_lr", "muon_lr", "weight_decay", "step_decay", "batch_size")
REACH = {
    "peak_lr": 4,
    "head_lr": 4,
    "muon_lr": 4,
    "weight_decay": 10,
    "step_decay": 5,
}  # by default a setting varies by this factor, up and down


@dataclass(frozen=True)
class Range:
    """A range from low to high, inclusive; whole numbers if both are of type int."""

    low: int | float
    high: int | float
    log: bool = False

    def __contains__(self, value: Any) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{show_value(self.low)}..{show_value(self.high)}"


@dataclass(frozen=True)
class Choices:
    """A list of values to choose from."""

    values: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return ",".join(show_value(value) for value in self.values)


Space = dict[str, Range | Choices]


def parse_space(assignments: Iterable[str], recipe: Recipe) -> tuple[Recipe, Space]:
    """Split `--set` into a recipe and a space: field=low..high and field=a,b,c vary, field=value is fixed.

    Raises RecipeError for an unknown name (suggesting the nearest), a value out of bounds, and an invalid range.
    """
    types = {f.name: type(f.default) for f in fields(Recipe)}
    fixed, space = [], Space()
    for text in assignments:
        name, _, value = text.partition("=")
        if ".." in value:
            space[name] = _range(name, value)
        elif "," in value and types.get(name) is not tuple:  # lr_drops itself contains commas
            values = tuple(dict.fromkeys(parse_setting(name, item) for item in value.split(",")))
            space[name] = Choices(values)
        else:
            fixed.append(text)
            space.pop(name, None)
    return recipe.with_settings(fixed), space


def _range(name: str, text: str) -> Range:
    low, _, high = text.partition("..")
    ends = (parse_setting(name, low), parse_setting(name, high))
    where = f"--set {name}={text}"
    if type(ends[0]) not in (int, float):
        raise RecipeError(
            f"{name} cannot have a range.",
            where=where,
            expected=f"a list: {name}=a,b",
            do="separate values with commas",
        )
    if not ends[0] < ends[1]:
        raise RecipeError(
            f"{text} is not a range: {low} is not below {high}.",
            where=where,
            expected="low..high with low below high",
            do=f"--set {name}={high}..{low}",
        )
    return Range(*ends, log=name in LOG_SCALE and ends[0] > 0)


def default_space(recipe: Recipe) -> Space:
    """Return a region around a recipe: its settings, weaker and stronger. The model and the epochs are fixed.

    So every trial costs about the same. Most settings that are off in the recipe stay off.
    """
    if recipe.optimizer == "lbfgs":  # only the head is fitted: the other settings are for trained networks
        return {"views": Choices((1, 2)), "flip": Choices(("random", "off"))}
    space = Space()
    for name, times in REACH.items():
        value = getattr(recipe, name)
        if value and (name != "muon_lr" or recipe.optimizer == "muon"):
            bound = next(f for f in fields(Recipe) if f.name == name).metadata["high"]
            space[name] = Range(_short(value / times), min(_short(value * times), bound), log=True)
    space["label_smoothing"] = Range(0.0, max(0.3, recipe.label_smoothing))
    space["crop_pad"] = Range(0, max(4, recipe.crop_pad))
    space["flip"] = Choices(tuple(dict.fromkeys((recipe.flip, "off", "random"))))
    return space


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def start_of(recipe: Recipe, space: Space) -> dict[str, Any]:
    """Return the recipe's own values that lie within the space. A study tries them first."""
    return {name: getattr(recipe, name) for name, values in space.items() if getattr(recipe, name) in values}


def size_of(space: Space) -> int:
    """Return the number of recipes in a space, or 0 if a setting varies continuously."""
    num = 1
    for values in space.values():
        num *= len(steps_of(values))
    return num


def steps_of(values: Range | Choices) -> Sequence[Any]:
    """Return the values of a setting; none for a continuous range."""
    if isinstance(values, Choices):
        return values.values
    return range(values.low, values.high + 1) if isinstance(values.low, int) and isinstance(values.high, int) else ()
