"""Run: the results of a training run, read from its folder. training/record.py writes them.

recipe.json             every setting
about.json              data and splits, versions, machine, device and the reason for it
metrics.jsonl           one line per finished epoch
history.png             the same as a chart
checkpoint.safetensors  while unfinished: everything needed to resume
model.safetensors       when finished: the model of the last epoch
best.safetensors        the model of the epoch with the best validation score, if that is not the last one
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snellen.errors import RunError
from snellen.runs.recipe import Recipe
from snellen.scoring.metrics import METRICS, Metric, stored_metric
from snellen.system import files
from snellen.system.contents import Contents, check_holds
from snellen.system.units import percent

Epoch = dict[str, Any]  # one epoch's figures


def metric_in(row: Epoch) -> Metric:
    """Return the metric that an epoch was validated by, from its columns: accuracy unless there is another score."""
    usual = {METRICS["accuracy"].column, "valid_loss"}
    own = [name.removeprefix("valid_") for name in row if name.startswith("valid_") and name not in usual]
    return stored_metric({"metric": own[0]} if own else {})


def valid_value(row: Epoch, metric: Metric) -> float:
    """Return the validation score of an epoch; nan if there is none or it is undefined."""
    value = row.get(metric.column)
    return math.nan if value is None else value


def best_row(rows: Sequence[Epoch], metric: Metric) -> Epoch | None:
    """Return the first epoch with the best validation score; None if no epoch was validated."""
    best: Epoch | None = None
    for row in rows:
        if metric.column in row and (
            best is None or metric.is_better(valid_value(row, metric), valid_value(best, metric))
        ):
            best = row
    return best


def describe_epoch(row: Epoch, metric: Metric) -> str:
    """Describe an epoch in a few words, the metric's validation score first."""
    scores = [metric] if metric.name == "accuracy" else [metric, METRICS["accuracy"]]
    parts = [f"valid {one.name} {one.show(row[one.column])}" for one in scores if one.column in row]
    return ", ".join(
        [*parts, f"train loss {row['train_loss']:.4f}", f"train accuracy {percent(row['train_accuracy'])}"]
    )


@dataclass(frozen=True)
class Run:
    """One training run: its folder, its recipe, and the content of about.json."""

    folder: Path
    recipe: Recipe
    about: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Open a run, finished or not. Raises RunError if the folder does not hold one."""
        folder = Path(folder)
        check_holds(folder, Contents.RUN, Contents.UNFINISHED_RUN, error=RunError)
        about = files.read_json(folder / "about.json", error=RunError, do="train again into another folder")
        if not isinstance(about, dict) or not all(isinstance(about.get(name), str) for name in ("fingerprint", "on")):
            raise RunError(
                f'"{folder}" does not hold a run: its about.json belongs to something else.',
                expected="a folder written by `snellen train`",
            )
        return cls(folder, Recipe.open(folder / "recipe.json"), about)

    @property
    def metric(self) -> Metric:
        """The metric that decides which epoch is best."""
        return stored_metric(self.about)

    @property
    def metrics(self) -> list[Epoch]:
        """Return one row per finished epoch. Raises RunError if the file is damaged."""
        try:
            lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
            for row in rows:
                for name, value in row.items():
                    if value is not None or not name.startswith("valid_"):  # null: the metric is undefined
                        value + float(value)  # raises TypeError unless it is a number
            return rows
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as problem:
            raise RunError(
                f"the metrics are damaged: {problem}.",
                where=str(self.folder / "metrics.jsonl"),
                do="restore it from a copy, or train again into another folder"
                if self.finished
                else "delete the file and run the same command again: it is rewritten from the checkpoint",
            ) from None

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def model(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def best(self) -> Path:
        """The model of the best epoch; the file does not exist if that is the last one."""
        return self.folder / "best.safetensors"

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done and the model has been written."""
        return self.model.exists() and not self.checkpoint.exists()

    def check_finished(self) -> None:
        """Raise RunError if the last epoch is not done."""
        if not self.finished:
            raise RunError(
                f"the run is not finished: {len(self.metrics)} of {self.recipe.num_epochs} epochs are done.",
                where=str(self.folder),
                do="run the same command again to resume it",
            )

    def __str__(self) -> str:
        rows = self.metrics
        text = f"{self.recipe.model} on {self.about['on']}, {len(rows)} of {self.recipe.num_epochs} epochs"
        if rows:
            text += f"; {describe_epoch(rows[-1], self.metric)}"
            best = best_row(rows, self.metric)
            if best and best is not rows[-1]:
                score = self.metric.show(valid_value(best, self.metric))
                text += f"; best valid {self.metric.name} {score} in epoch {best['epoch']}"
        return text

    def __repr__(self) -> str:
        return f"<Run {self.folder}: {self}>"
