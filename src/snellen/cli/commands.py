"""The command line: parse the arguments, call one verb, report errors. Only the commands import numpy and torch."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from snellen import __version__
from snellen.cli import competition, data, models, results, streams, training
from snellen.cli.output import echo
from snellen.errors import SnellenError
from snellen.system import files, group
from snellen.system.memory import memory_errors

IS_FIRST = group.prints()


class Commands(click.Group):
    """The group of all commands: lists them in the order of the work and turns errors into messages and exit codes."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *arguments: Any, **settings: Any) -> Any:
        streams.make_writable()
        return super().main(*arguments, **settings)

    def invoke(self, context: click.Context) -> Any:
        try:
            stdout = contextlib.redirect_stdout(sys.stdout if IS_FIRST else None)
            with stdout, files.disk_errors(Path()), memory_errors():
                return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except SnellenError as problem:
            if not left_for_launcher(problem):
                echo(f"snellen: {problem}", err=True)
            context.exit(1)
        except KeyboardInterrupt as stop:
            if not left_for_launcher(stop):
                echo("\nsnellen: stopped. Run the same command again to resume.", err=True)
            context.exit(130)
        except Exception as problem:
            if not left_for_launcher(problem):
                raise
            context.exit(1)


def left_for_launcher(problem: BaseException) -> bool:
    """Return whether the launcher of --devices started this process and reports the error for all processes."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return False
    from snellen.system import launch

    return launch.left_for_launcher(problem)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="snellen")
def main() -> None:
    """From raw image files to a trained model you can trust and a checked submission.csv.

    \b
    Start with:
      snellen compete demo --out demo
    """


for command in (
    competition.compete,
    data.prepare,
    data.organize,
    training.train,
    training.tune,
    results.evaluate,
    models.predict,
    competition.submission,
    models.serve,
    models.export,
    results.report,
    results.compare,
    data.check,
    competition.submit,
    competition.pack,
    competition.download,
    models.import_gluon,
    results.show,
    results.list_,
):
    main.add_command(command)
