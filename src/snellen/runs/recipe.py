"""Recipe: every setting that affects a training result, apart from the images."""

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from snellen.errors import RecipeError, did_you_mean
from snellen.images.choices import SMALLEST
from snellen.system import files

VIEWS = (1, 2, 6)  # see `mean_logits`


def setting(default: Any, meaning: str, low: float = -math.inf, high: float = math.inf, choices: tuple = ()) -> Any:
    """Return a field with its default, its meaning and unit, and the allowed values (`low` to `high`, inclusive)."""
    return field(default=default, metadata={"meaning": meaning, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a training run: plain data, validated on creation. A zero amount means off.

    Raises one RecipeError that lists all invalid settings.
    """

    model: str = setting("resnet18", "a name from `snellen list models`")
    start: str = setting(
        "none",
        "the packaged model whose weights to start from; none = random weights; for timm models: pretrained (from its "
        "hub) or a file of weights",
    )
    fitted_head: bool = setting(
        False, "the last layer starts as a logistic regression on the initial weights' features"
    )
    frozen_norm: bool = setting(False, "batch norm keeps the statistics and scales that it starts with")
    frozen_blocks: int = setting(
        0, "number of first blocks of efficientnet_lite0 to freeze; above 0 also freezes all depthwise filters", 0, 16
    )
    dropout: float = setting(0.0, "share of activations dropped, for wide ResNets", 0, 0.95)
    epochs: float = setting(20.0, "passes over the training images; fractions are allowed", 0.001, 100_000)
    batch_size: int = setting(128, "images per weight update", 1, 1_000_000)
    piece_size: int = setting(
        0, "images computed at a time; gradients of pieces add up; 0 = the whole batch", 0, 1_000_000
    )

    shuffle_block: int = setting(
        0, "images read together, for sets larger than memory on a slow disk; 0 = a full shuffle", 0, 1_000_000
    )
    sync_batchnorm: bool = setting(
        True,
        "with several processes: batch-norm statistics over all of them; false = separate statistics, which is faster",
    )

    optimizer: str = setting(
        "sgd",
        "sgd; muon for the filters and sgd for the rest; lbfgs: only the last layer, fitted exactly on features that "
        "are computed once; adamw: weight_decay is decoupled, momentum is its first beta",
        choices=("sgd", "muon", "lbfgs", "adamw"),
    )
    peak_lr: float = setting(0.1, "highest learning rate, for a loss averaged over the batch", 0, 1e6)
    head_lr: float = setting(0.0, "highest learning rate of the last layer; 0 = peak_lr", 0, 1e6)
    momentum: float = setting(0.9, "momentum of sgd", 0, 0.9999)
    nesterov: bool = setting(False, "Nesterov's form of momentum, as in MXNet's nag")
    muon_lr: float = setting(0.0, "highest learning rate of the filters under muon", 0, 10)
    muon_momentum: float = setting(0.6, "momentum of the filters under muon", 0, 0.9999)
    weight_decay: float = setting(5e-4, "L2: this times the weight is added to its gradient", 0, 1)
    decay_all: bool = setting(False, "apply weight decay to biases and normalisation too")
    step_decay: float = setting(
        0.0, "share of a weight removed by one update at the peak rate; not for filters under muon", 0, 1
    )

    schedule: str = setting(
        "constant",
        "how the learning rate falls after warm-up: cosine or linear to 0, or constant between drops",
        choices=("constant", "cosine", "linear"),
    )
    warmup: float = setting(0.0, "share of all steps in which the rate rises linearly to its peak", 0, 0.9)
    lr_drops: tuple[int, ...] = setting((), "epochs after which the learning rate is multiplied by lr_drop")
    lr_drop_every: int = setting(0, "epochs between regular drops; 0 = off", 0, 100_000)
    lr_drop: float = setting(0.1, "factor of each drop", 0, 1)
    whiten_bias_share: float = setting(1.0, "share of training during which a whitening layer's bias is trained", 0, 1)
    first_group_share: float = setting(
        1.0, "share of training during which the first convolutions of a whitened network are trained", 0, 1
    )

    label_smoothing: float = setting(0.0, "share of each target that is spread evenly over all classes", 0, 0.9)
    class_power: float = setting(
        0.0,
        "weight of a class in the loss: its frequency to minus this power; 0 = images count equally, 1 = classes do",
        0,
        1,
    )
    flip: str = setting("random", "mirror left-right", choices=("off", "random", "alternating"))
    crop_pad: int = setting(4, "pixels of border before a random crop of the old size; 0 = off", 0, 64)
    crop_border: str = setting("zero", "how the border is filled", choices=("zero", "reflect"))
    enlarge: float = setting(1.0, "factor by which images are enlarged before the area crop", 1, 4)
    crop_area: float = setting(1.0, "smallest share of the area that a random square crop keeps; 1 = off", 0.05, 1)
    cutout: int = setting(0, "side in pixels of a square that is blanked out; 0 = off", 0, 512)
    mixup: float = setting(0.0, "alpha of the Beta distribution that mixes pairs of images; 0 = off", 0, 16)
    cutmix: float = setting(0.0, "alpha of the Beta distribution of the area pasted from another image; 0 = off", 0, 16)
    mix_off_epochs: int = setting(0, "number of last epochs without mixup and cutmix", 0, 100_000)

    small_size: int = setting(0, "side in pixels of the smaller images used early in training; 0 = off", 0, 512)
    small_share: float = setting(0.0, "share of all steps on images of small_size", 0, 1)

    ema: float = setting(0.0, "share of the averaged weights kept at each step; 0 = no averaging", 0, 0.999999)
    average_last: int = setting(
        0, "number of last epochs whose final weights are averaged; 0 = no averaging", 0, 100_000
    )
    views: int = setting(1, "views averaged in prediction: 1, 2 (mirrored too) or 6 (shifted too)", choices=VIEWS)
    precision: str = setting(
        "auto",
        "of matrix products; weights stay float32. auto = bfloat16 if the processor is fast at it. "
        "float64 includes the weights; it is slow and serves to compare two ways of training",
        choices=("auto", "float32", "bfloat16", "float64"),
    )
    seed: int = setting(0, "determines initial weights, order, augmentation and dropout", 0, 2**32 - 1)

    def __post_init__(self) -> None:
        problems = [problem for f in fields(self) if (problem := _problem(f, getattr(self, f.name)))]
        if not problems:
            problems = list(self._contradictions())
        if problems:
            raise RecipeError(
                f"{len(problems)} settings cannot be used:\n    " + "\n    ".join(problems)
                if len(problems) > 1
                else f"a setting cannot be used: {problems[0]}",
                do="change it; `snellen show RECIPE` prints every setting with its meaning",
            )
        for f in fields(self):
            if type(f.default) is float:  # turn 1 into 1.0, so that equal recipes write equal files
                object.__setattr__(self, f.name, float(getattr(self, f.name)))

    def _contradictions(self):
        if self.lr_drops and self.lr_drop_every:
            yield "lr_drops and lr_drop_every: set only one of them"
        if any(b <= a for a, b in zip((0, *self.lr_drops), self.lr_drops, strict=False)):
            yield f"lr_drops={show_value(self.lr_drops)}: epochs must increase, starting at 1 or later"
        if self.optimizer == "muon" and not self.muon_lr:
            yield "optimizer=muon needs muon_lr above 0"
        if self.mixup and self.cutmix:
            yield "mixup and cutmix: set only one of them"
        if self.ema and self.average_last:
            yield "ema and average_last: set only one of them"
        if self.average_last > self.num_epochs:
            yield f"average_last={self.average_last}: there are only {self.num_epochs} epochs"
        if self.nesterov and not self.momentum:
            yield "nesterov=true needs momentum above 0"
        if 0 < self.small_size < SMALLEST:
            yield f"small_size={self.small_size}: no model accepts images under {SMALLEST} pixels"
        if bool(self.small_size) != bool(self.small_share):
            yield "small_size and small_share: set both or neither"
        if (self.mixup or self.cutmix) and self.mix_off_epochs >= self.epochs:
            yield f"mix_off_epochs={self.mix_off_epochs} leaves none of the {show_value(self.epochs)} epochs for mixing"

    @property
    def num_epochs(self) -> int:
        """The number of epochs, including a last one cut short by `epochs`."""
        return math.ceil(self.epochs)

    def lasting(self, epochs: float) -> "Recipe":
        """Return the recipe for another number of epochs; settings counted in epochs scale with it."""
        ratio, num = epochs / self.epochs, math.ceil(epochs)
        return dataclasses.replace(
            self,
            epochs=epochs,
            lr_drops=tuple(sorted({max(1, round(drop * ratio)) for drop in self.lr_drops})),
            lr_drop_every=self.lr_drop_every and max(1, round(self.lr_drop_every * ratio)),
            mix_off_epochs=min(round(self.mix_off_epochs * ratio), num - 1),
            average_last=self.average_last and min(max(1, round(self.average_last * ratio)), num),
        )

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the total number of weight updates, at least 1."""
        return math.ceil(self.epochs * steps_per_epoch)

    def to_dict(self) -> dict[str, Any]:
        """Return all settings, defaults included, ready for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "") -> "Recipe":
        """Return the recipe from a dict made by `to_dict`. Raises RecipeError for unknown names."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise _unknown_setting(unknown[0], where)
        try:
            plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**plain)
        except RecipeError as problem:
            raise RecipeError(problem.what, where=where, do=problem.do) from None

    def save(self, path: str | Path) -> None:
        files.write_json(Path(path), self.to_dict())

    @classmethod
    def open(cls, path: str | Path) -> "Recipe":
        """Read a recipe file (JSON: setting to value; missing settings take their defaults)."""
        path = Path(path)
        values = files.read_json(
            path, error=RecipeError, do="fix the file, or use a recipe from `snellen list recipes`"
        )
        if not isinstance(values, dict):
            raise RecipeError(
                f"{path.name} is not a recipe.",
                where=str(path),
                expected="a JSON object of settings",
                do="fix the file",
            )
        return cls.from_dict(values, where=str(path))

    def with_settings(self, assignments: str | list[str] | tuple[str, ...]) -> "Recipe":
        """Return a copy with one or more "field=value" strings applied, as in `--set`."""
        types = {f.name: type(f.default) for f in fields(self)}
        changes = {}
        for text in [assignments] if isinstance(assignments, str) else assignments:
            name, value = _name_and_value(text)
            if name not in types:
                raise _unknown_setting(name, f"--set {text}")
            changes[name] = _parse(name, value, types[name])
        return dataclasses.replace(self, **changes)

    def differences(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ: name to (this recipe's value, the other's)."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return {name: (mine, others) for name, (mine, others) in pairs.items() if mine != others}

    def __str__(self) -> str:
        lines = []
        for f in fields(self):
            mark = " " if getattr(self, f.name) == f.default else "*"
            lines.append(f"{mark} {f.name:18}{show_value(getattr(self, f.name)):>14}   {f.metadata['meaning']}")
        return "\n".join(lines)


def parse_setting(name: str, text: str) -> Any:
    """Return the value of `--set name=text`, validated on its own, not against other settings.

    Raises RecipeError for an unknown name or an invalid or out-of-range value.
    """
    known = {f.name: f for f in fields(Recipe)}
    if name not in known:
        raise _unknown_setting(name, f"--set {name}={text}")
    value = _parse(name, text, type(known[name].default))
    if problem := _problem(known[name], value):
        raise RecipeError(f"a setting cannot be used: {problem}", where=f"--set {name}={text}", do="change it")
    return value


def check_settings(assignments: Iterable[str]) -> None:
    """Raise RecipeError if a "field=value" string is invalid on its own, whatever recipe it changes."""
    for text in assignments:
        parse_setting(*_name_and_value(text))


def _name_and_value(assignment: str) -> tuple[str, str]:
    name, equals, value = assignment.partition("=")
    if not equals:
        raise RecipeError(
            f'"{assignment}" is not a setting.',
            where=f"--set {assignment}",
            expected="field=value",
            do="for example: --set epochs=30",
        )
    return name, value


def show_value(value: Any) -> str:
    """Return a setting's value in the format of `--set`."""
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value) or "none"
    return json.dumps(value).strip('"').removesuffix(".0")


def _problem(f: dataclasses.Field, value: Any) -> str:
    """Return what is wrong with a field's value, or an empty string."""
    wanted = type(f.default)
    low, high, choices = (f.metadata[key] for key in ("low", "high", "choices"))
    if type(value) is not wanted and not (wanted is float and type(value) is int):
        return f"{f.name}={show_value(value) if _plain(value) else '...'}: it must be {_type_name(wanted)}"
    if isinstance(value, tuple) and any(type(item) is not int for item in value):
        return f"{f.name}: it must be comma-separated whole numbers"
    if choices and value not in choices:
        near = did_you_mean(str(value), map(str, choices), "")
        return f"{f.name}={value}: it must be one of {', '.join(map(str, choices))}" + (f"; {near}" if near else "")
    if wanted in (int, float) and not low <= value <= high:
        return f"{f.name}={_shortened(show_value(value))}: it must be from {_bound(low)} to {_bound(high)}"
    return ""


def _bound(number: float) -> str:
    return f"{number:,}".removesuffix(".0")


def _shortened(text: str) -> str:
    return text if len(text) <= 24 else text[:21] + "..."


def _plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, tuple))


def _type_name(wanted: type) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", tuple: "comma-separated whole numbers"}
    return names.get(wanted, "a string")


def _parse(name: str, text: str, wanted: type) -> Any:
    try:
        if wanted is bool:
            return {"true": True, "false": False}[text.lower()]
        if wanted is tuple:
            return tuple(int(item) for item in text.split(",") if item) if text != "none" else ()
        return wanted(text)
    except (KeyError, ValueError):
        raise RecipeError(
            f'"{text}" is not a value for {name}.',
            where=f"--set {name}={text}",
            expected=_type_name(wanted),
            do=f"for example: --set {name}={show_value(getattr(Recipe(), name))}",
        ) from None


def _unknown_setting(name: str, where: str) -> RecipeError:
    return RecipeError(
        f'unknown setting "{name}".',
        where=where,
        expected="a name from `snellen show fast`",
        do=did_you_mean(name, [f.name for f in fields(Recipe)], "check the spelling"),
    )
