"""Commands that report on runs, images, models and recipes."""

import json
from pathlib import Path
from typing import Any

import click

from snellen.cli import completion
from snellen.cli.options import (
    PATH,
    the_device,
    the_metric,
    the_part,
    the_precision,
    the_views,
)
from snellen.cli.output import echo
from snellen.errors import shown
from snellen.system.units import percent


@click.command()
@click.argument("run", type=PATH)
@click.argument("data", type=PATH)
@the_part("valid", "Split to score: train, valid, or test if it has labels.")
@the_metric
@click.option("--json", "as_json", is_flag=True, help="Print all scores as JSON.")
@the_views
@the_precision
@the_device
def evaluate(run: Path, data: Path, as_json: bool, views: str | None, **arguments: Any) -> None:
    """Score a run on a labelled split.

    \b
    Example:
      snellen evaluate run data
    """
    from snellen.cli.display import Display
    from snellen.prediction.evaluate import describe_accuracy, describe_metric, evaluate

    with Display() as display:
        scores = evaluate(run, data, views=int(views) if views else None, on_progress=display.on_progress, **arguments)
    if as_json:
        echo(json.dumps(scores, indent=2))
        return
    if line := describe_metric(scores):
        echo(line)
    echo(describe_accuracy(scores))
    echo(f"log-loss {scores['log_loss']:.4f} nats, calibration error {percent(scores['calibration_error'])}")
    names = [shown(figures.get("name", label)) for label, figures in scores["classes"].items()]
    width = max(map(len, names))
    for name, figures in zip(names, scores["classes"].values(), strict=True):
        echo(f"  {name:{width}}  {percent(figures['accuracy']):>7}  of {figures['images']:,}{_of_several(figures)}")


def _of_several(figures: dict[str, Any]) -> str:
    """Return the further figures of a class if images can have several labels; "" otherwise."""
    if "f1" not in figures:
        return ""
    precision, auc = figures["precision"], figures["auc"]
    texts = ["none" if precision is None else percent(precision), "undefined" if auc is None else f"{auc:.4f}"]
    return f", precision {texts[0]}, F1 {percent(figures['f1'])}, AUC {texts[1]}"


@click.command()
@click.argument("run", type=PATH)
@click.option("--data", "images", type=PATH, metavar="DATA", help="Prepared images (default: those of the run).")
@click.option("--out", type=PATH, default="report.html", show_default=True, metavar="FILE", help="The page to write.")
@the_part("valid", "Labelled split to score.")
@click.option("--live", is_flag=True, help="Rewrite the page after each epoch; it reloads itself.")
@the_views
@the_device
def report(views: str | None, **arguments: Any) -> None:
    """Write a page about a run: curves, scores, mistakes, recipe.

    \b
    Example:
      snellen report run --data data --out report.html

    The page of an unfinished run shows its curves, settings and progress. To watch a run while it trains, add --live
    and open the page in a browser.
    """
    from snellen.cli.display import Display
    from snellen.reports.report import report

    with Display() as display:
        path = report(views=int(views) if views else None, on_progress=display.on_progress, **arguments)
    echo(path)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--data", "images", type=PATH, metavar="DATA", help="Prepared images (default: those of the first run).")
@click.option(
    "--out", type=PATH, metavar="FILE", help="Also write a page (.html), a chart (.png) or the scores (.json)."
)
@the_part("valid", "Labelled split to score.")
@the_metric
@the_device
def compare(**arguments: Any) -> None:
    """Compare runs: which differences are beyond noise.

    \b
    Example:
      snellen compare runs/a runs/b --out compare.html

    All runs are scored on the same images. Their training times and speeds are listed as well.
    """
    from snellen.cli.display import Display
    from snellen.reports.compare import compare

    with Display() as display:
        echo(compare(on_progress=display.on_progress, **arguments))


@click.command()
@click.argument("thing", metavar="PATH|NAME", shell_complete=completion.recipes)
def show(thing: str) -> None:
    """Describe images, runs, folds, studies, models or recipes.

    \b
    Example:
      snellen show fast
    """
    from snellen.cli.show import show

    echo(show(thing))


@click.command("list")
@click.argument("what", type=click.Choice(["recipes", "models"]))
def list_(what: str) -> None:
    """List the recipes or the models.

    \b
    Example:
      snellen list recipes
    """
    from snellen.cli.show import list_models, list_recipes

    echo(list_recipes() if what == "recipes" else list_models())
