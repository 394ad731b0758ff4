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
from snellen.scoring.metrics import METRICS, Metric, stored_metric
from snellen.system import files

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
    def metric(self) -> Metric:
        """The metric that the folds are scored by."""
        return stored_metric(self.scores or {} if "metric" not in self.about else self.about)

    @property
    def doubt(self) -> str:
        """The warning if the models have not clearly learned anything, otherwise ""."""
        return self.about.get("doubt", "")

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
        accuracy = METRICS["accuracy"]
        shown = self._over_folds(accuracy, "accuracy")
        if self.metric is not accuracy:
            shown = f"{self._over_folds(self.metric, 'value')}; {shown}"
        return f"{text} of {self.scores['images']:,} labelled images: {shown}"

    def _over_folds(self, metric: Metric, key: str) -> str:
        """Describe a score over all images, and by fold."""
        assert self.scores, "the cross-validation is finished"
        each = [one[key] for one in self.scores["folds"] if one[key] is not None]
        text = f"{metric.name} {metric.show(self.scores[key])}"
        if len(each) < 2:
            return text
        spread = metric.show(statistics.stdev(each))
        return f"{text} (by fold {metric.show_interval(min(each), max(each))}, standard deviation {spread})"
