"""The results of a study so far: its trials, the best of them, and the page that shows them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snellen.charts import figures, pages
from snellen.images.imageset import ImageSet
from snellen.runs.recipe import Recipe, show_value
from snellen.scoring.metrics import Metric
from snellen.training.search_space import Space


@dataclass(frozen=True)
class Trial:
    """One recipe from the space, trained or in training."""

    number: int
    state: str  # complete, pruned, failed, running, or waiting to be resumed
    settings: dict[str, Any]  # only those that vary
    score: float | None  # the metric on valid; the last one of a pruned trial
    curve: dict[int, float]  # percent of training done -> score, by uncalibrated probabilities
    seconds: float  # of training
    note: str  # why it failed
    interval: tuple[float, float] | None = None  # 95%, of a complete trial, without the luck of the best of many


@dataclass(frozen=True)
class Done:
    """The result of a complete trial."""

    score: float
    seconds: float  # of training
    interval: tuple[float, float] | None = None  # 95%


class Ended(Exception):
    """Signals the end of a trial that did not complete. state: pruned or failed."""

    def __init__(self, state: str, seconds: float, note: str = ""):
        self.state, self.seconds, self.note = state, seconds, note


@dataclass(frozen=True, eq=False)
class Study:
    """The trials and their results. Prints as a table of the best trials."""

    folder: Path
    images: ImageSet
    recipe: Recipe  # that the trials vary
    space: Space
    metric: Metric  # that ranks the trials
    trials: tuple[Trial, ...]  # by number
    importances: dict[str, float]  # how much each setting matters for the metric; empty if there are few trials

    @property
    def ranked(self) -> list[Trial]:
        """The complete trials, best first; of equal ones the earliest first."""
        done = [trial for trial in self.trials if trial.state == "complete"]
        sign = -1 if self.metric.greater_is_better else 1
        return sorted(done, key=lambda trial: (sign * (trial.score or 0), trial.number))

    @property
    def best(self) -> Trial | None:
        return self.ranked[0] if self.ranked else None

    def recipe_of(self, trial: Trial) -> Recipe:
        return dataclasses.replace(self.recipe, **trial.settings)

    def run_of(self, trial: Trial) -> Path:
        """Return the folder of the trial's Run, on the machine that trained it."""
        return run_folder(self.folder, trial.number)

    def count(self, state: str) -> int:
        return sum(trial.state == state for trial in self.trials)

    @property
    def states(self) -> str:
        """The number of trials in each state, for display: "8 complete, 1 pruned"."""
        states = ("complete", "pruned", "failed", "running", "waiting")
        return ", ".join(f"{self.count(state)} {state}" for state in states if self.count(state)) or "no trials yet"

    def __str__(self) -> str:
        best = (
            f"  trial {trial.number:4}  {self.metric.show(trial.score):>7}  {describe(trial.settings)}"
            for trial in self.ranked[:5]
        )
        return "\n".join([f"{self.states}; by valid {self.metric.name}", *best])


def run_folder(folder: Path, number: int) -> Path:
    """Return the folder in which a study keeps the Run of a trial."""
    return folder / "trials" / f"{number:04}"


def describe(settings: dict[str, Any]) -> str:
    """Return settings for display, with numbers to four digits. recipe.json has all digits."""
    return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={show_value(v)}" for k, v in settings.items())


def study_page(study: Study) -> str:
    """Return study.html."""
    ended = [trial for trial in study.trials if trial.state in ("complete", "pruned") and trial.score is not None]
    points = [(trial.number, trial.score or 0, trial.state == "complete") for trial in ended]
    each = [(trial.curve, trial.state == "complete") for trial in ended]
    history = figures.study_history(points, study.metric) if points else ""
    curves = figures.study_curves(each, study.metric) if ended else ""
    importances = figures.importances(study.importances) if study.importances else ""
    return pages.render(
        "study.html",
        study=study,
        metric=study.metric,
        history=history,
        curves=curves,
        importances=importances,
        describe=describe,
        started_with={name: show_value(getattr(study.recipe, name)) for name in study.space},
    )
