"""The options that several commands share, and their types. This file imports neither numpy nor torch."""

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
from snellen.runs.named_recipes import named_recipe
from snellen.runs.recipe import VIEWS, Recipe
from snellen.sources.resize import CHOICES as RESIZE


class PathType(click.ParamType):
    """The path of a file or folder. Its name must be UTF-8, because model files need that."""

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
    """Combine several click decorators into one, applied so that --help lists them in this order."""
    return lambda function: functools.reduce(lambda f, decorate: decorate(f), reversed(decorators), function)


class Duration(click.ParamType):
    """A length of time in seconds, written as 90, 90s, 30m, 2h or 1d."""

    name = "time"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
        text = str(value).strip()
        try:
            seconds = float(text.rstrip("smhd")) * units[text[-1]] if text[-1:] in units else float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            self.fail(
                f'"{value}" is not a valid length of time: write 90s, 30m or 2h, for example.', parameter, context
            )
        return seconds


the_source = options(
    click.option("--labels", type=PATH, help="Labels CSV, or `folders`, or `names` (default: detected)."),
    click.option("--test", type=PATH, help="Folder or archive of test pictures (default: detected)."),
    click.option("--sample", type=PATH, help="Sample submission CSV (default: detected)."),
    click.option("--label", metavar="COLUMN", help="Column of labels, or A,B,C: one column of 0 and 1 per class."),
    click.option("--id", metavar="COLUMN", help="Column of picture names (default: detected)."),
)
raw_files = options(
    the_source,
    click.option("--kind", metavar="KIND", help="One label per image (single) or several (multi)."),
    click.option(
        "--label-separator", metavar="TEXT", help="Text between several labels in one cell (default: detected)."
    ),
    click.option("--form", metavar="FORM", help="Form of a submission line: label, positive, columns, top5 or labels."),
    click.option(
        "--metric", metavar="NAME", help="The competition's metric, such as auc (default: depends on --form)."
    ),
    click.option("--positive", metavar="CLASS", help="The class whose probability is submitted."),
    click.option("--class-names", type=PATH, metavar="FILE", help="JSON or CSV with a name for each class."),
    click.option(
        "--group-by", metavar="COLUMN", help="Keep pictures with the same value, such as a patient, in the same split."
    ),
    click.option(
        "--size",
        type=click.IntRange(LEAST, LARGEST),
        metavar="PIXELS",
        help="Side of the images (default: from the first pictures).",
    ),
    click.option(
        "--resize",
        type=click.Choice([*RESIZE]),
        default="crop",
        show_default=True,
        help="What to do with pictures that are not square.",
    ),
    click.option("--skip-unreadable", is_flag=True, help="Skip unreadable images instead of stopping."),
    click.option("--group-duplicates", is_flag=True, help="Keep duplicates in the same split."),
)
the_metric = click.option(
    "--metric", metavar="NAME", help="Metric that decides, such as auc or qwk (default: that of the images or the run)."
)
the_folds = click.option(
    "--folds",
    type=click.IntRange(2),
    metavar="K",
    help="Train K models, each validated on a different part of the labelled images.",
)
the_share = options(
    click.option(
        "--valid-share",
        metavar="SHARE",
        type=float,
        default=VALID_SHARE,
        show_default=True,
        help="Share of each class used for validation.",
    ),
    click.option(
        "--seed", metavar="N", type=int, default=0, show_default=True, help="Seed that selects the validation images."
    ),
)


def the_split_rule(default: str) -> Callable:
    return click.option(
        "--split-rule",
        type=click.Choice(SPLIT_RULES),
        default=default,
        show_default=True,
        help="Take the share of each class, or an equal number from each class, limited by the smallest.",
    )


def the_part(default: str, help: str) -> Callable:
    """Return the option --split, which names the part of prepared images to use."""
    return click.option(
        "--split",
        metavar="SPLIT",
        default=default,
        show_default=True,
        shell_complete=completion.splits,
        help=help,
    )


the_split = options(the_share, the_split_rule(SPLIT_RULES[0]))
the_recipe = options(
    click.option(
        "--recipe",
        "recipe_name",
        metavar="NAME",
        shell_complete=completion.recipes,
        help="Recipe to use: a name, a recipe.json, a run, or a study (default: by the images' size).",
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
    "--budget", type=Duration(), metavar="TIME", help="Finish within 90s, 10m or 2h: sets the recipe and epochs."
)
the_device = click.option("--device", metavar="NAME", help="Device: cpu, cuda, mps, ... (default: the best available).")
the_views = click.option(
    "--views",
    type=click.Choice([str(num) for num in VIEWS]),
    help="Number of views to average (default: the recipe's).",
)
the_precision = click.option(
    "--precision",
    type=click.Choice({field.name: field.metadata["choices"] for field in fields(Recipe)}["precision"]),
    help="Precision (default: the recipe's); float32 matches exported models.",
)


def check_recipe(name: str | None, settings: tuple[str, ...], budget: float | None = None) -> None:
    """Raise RecipeError for a wrong --recipe or --set, UsageError if --budget and --set both give the epochs."""
    named_recipe(name, settings)
    if budget is not None and any(text.startswith("epochs=") for text in settings):
        raise click.UsageError("--budget sets the number of epochs: omit either --budget or --set epochs")
