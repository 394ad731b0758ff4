"""Runs side by side: accuracy with intervals, whether the difference is beyond noise, cost, and what differs."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snellen.charts import figures, pages
from snellen.errors import DataError, RunError
from snellen.images.folds import as_trained, seen
from snellen.images.imageset import ImageSet
from snellen.models.model_file import load_model
from snellen.prediction.decide import decide_fairly
from snellen.prediction.evaluate import labelled
from snellen.prediction.predict import predict
from snellen.runs.recipe import show_value
from snellen.runs.repeat import first_weights
from snellen.runs.run import Run
from snellen.scoring.paired import Difference, differences
from snellen.scoring.scores import score
from snellen.system import files
from snellen.system.progress import Progress
from snellen.system.units import minutes, percent, percents, points

ENDINGS = (".html", ".png", ".json")  # of what `--out` may name
log = logging.getLogger("snellen")


@dataclass(frozen=True, eq=False)
class Compared:
    """One run of a comparison."""

    name: str  # of its folder, with as much of the path as tells it from the others
    run: Run
    scores: dict[str, Any]  # see `evaluate.score`
    parameters: int
    seconds: float  # of training, validation included
    images_per_second: float  # of training alone
    difference: Difference | None  # from the first run; None for itself


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs on the same images. Prints as a table."""

    images: ImageSet
    split: str
    runs: tuple[Compared, ...]
    settings: dict[str, tuple[str, ...]]  # of the recipes, where they differ: name to each run's value

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
        """Every figure, ready for JSON."""
        runs = []
        for one in self.runs:
            figures = {"name": one.name, "folder": str(one.run.folder), **one.scores, "parameters": one.parameters}
            figures |= {"seconds": one.seconds, "images_per_second": one.images_per_second}
            if one.difference is not None:
                figures["difference"] = vars(one.difference) | {"beyond_noise": one.difference.beyond_noise}
            runs.append(figures)
        return {"split": self.split, "runs": runs, "settings": {k: list(v) for k, v in self.settings.items()}}

    def save(self, path: str | Path) -> Path:
        """Write a page (.html), a figure (.png) or the figures (.json). Raises SnellenError for another ending."""
        path = Path(path)
        pages.check_page(path, "compare", *ENDINGS)
        names = [one.name for one in self.runs]
        shares = [(one.scores["low"], one.scores["accuracy"], one.scores["high"]) for one in self.runs]
        curves = [_curve(one.run) for one in self.runs]
        if path.suffix == ".html":
            figure = figures.comparison(names, shares, curves)
            files.write_text(path, pages.render("compare.html", comparison=self, figure_of_runs=figure, **_PHRASES))
        elif path.suffix == ".png":
            figures.save_comparison(names, shares, curves, path, pages.mark("compare"))
        else:
            files.write_json(path, {"made_by": pages.mark("compare"), **self.to_dict()})
        return path


def compare(
    runs: Sequence[Run | str | Path],
    images: ImageSet | str | Path | None = None,
    *,
    out: str | Path | None = None,
    split: str = "valid",
    device: str | None = None,
    on_progress: Progress | None = None,
) -> Comparison:
    """Score runs on the same labelled images and say which differences are beyond noise. The first is the reference.

    images: those of the runs, by default from where the first run had them. out: a page (.html), figure (.png) or JSON.
    The differences are between these models; what another seed would give, they do not tell.
    Raises RunError for fewer than two runs, an unfinished one, one trained on other images, or on the split itself.
    """
    opened = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    if len(opened) < 2:
        num = "one run is" if opened else "no run is"
        raise RunError(f"{num} nothing to compare.", expected="two runs or more", do="name another run")
    images = as_trained(_images_of(opened, images), opened[0].about)
    if out is not None:
        pages.check_page(Path(out), "compare", *ENDINGS, source=images.source)
    names = _names(opened)
    _check(opened, names, images, split)
    chosen = labelled(images, split)
    found = []
    for name, run in zip(names, opened, strict=True):
        log.info("%s", name)
        found.append(predict(run, images, split=split, device=device, on_progress=on_progress).probabilities)
    decided = [
        decide_fairly(guesses, chosen.labels, load_model(run).about, images.fingerprint, split)
        for run, guesses in zip(opened, found, strict=True)
    ]
    right = [labels == chosen.labels for labels in decided]
    against_first = [None, *differences(right[0], right[1:])]
    compared = []
    for name, run, guesses, labels, difference in zip(names, opened, found, decided, against_first, strict=True):
        rows = run.metrics
        seconds = sum(row["train_seconds"] for row in rows)
        speed = sum(row["images_per_second"] * row["train_seconds"] for row in rows) / max(seconds, 1e-9)
        total = sum(row["seconds"] for row in rows)
        scores = score(guesses, chosen.labels, decided=labels, metric=images.task.metric)
        compared.append(Compared(name, run, scores, load_model(run).num_parameters, total, speed, difference))
    comparison = Comparison(images, split, tuple(compared), _differing_settings(opened))
    if out is not None:
        comparison.save(out)
    return comparison


