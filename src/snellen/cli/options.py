"""The options that several commands share, and what their words mean. numpy and torch are not imported for them."""

import functools
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from snellen.cli import completion
from snellen.images.choices import LARGEST, LEAST, SPLIT_RULES, VALID_SHARE
from snellen.runs.named_recipes import find_recipe
from snellen.runs.presets import DEFAULT
from snellen.runs.recipe import VIEWS, Recipe


class PathType(click.ParamType):
    """A path of a file or folder. Its name must be UTF-8, as model files cannot have another one."""

    name = "path"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Path:
        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError:
            self.fail(f'the name "{value}" is not UTF-8: rename it.', parameter, context)
        return Path(value)

    def shell_complete(self, context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        return [CompletionItem(typed, type="file")]


PATH = PathType()


def options(*decorators: Callable) -> Callable:
    """Several click decorators as one, in reading order."""
    return lambda function: functools.reduce(lambda f, decorate: decorate(f), reversed(decorators), function)


class Duration(click.ParamType):
    """Seconds, written as 90, 90s, 30m, 2h or 1d."""

    name = "time"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
        text = str(value).strip()
        try:
            seconds = float(text.rstrip("smhd")) * units[text[-1]] if text[-1:] in units else float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            self.fail(f'"{value}" is not a length of time: write for example 90s, 30m or 2h.', parameter, context)
        return seconds


the_source = options(
    click.option("--labels", type=PATH, help="Labels CSV, or the word folders or names (default: detected)."),
    click.option("--test", type=PATH, help="Folder or archive of test pictures (default: detected)."),
    click.option("--sample", type=PATH, help="Sample submission CSV (default: detected)."),
    click.option("--label", metavar="COLUMN", help="Column of labels, or A,B,C: columns of 0 and 1, each a class."),
    click.option("--id", metavar="COLUMN", help="Column of picture names (default: detected)."),
)
raw_files = options(
    the_source,
    click.option("--kind", metavar="KIND", help="single or multi: one label per image, or several."),
    click.option("--form", metavar="FORM", help="A submission line: label, positive, columns or top5."),
    click.option("--metric", metavar="NAME", help="What the competition scores, such as auc (default: by the form)."),
    click.option("--positive", metavar="CLASS", help="The class whose probability is submitted."),
    click.option("--class-names", type=PATH, metavar="FILE", help="JSON or CSV with a name for each class."),
    click.option("--group-by", metavar="COLUMN", help="Keep pictures with one value, such as a patient, together."),
    click.option("--size", type=click.IntRange(LEAST, LARGEST), metavar="PIXELS", help="Side of the prepared images."),
    click.option("--skip-unreadable", is_flag=True, help="Leave unreadable images out instead of stopping."),
    click.option("--group-duplicates", is_flag=True, help="Keep duplicates on one side of the split."),
)
the_metric = click.option(
    "--metric", metavar="NAME", help="What the score is, such as auc or qwk (default: the metric of the images)."
)
the_folds = click.option(
    "--folds", type=click.IntRange(2), metavar="K", help="K models, each validated on another part of all labels."
)
the_share = options(
    click.option(
        "--valid-share", type=float, default=VALID_SHARE, show_default=True, help="Share of each class to validate on."
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Decides which images validate."),
)


def the_split_rule(default: str) -> Callable:
    return click.option(
        "--split-rule",
        type=click.Choice(SPLIT_RULES),
        default=default,
        show_default=True,
        help="The share of each class, or as many of each class as the smallest one can spare.",
    )


the_split = options(the_share, the_split_rule(SPLIT_RULES[0]))
the_recipe = options(
    click.option(
        "--recipe",
        "recipe_name",
        metavar="NAME",
        shell_complete=completion.recipes,
        help="A name, a recipe.json, a run for its recipe, or a study for its best.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="FIELD=VALUE",
        shell_complete=completion.settings,
        help="Change a setting of the recipe.",
    ),
)
the_budget = click.option(
    "--budget", type=Duration(), metavar="TIME", help="Be done in 90s, 10m or 2h: chooses recipe and epochs."
)
the_device = click.option("--device", metavar="NAME", help="cpu, cuda, mps, ...; by default the best there is.")
the_views = click.option(
    "--views", type=click.Choice([str(num) for num in VIEWS]), help="Views averaged; by default the recipe's."
)
the_precision = click.option(
    "--precision",
    type=click.Choice({field.name: field.metadata["choices"] for field in fields(Recipe)}["precision"]),
    help="By default the recipe's. float32 gives what an exported model gives.",
)


def chosen_recipe(name: str | None, settings: tuple[str, ...], budget: float | None = None):
    """The recipe that --recipe and --set mean; None where a budget is to choose it."""
    if budget is not None:
        if any(text.startswith("epochs=") for text in settings):
            raise click.UsageError("--budget plans the epochs: leave one of them out, it or --set epochs")
        if name is None and not settings:
            return None
    return find_recipe(DEFAULT if name is None else name).with_settings(settings)
