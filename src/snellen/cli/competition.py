"""Commands of a competition: from raw files to a submission and its score."""

from pathlib import Path
from typing import Any

import click

from snellen.cli import completion
from snellen.cli.options import (
    PATH,
    check_recipe,
    raw_files,
    the_budget,
    the_device,
    the_folds,
    the_recipe,
    the_split,
)
from snellen.cli.output import echo, hint


@click.command()
@click.argument("source", shell_complete=completion.sources)
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The folder to write.")
@the_recipe
@the_split
@raw_files
@the_budget
@click.option("--refit/--no-refit", default=True, show_default=True, help="Also train on all labelled images.")
@the_folds
@the_device
def compete(out: Path, recipe_name: str | None, settings: tuple[str, ...], **arguments: Any) -> None:
    """Turn raw files into a checked submission.csv.

    \b
    Example:
      snellen compete cifar-10.zip --out cifar

    SOURCE is a folder or an archive (such as a zip file) with images and labels, or one of: demo, demo-multi,
    cifar10-tiny, cifar10. Run the same command again to resume.
    """
    from snellen.cli.display import Display, fold_folders
    from snellen.competition.compete import compete
    from snellen.prediction.evaluate import describe_accuracy, describe_metric

    check_recipe(recipe_name, settings, arguments["budget"])
    arguments |= {"recipe": recipe_name, "settings": settings}
    folds = arguments["folds"]
    runs = fold_folders(out / "folds", folds) if folds else [out / "run", out / "refit"]
    with Display(*runs) as display:
        entry = compete(out=out, on_epoch=display.on_epoch, on_progress=display.on_progress, **arguments)
    if line := describe_metric(entry.scores):
        echo(line)
    echo(describe_accuracy(entry.scores))
    echo(entry.submission or entry.final.folder)
    hint(f"snellen show {out / 'folds'}" if folds else f"snellen evaluate {out / 'run'} {out / 'data'}")


@click.command()
@click.argument("model", shell_complete=completion.words(files=True))
@click.option("--out", type=PATH, required=True, metavar="ZIP", help="The zip file to write.")
@click.option(
    "--pictures",
    metavar="NAME",
    help="Folder of test pictures in the competition's data (default: as in the training data, or test).",
)
def pack(**arguments: Any) -> None:
    """Pack a model for a competition without internet.

    \b
    Example:
      snellen pack run --out kit.zip

    The zip file has the package's wheel, the model, and a script and a notebook that write submission.csv.
    """
    from snellen.competition.pack import pack

    echo(pack(**arguments))
    hint("add it to a notebook as a data set, with classify.ipynb as the notebook")


@click.command()
@click.argument("predictions", type=PATH)
@click.argument("data", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="CSV", help="Submission file to write.")
def submission(predictions: Path, data: Path, out: Path) -> None:
    """Write a submission from predictions; check each line.

    \b
    Example:
      snellen submission predictions.csv data --out submission.csv
    """
    from snellen.cli.display import Display
    from snellen.competition.submission import check_submission, write_submission
    from snellen.images.imageset import ImageSet

    with Display():
        images = ImageSet.open(data)
        path = write_submission(predictions, images, out)
        echo(f"{check_submission(path, images):,} lines, all checked")
    echo(path)


@click.command()
@click.argument("submission", type=PATH)
@click.option("--competition", required=True, metavar="NAME", help="Competition name, as in kaggle.com/c/NAME.")
@click.option("--message", required=True, metavar="TEXT", help="Description that Kaggle shows beside the score.")
@click.option(
    "--data", "images", type=PATH, metavar="DATA", help="Check against these prepared images or this sample CSV."
)
@click.option("--run", type=PATH, metavar="RUN", help="Record the score in this run.")
@click.option(
    "--wait",
    "wait_seconds",
    type=float,
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest time to wait for the score.",
)
def submit(**arguments: Any) -> None:
    """Check a submission, send it to Kaggle, wait for its score.

    \b
    Example:
      snellen submit submission.csv --competition cifar-10 --message "first try"
    """
    from snellen.cli.display import Display
    from snellen.competition.kaggle import submit

    with Display():
        result = submit(**arguments)
    score = result["public_score"]
    echo("no score yet" if score is None else f"public score {score}")


@click.command()
@click.argument("competition")
@click.option("--out", type=PATH, metavar="FOLDER", help="The folder to write (default: the competition's name).")
def download(**arguments: Any) -> None:
    """Download a Kaggle competition's files.

    \b
    Example:
      snellen download cifar-10
    """
    from snellen.cli.display import Display
    from snellen.competition.kaggle import download

    with Display():
        folder = download(**arguments)
    echo(folder)
    hint(f"snellen compete {folder} --out entry")