def _images_of(runs: list[Run], images: ImageSet | str | Path | None) -> ImageSet:
    if isinstance(images, ImageSet):
        return images
    if images is not None:
        return ImageSet.open(images)
    try:
        return ImageSet.open(runs[0].about.get("data", ""))
    except DataError as problem:
        raise DataError(
            problem.what,
            where=f"{runs[0].folder / 'about.json'}, which says where the run had its images",
            expected=problem.expected,
            do="say where they are now: snellen compare RUN RUN --data DATA",
        ) from None


def _check(runs: list[Run], names: list[str], images: ImageSet, split: str) -> None:
    for name, run in zip(names, runs, strict=True):
        if run.about["fingerprint"] != images.fingerprint:
            raise RunError(
                f'"{name}" was trained on other images.',
                where=str(run.folder),
                expected=f"the images in {images.folder}, with the same split",
                do="compare runs that were trained on the same prepared images",
            )
        if seen(run.about, images, split) == "yes":
            raise RunError(
                f'"{name}" was trained on the {split} images, so they tell nothing about it.',
                where=str(run.folder),
                expected="runs that have not seen the images they are compared on",
                do="compare runs made with --on train",
            )
        run.check_finished()


def _names(runs: list[Run]) -> list[str]:
    """The last part of each run's path, and as many before it as tell the runs apart."""
    parts = [run.folder.resolve().parts for run in runs]
    depth = 1
    while depth < max(map(len, parts)) and max(Counter(part[-depth:] for part in parts).values()) > 1:
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]


def _differing_settings(runs: list[Run]) -> dict[str, tuple[str, ...]]:
    differing = {name: None for run in runs[1:] for name in runs[0].recipe.differences(run.recipe)}
    found = {name: tuple(show_value(getattr(run.recipe, name)) for run in runs) for name in differing}
    weights = tuple(first_weights(run) for run in runs)
    return found | ({"(first weights)": weights} if len(set(weights)) > 1 else {})


def _curve(run: Run) -> tuple[list[float], list[float]]:
    """Minutes of training and valid accuracy, epoch by epoch."""
    rows = [row for row in run.metrics if "valid_accuracy" in row]
    elapsed = np.cumsum([row["seconds"] for row in rows]) / 60
    return elapsed.tolist(), [row["valid_accuracy"] for row in rows]


def interval(scores: dict[str, Any]) -> str:
    return percents(scores["low"], scores["high"])


def against(one: Compared) -> tuple[str, str, str]:
    """The difference from the first run in percentage points with its interval, p, and whether it is noise."""
    d = one.difference
    if d is None:
        return "", "", ""
    difference = f"{points(d.accuracy)} ({points(d.low)} to {points(d.high)})"
    p = f"{d.p:.4f}" if d.p >= 0.0001 else "< 0.0001"
    return difference, p, "beyond noise" if d.beyond_noise else "may be noise"


def cost(one: Compared) -> tuple[str, str, str]:
    return minutes(one.seconds), f"{one.images_per_second:,.0f}", f"{one.parameters:,}"


_PHRASES: dict[str, Any] = {"interval": interval, "against": against, "cost": cost}


def _columns(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )
