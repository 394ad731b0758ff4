"""Which recipes a study tries: the settings that vary, and between which values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from snellen.errors import RecipeError
from snellen.runs.recipe import Recipe, parse_setting, show_value

# What matters of these is how many times larger one value is than another.
BY_FACTORS = ("peak_lr", "head_lr", "muon_lr", "weight_decay", "step_decay", "batch_size")
REACH = {"peak_lr": 4, "head_lr": 4, "muon_lr": 4, "weight_decay": 10, "step_decay": 5}  # default: this many times


@dataclass(frozen=True)
class Range:
    """All values from low to high, both included; whole numbers where both are of type int."""

    low: int | float
    high: int | float
    log: bool = False  # drawn by factors

    def __contains__(self, value: Any) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{show_value(self.low)}..{show_value(self.high)}"


@dataclass(frozen=True)
class Choices:
    """One of these."""

    values: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return ",".join(show_value(value) for value in self.values)


Space = dict[str, Range | Choices]


def parse_space(assignments: Iterable[str], recipe: Recipe) -> tuple[Recipe, Space]:
    """What `--set` means to a study: field=low..high and field=a,b,c vary, field=value is fixed in the recipe.

    Raises RecipeError for an unknown name (with the nearest one), a value out of bounds and a range of no numbers.
    """
    kinds = {f.name: type(f.default) for f in fields(Recipe)}
    fixed, space = [], Space()
    for text in assignments:
        name, _, value = text.partition("=")
        if ".." in value:
            space[name] = _range(name, value)
        elif "," in value and kinds.get(name) is not tuple:  # a comma belongs to the value of lr_drops
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
            f"{name} has no range.", where=where, expected=f"values between commas: {name}=a,b", do="list them"
        )
    if not ends[0] < ends[1]:
        raise RecipeError(
            f"{text} is not a range: {low} is not below {high}.",
            where=where,
            expected="low..high with low below high",
            do=f"--set {name}={high}..{low}",
        )
    return Range(*ends, log=name in BY_FACTORS and ends[0] > 0)


def default_space(recipe: Recipe) -> Space:
    """A region around a recipe: what it does already, weaker and stronger. Neither model nor epochs vary.

    So every trial costs about the same, and what is off because the recipe's author left it off mostly stays off.
    """
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
    """The recipe's own values, as far as they lie in the space: what a study tries first."""
    return {name: getattr(recipe, name) for name, values in space.items() if getattr(recipe, name) in values}


def size_of(space: Space) -> int:
    """How many recipes it holds; 0 where a setting varies without steps."""
    num = 1
    for values in space.values():
        num *= len(steps_of(values))
    return num


def steps_of(values: Range | Choices) -> Sequence[Any]:
    """Each value; none where they cannot be counted."""
    if isinstance(values, Choices):
        return values.values
    return range(values.low, values.high + 1) if isinstance(values.low, int) and isinstance(values.high, int) else ()
