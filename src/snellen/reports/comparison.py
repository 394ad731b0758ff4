"""The result of `compare` as a table, a page, a figure or JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snellen.charts import figures, pages
from snellen.images.imageset import ImageSet
from snellen.runs.run import Run
from snellen.scoring.paired import Difference
from snellen.system.units import minutes, percent, percents, points

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
    runs: tuple[Compared, ...]
    settings: dict[str, tuple[str, ...]]  # settings that differ between the recipes: name to the value of each run

    def __str__(self) -> str:
        first = self.runs[0]
        table = [
            ["run", "accuracy", "95% interval", f"against {first.name}", "p", "", "time", "images/s", "parameters"]
        ]
        for one in self.runs:
            table.append([one.name, percent(one.scores["accuracy"]), interval(one.scores), *against(one), *cost(one)])
        text = f"{first.scores['images']:,} {self.split} images of {self.images.folder}\n{_columns(table)}"
        if self.settings:
            names = [["setting", *(one.name for one in self.runs)]]
            text += "\n\n" + _columns(names + [[name, *values] for name, values in self.settings.items()])
        else:
            text += "\n\nThe recipes are the same."
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""
        runs = []
        for one in self.runs:
            figures = {"name": one.name, "folder": str(one.run.folder), **one.scores, "parameters": one.parameters}
            figures |= {"seconds": one.seconds, "images_per_second": one.images_per_second}
            if one.difference is not None:
                figures["difference"] = vars(one.difference) | {"beyond_noise": one.difference.beyond_noise}
            runs.append(figures)
        return {"split": self.split, "runs": runs, "settings": {k: list(v) for k, v in self.settings.items()}}

    def save(self, path: str | Path) -> Path:
        """Write a page (.html), a figure (.png) or all numbers (.json). Raises SnellenError for other extensions."""
        names = [one.name for one in self.runs]
        shares = [(one.scores["low"], one.scores["accuracy"], one.scores["high"]) for one in self.runs]
        curves = [_curve(one.run) for one in self.runs]

        def page() -> str:
            figure = figures.comparison(names, shares, curves)
            phrases: dict[str, Any] = {"interval": interval, "against": against, "cost": cost}
            return pages.render("compare.html", comparison=self, figure_of_runs=figure, **phrases)

        def figure() -> bytes:
            return figures.comparison_png(names, shares, curves, pages.mark("compare"))

        return pages.write(Path(path), "compare", {".html": page, ".png": figure, ".json": self.to_dict})


def _curve(run: Run) -> tuple[list[float], list[float]]:
    """Return minutes of training and valid accuracy by epoch."""
    rows = [row for row in run.metrics if "valid_accuracy" in row]
    elapsed = np.cumsum([row["seconds"] for row in rows]) / 60
    return elapsed.tolist(), [row["valid_accuracy"] for row in rows]


def interval(scores: dict[str, Any]) -> str:
    return percents(scores["low"], scores["high"])


def against(one: Compared) -> tuple[str, str, str]:
    """Return the difference from the first run (percentage points, with interval), p, and the verdict."""
    d = one.difference
    if d is None:
        return "", "", ""
    difference = f"{points(d.accuracy)} ({points(d.low)} to {points(d.high)})"
    p = f"{d.p:.4f}" if d.p >= 0.0001 else "< 0.0001"
    return difference, p, "beyond noise" if d.beyond_noise else "may be noise"


def cost(one: Compared) -> tuple[str, str, str]:
    return minutes(one.seconds), f"{one.images_per_second:,.0f}", f"{one.parameters:,}"


def _columns(table: list[list[str]]) -> str:
    """Return the table as text with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )
