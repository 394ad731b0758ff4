"""Runs side by side: accuracy with intervals, whether the difference is beyond noise, cost, and what differs."""

import logging
import math
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
from snellen.prediction.evaluate import labelled, score
from snellen.prediction.predict import predict
from snellen.runs.recipe import show_value
from snellen.runs.repeat import first_weights
from snellen.runs.run import Run
from snellen.system import files
from snellen.system.progress import Progress
from snellen.system.units import minutes, percent

ENDINGS = (".html", ".png", ".json")  # of what `--out` may name
log = logging.getLogger("snellen")

NOISE = 0.05  # probability of a difference this large between equally good models, from which on it counts as noise


@dataclass(frozen=True)
class Difference:
    """How one run does against the first, on the same images."""

    accuracy: float  # share of images gained; negative where fewer are right
    low: float
    high: float  # its 95% interval
    gained: int  # images that only this run has right
    lost: int  # images that only the first run has right
    p: float  # exact McNemar test, corrected for the number of comparisons (Holm)

    @property
    def beyond_noise(self) -> bool:
        return self.p < NOISE


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
        pages.check_page(path, *ENDINGS)
        names = [one.name for one in self.runs]
        shares = [(one.scores["low"], one.scores["accuracy"], one.scores["high"]) for one in self.runs]
        curves = [_curve(one.run) for one in self.runs]
        if path.suffix == ".html":
            figure = figures.comparison(names, shares, curves)
            files.write_text(path, pages.render("compare.html", comparison=self, figure_of_runs=figure, **_PHRASES))
        elif path.suffix == ".png":
            figures.save_comparison(names, shares, curves, path)
        else:
            files.write_json(path, self.to_dict())
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
    if out is not None:
        pages.check_page(Path(out), *ENDINGS)
    images = as_trained(_images_of(opened, images), opened[0].about)
    names = _names(opened)
    _check(opened, names, images, split)
    chosen = labelled(images, split)
    found = []
    for name, run in zip(names, opened, strict=True):
        log.info("%s", name)
        found.append(predict(run, images, split=split, device=device, on_progress=on_progress).probabilities)
    right = [guesses.argmax(axis=1) == chosen.labels for guesses in found]
    differences = [None, *_differences(right[0], right[1:])]
    compared = []
    for name, run, guesses, difference in zip(names, opened, found, differences, strict=True):
        rows = run.metrics
        seconds = sum(row["train_seconds"] for row in rows)
        speed = sum(row["images_per_second"] * row["train_seconds"] for row in rows) / max(seconds, 1e-9)
        total = sum(row["seconds"] for row in rows)
        scores = score(guesses, chosen.labels)
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


def _differences(first: np.ndarray, others: list[np.ndarray]) -> list[Difference]:
    """Of each run from the first one; all bool (N,), which images are right."""
    found = []
    for right in others:
        gained, lost = int((right & ~first).sum()), int((first & ~right).sum())
        share = (gained - lost) / len(first)
        found.append((share, *paired_interval(gained, lost, len(first)), gained, lost))
    corrected = holm([mcnemar(gained, lost) for *_, gained, lost in found])
    return [Difference(*figures, p) for figures, p in zip(found, corrected, strict=True)]


def mcnemar(gained: int, lost: int) -> float:
    """The probability, were both models equally good, of so uneven a split of the images that only one has right.

    Exact and two-sided: twice the tail of a binomial distribution with n = gained + lost and 1/2, at most 1.
    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12
    (1947), in its exact form.
    """
    n = gained + lost
    terms = (
        math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
        for k in range(min(gained, lost) + 1)
    )
    return min(1.0, 2 * math.fsum(terms))


def paired_interval(gained: int, lost: int, num: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95% interval of (gained - lost) / num for shares measured on the same images.

    Source: Bonett & Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data", J. Educ. Behav. Stat. 37 (2012): one image is added to each of the two counts.
    """
    more, fewer = (gained + 1) / (num + 2), (lost + 1) / (num + 2)
    half = z * math.sqrt(max(more + fewer - (more - fewer) ** 2, 0.0) / (num + 2))
    return max(more - fewer - half, -1.0), min(more - fewer + half, 1.0)


def holm(ps: Sequence[float]) -> list[float]:
    """Probabilities corrected for their number.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979).
    """
    corrected, highest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = highest
    return corrected


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
    return f"{percent(scores['low'])} to {percent(scores['high'])}"


def against(one: Compared) -> tuple[str, str, str]:
    """The difference from the first run in percentage points with its interval, p, and whether it is noise."""
    d = one.difference
    if d is None:
        return "", "", ""
    difference = f"{100 * d.accuracy:+.2f} ({100 * d.low:+.2f} to {100 * d.high:+.2f})"
    p = f"{d.p:.4f}" if d.p >= 0.0001 else "< 0.0001"
    return difference, p, "beyond noise" if d.beyond_noise else "may be noise"


def cost(one: Compared) -> tuple[str, str, str]:
    return minutes(one.seconds), f"{one.images_per_second:,.0f}", f"{one.parameters:,}"


_PHRASES = {"interval": interval, "against": against, "cost": cost}


def _columns(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )
