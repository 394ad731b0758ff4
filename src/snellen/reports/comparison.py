"""The result of `compare` as a table, a page, a figure or JSON."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snellen.charts import figures, pages
from snellen.images.imageset import ImageSet
from snellen.runs.run import Run, valid_value
from snellen.scoring.metrics import METRICS, Metric
from snellen.scoring.paired import Difference
from snellen.system.units import minutes, percent

ENDINGS = (".html", ".png", ".json")  # extensions that --out accepts


@dataclass(frozen=True, eq=False)
class Compared:
    """One run of a comparison."""

    name: str  # the last parts of its folder's path, as few as make it unique
    run: Run
    scores: dict[str, Any]  # see `evaluate.score`
    parameters: int
    seconds: float  # of training, including validation
    images_per_second: float  # of training, without validation
    difference: Difference | None  # from the first run; None for the first run itself


@dataclass(frozen=True, eq=False)
class Comparison:
    """Compared runs on the same images. Prints as a table."""

    images: ImageSet
    split: str
    metric: Metric  # of the differences, and first in the table
    runs: tuple[Compared, ...]
    settings: dict[str, tuple[str, ...]]  # settings that differ between the recipes: name to the value of each run

    def __str__(self) -> str:
        first = self.runs[0]
        accuracy = [] if self.is_by_accuracy else ["accuracy"]
        heading = ["run", self.metric.name, "95% interval", f"against {first.name}", "p", "", *accuracy]
        table = [[*heading, "time", "images/s", "parameters"]]
        for one in self.runs:
            own = [] if self.is_by_accuracy else [percent(one.scores["accuracy"])]
            table.append([one.name, self.value(one), self.interval(one), *self.against(one), *own, *cost(one)])
        text = f"{first.scores['images']:,} {self.split} images of {self.images.folder}\n{_columns(table)}"
        if self.settings:
            names = [["setting", *(one.name for one in self.runs)]]
            text += "\n\n" + _columns(names + [[name, *values] for name, values in self.settings.items()])
        else:
            text += "\n\nThe recipes are the same."
        return text

    @property
    def is_by_accuracy(self) -> bool:
        return self.metric is METRICS["accuracy"]

    def value(self, one: Compared) -> str:
        return self.metric.show(one.scores["value"])

    def interval(self, one: Compared) -> str:
        return self.metric.show_interval(one.scores["value_low"], one.scores["value_high"])

    def against(self, one: Compared) -> tuple[str, str, str]:
        """Return the difference from the first run with its interval, p, and the verdict."""
        d = one.difference
        if d is None:
            return "", "", ""
        difference, low, high = (self.metric.show_difference(number) for number in (d.value, d.low, d.high))
        p = f"{d.p:.4f}" if d.p >= 0.0001 else "< 0.0001"
        return f"{difference} ({low} to {high})", p, "beyond noise" if d.beyond_noise else "may be noise"

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""
        runs = []
        for one in self.runs:
            figures = {"name": one.name, "folder": str(one.run.folder), **one.scores, "parameters": one.parameters}
            figures |= {"seconds": one.seconds, "images_per_second": one.images_per_second}
            if one.difference is not None:
                numbers = {
                    name: None if math.isnan(number) else number for name, number in vars(one.difference).items()
                }
                figures["difference"] = numbers | {"beyond_noise": one.difference.beyond_noise}
            runs.append(figures)
        return {
            "split": self.split,
            "metric": self.metric.name,
            "runs": runs,
            "settings": {k: list(v) for k, v in self.settings.items()},
        }

    def save(self, path: str | Path) -> Path:
        """Write a page (.html), a figure (.png) or all numbers (.json). Raises SnellenError for other extensions."""
        names = [one.name for one in self.runs]
        scores = [_low_value_high(one.scores) for one in self.runs]
        curves = [self._curve(one.run) for one in self.runs]

        def page() -> str:
            figure = figures.comparison(names, scores, curves, self.metric)
            return pages.render("compare.html", comparison=self, figure_of_runs=figure, cost=cost)

        def figure() -> bytes:
            return figures.comparison_png(names, scores, curves, pages.mark("compare"), self.metric)

        return pages.write(Path(path), "compare", {".html": page, ".png": figure, ".json": self.to_dict})

    def _curve(self, run: Run) -> tuple[list[float], list[float]]:
        """Return minutes of training and validation scores by epoch; empty if the run has scores by other metrics."""
        rows = run.metrics
        elapsed = np.cumsum([row["seconds"] for row in rows]) / 60
        places = [place for place, row in enumerate(rows) if self.metric.column in row]
        return elapsed[places].tolist(), [valid_value(rows[place], self.metric) for place in places]


def _low_value_high(scores: dict[str, Any]) -> figures.Score:
    """Return the metric with its interval; nan if it is undefined."""
    low, value, high = (
        math.nan if scores[key] is None else scores[key] for key in ("value_low", "value", "value_high")
    )
    return low, value, high


def cost(one: Compared) -> tuple[str, str, str]:
    return minutes(one.seconds), f"{one.images_per_second:,.0f}", f"{one.parameters:,}"


def _columns(table: list[list[str]]) -> str:
    """Return the table as text with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )
