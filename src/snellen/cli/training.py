"""Commands that train."""

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from snellen.cli import completion
from snellen.cli.options import (
    PATH,
    Duration,
    check_recipe,
    the_budget,
    the_device,
    the_folds,
    the_metric,
    the_recipe,
)
from snellen.cli.output import IS_FIRST, echo, hint
from snellen.images.choices import TRAIN_ON
from snellen.system import group


@click.command()
@click.argument("data", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="RUN", help="Folder of the run.")
@the_recipe
@the_budget
@click.option("--on", type=click.Choice([*TRAIN_ON]), default="train", show_default=True, help="Splits to train on.")
@the_folds
@the_metric
@click.option("--init", type=PATH, metavar="MODEL", help="Start from this model's weights.")
@click.option(
    "--calibrated-by",
    type=PATH,
    metavar="MODEL",
    help="Take the temperature from this model if there is no validation split.",
)
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard files to RUN/tensorboard.")
@the_device
@click.option("--devices", metavar="all|N", help="Split each batch among all GPUs or N processes (default: one).")
def train(
    data: Path,
    recipe_name: str | None,
    settings: tuple[str, ...],
    tensorboard: bool,
    devices: str | None,
    **arguments: Any,
) -> None:
    """Train on prepared images; resume a stopped run.

    \b
    Example:
      snellen train data --out run --recipe fast --set epochs=12
    """
    from snellen.cli.display import Display, fold_folders
    from snellen.runs.cross_validation import CrossValidation
    from snellen.training.cross_validate import cross_validate
    from snellen.training.train import train

    check_recipe(recipe_name, settings, arguments["budget"])
    arguments |= {"recipe": recipe_name, "settings": settings}
    out, folds = arguments["out"], arguments.pop("folds")
    if folds:
        for_one_run = {"--tensorboard": tensorboard}
        for_one_run |= {"--on": arguments.pop("on") != "train", "--calibrated-by": arguments.pop("calibrated_by")}
        if given := [option for option, is_given in for_one_run.items() if is_given]:
            raise click.UsageError(f"{' and '.join(given)} cannot be combined with --folds")
    if devices is not None and group.member() is None:
        from snellen.system.launch import count_devices, launch

        if (num := count_devices(devices, arguments["device"])) > 1:
            launch(num, sys.argv[1:])
            return
    with contextlib.ExitStack() as stack:
        display = stack.enter_context(Display(*fold_folders(out, folds) if folds else [out]))
        told = [display.on_epoch]
        if tensorboard and IS_FIRST:
            from snellen.reports.tensorboard import TensorBoard

            told.append(stack.enter_context(TensorBoard(out)))

        def tell_all(row: dict[str, Any]) -> None:
            for tell in told:
                tell(row)

        arguments |= {"on_epoch": tell_all, "on_progress": display.on_progress}
        result = cross_validate(data, folds=folds, **arguments) if folds else train(data, **arguments)
    echo(result)
    if isinstance(result, CrossValidation):
        echo(result.predictions)
        hint(f"snellen predict {result.folder} {data} --out predictions.csv")
    else:
        echo(result.model)
        hint(f"snellen evaluate {result.folder} {data}")


@click.command()
@click.argument("data", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="STUDY", help="Folder of the study.")
@click.option(
    "--trials",
    type=click.IntRange(1),
    metavar="N",
    help="Number of trials in the whole study (default: 20 if there is no budget).",
)
@click.option("--budget", type=Duration(), metavar="TIME", help="Stop after 90s, 30m or 2h.")
@click.option(
    "--recipe",
    "recipe_name",
    metavar="NAME",
    shell_complete=completion.recipes,
    help="Recipe to start from.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUES",
    shell_complete=completion.settings,
    help="Vary a setting with low..high or a,b,c, or fix it with one value (default: vary around the recipe).",
)
@the_metric
@click.option(
    "--storage",
    metavar="URL",
    envvar="SNELLEN_STORAGE",  # because any user of the machine can see a password on a command line
    show_envvar=True,
    help="Database that several machines share (default: a file in STUDY).",
)
@the_device
def tune(data: Path, recipe_name: str | None, settings: tuple[str, ...], **arguments: Any) -> None:
    """Search for the recipe that suits the images best.

    \b
    Examples:
      snellen tune data --out study --budget 30m
      snellen tune data --out study --set peak_lr=5..200 --set flip=off,random

    Run the same command again to resume a stopped study. Run it in another terminal, or with --storage on another
    machine, to add a worker.
    """
    from snellen.cli.display import Display
    from snellen.training.tune import tune

    with Display() as display:
        study = tune(
            data,
            recipe=recipe_name,
            space=settings,
            on_epoch=display.on_epoch,
            on_progress=display.on_progress,
            **arguments,
        )
    echo(study)
    echo(study.folder / "study.html")
    if study.best:
        hint(f"snellen train {data} --out run --recipe {study.folder}")
