"""Every figure of the README's tables, and the commands that make it again.

    python benchmarks/readme_figures.py --list
    python benchmarks/readme_figures.py --run fast --data DATA --out FOLDER

DATA is what `snellen prepare` made of the competition's images; stopped, the same line goes on. A row of the table is
printed in the README's form: accuracies on the validation images, and seconds for 50,000 training images by the
images/s of the run, which mean something where nothing else used the machine.

A new row of the README's table is a new line in FIGURES, a new column one in COLUMNS; tests/test_readme.py says so.
"""

import argparse
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from snellen import ImageSet, Run, evaluate

NUM_TRAINED_ON = 50_000  # images of CIFAR-10 that "training" is for

# Heading of a column -> views averaged; None is the time.
COLUMNS = {"plain": 1, "mirrored too": 2, "six views": 6, "training": None}


@dataclass(frozen=True)
class Figure:
    """A row of the README's table: what is trained for it."""

    recipe: str
    seeds: tuple[int, ...] = (0,)
    settings: tuple[str, ...] = ()

    def runs(self, out: Path) -> list[Path]:
        return [out / f"{self.recipe}-{seed}" for seed in self.seeds]

    def commands(self, data: Path, out: Path) -> list[str]:
        """The lines to type."""
        lines = []
        for run, seed in zip(self.runs(out), self.seeds, strict=True):
            words = ["snellen", "train", str(data), "--out", str(run), "--recipe", self.recipe]
            for setting in (f"seed={seed}", *self.settings):
                words += ["--set", setting]
            lines.append(shlex.join(words))
            for views in filter(None, COLUMNS.values()):
                lines.append(shlex.join(["snellen", "evaluate", str(run), str(data), "--views", str(views)]))
        return lines


FIGURES = {
    "fast": Figure("fast", seeds=(0, 1, 2)),
    "record": Figure("record", seeds=(0, 1, 2)),
    "strong": Figure("strong"),
    "resnet20": Figure("resnet20"),
}


def make(name: str, data: Path, out: Path) -> str:
    """Train what a figure needs and return its row of the table."""
    figure = FIGURES[name]
    for line in figure.commands(data, out):
        words = shlex.split(line)
        if words[1] == "train":  # the evaluations of all runs are done together below
            print(f"$ {line}", flush=True)
            subprocess.run([sys.executable, "-m", *words], check=True)
    runs = [Run.open(run) for run in figure.runs(out)]
    images = ImageSet.open(data)
    return f"| {' | '.join([f'`{name}`', *(_cell(runs, images, views) for views in COLUMNS.values())])} |"


def _cell(runs: list[Run], images: ImageSet, views: int | None) -> str:
    if views is None:
        rate = statistics.median(row["images_per_second"] for run in runs for row in run.metrics)
        return f"{NUM_TRAINED_ON * runs[0].recipe.epochs / rate:,.0f} s"
    found = [100 * evaluate(run, images, views=views)["accuracy"] for run in runs]
    return f"{statistics.fmean(found):.2f}%" + (f" +- {statistics.stdev(found):.2f}" if len(found) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="print every row's commands")
    what.add_argument("--run", choices=[*FIGURES, "all"], metavar="NAME", help=f"{', '.join(FIGURES)} or all")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("figures"))
    arguments = parser.parse_args()
    for name in FIGURES if arguments.list or arguments.run == "all" else [arguments.run]:
        if arguments.list:
            print(name, *FIGURES[name].commands(arguments.data, arguments.out), sep="\n  ")
        else:
            print(make(name, arguments.data, arguments.out), flush=True)


if __name__ == "__main__":
    main()
