"""CrossValidation: the runs of all folds and their scores, read from their folder. cross_validate.py writes it.

folds.json        number of folds and the images; when finished, the scores over all of them
fold-1/, ...      one run each
out_of_fold.csv   when finished: predictions for each labelled image by the model that was not trained on it
"""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snellen.errors import RunError
from snellen.runs.run import Run
from snellen.system import files
from snellen.system.units import percent, percents

FOLDS = "folds.json"


def fold_folder(out: str | Path, number: int) -> Path:
    """Return the folder of this fold's run; folds are counted from 1."""
    return Path(out) / f"fold-{number}"


@dataclass(frozen=True)
class CrossValidation:
    """One cross-validation: a run for each fold, and their scores on all labelled images together."""

    folder: Path
    about: dict[str, Any]  # the content of folds.json

    @classmethod
    def open(cls, folder: str | Path) -> "CrossValidation":
        """Open a cross-validation, finished or not. Raises RunError if the folder does not hold one."""
        folder = Path(folder)
        about = files.read_json(folder / FOLDS, error=RunError, do="train the folds into another folder")
        types = {"fingerprint": str, "folds": int, "seed": int}
        if not isinstance(about, dict) or not all(type(about.get(name)) is kind for name, kind in types.items()):
            raise RunError(
                f'"{folder}" does not hold a cross-validation.',
                expected="a folder written by `snellen train DATA --folds K`",
            )
        return cls(folder, about)

    @property
    def folders(self) -> list[Path]:
        """The folders of the folds' runs, in order, whether they exist or not."""
        return [fold_folder(self.folder, number) for number in range(1, self.about["folds"] + 1)]

    @property
    def runs(self) -> list[Run]:
        """The run of each fold. Raises RunError if one has not started yet."""
        return [Run.open(folder) for folder in self.folders]

    @property
    def predictions(self) -> Path:
        """The CSV of out-of-fold predictions."""
        return self.folder / "out_of_fold.csv"

    @property
    def scores(self) -> dict[str, Any] | None:
        """The out-of-fold scores of all labelled images, and by fold; None while unfinished."""
        return self.about.get("scores")

    def __str__(self) -> str:
        text = f"{self.about['folds']} folds"
        if not self.scores:
            return f"{text}, unfinished"
        each = [one["accuracy"] for one in self.scores["folds"]]
        return (
            f"{text}, accuracy {percent(self.scores['accuracy'])} on all {self.scores['images']:,} labelled images "
            f"(by fold {percents(min(each), max(each))}, standard deviation {percent(statistics.stdev(each))})"
        )
