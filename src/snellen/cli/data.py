"""Commands that prepare raw files and check them."""

from pathlib import Path
from typing import Any

import click

from snellen.cli import completion
from snellen.cli.options import (
    PATH,
    raw_files,
    the_device,
    the_share,
    the_source,
    the_split,
    the_split_rule,
)
from snellen.cli.output import echo, hint
from snellen.images.choices import LINKS


@click.command()
@click.argument("source", shell_complete=completion.sources)
@click.option("--out", type=PATH, required=True, metavar="DATA", help="The folder to write.")
@raw_files
@the_split
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Decode with N threads or processes (default: one per CPU)."
)
def prepare(**arguments: Any) -> None:
    """Decode all images into one array, with a table of rows.

    \b
    Example:
      snellen prepare cifar-10.zip --out data
    """
    from snellen.cli.display import Display
    from snellen.images.prepare import prepare

    with Display() as display:
        images = prepare(on_progress=display.on_progress, **arguments)
    echo(images)
    echo(images.folder)
    hint(f"snellen train {images.folder} --out run")


@click.command()
@click.argument("source", shell_complete=completion.sources)
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The folder to write.")
@the_source
@the_share
@the_split_rule("seeds")
@click.option(
    "--link",
    type=click.Choice(LINKS),
    default="copy",
    show_default=True,
    help="How to put each picture into its folder.",
)
def organize(**arguments: Any) -> None:
    """Write class folders, train_valid_test/, for other tools.

    \b
    Example:
      snellen organize cifar-10.zip --out folders
    """
    from snellen.cli.display import Display
    from snellen.images.organize import organize

    with Display() as display:
        echo(organize(on_progress=display.on_progress, **arguments))


@click.command()
@click.argument("data", type=PATH)
@click.option("--run", type=PATH, metavar="RUN", help="Search for label errors with a run or out-of-fold predictions.")
@click.option(
    "--out", type=PATH, metavar="FILE", help="Also write a page (.html), all findings (.json) or the summary (.txt)."
)
@the_device
def check(data: Path, **arguments: Any) -> None:
    """Find duplicates, leaks, doubtful labels, odd images.

    \b
    Example:
      snellen check data --out check.html

    Leaks are duplicates across splits. Doubtful labels are those of duplicates that disagree and, with --run, those
    that the model contradicts.
    """
    from snellen.cli.display import Display
    from snellen.reports.check import check

    with Display() as display:
        echo(check(data, on_progress=display.on_progress, **arguments))
