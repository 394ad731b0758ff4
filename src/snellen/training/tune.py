"""Many trainings, one ledger: which recipe suits these images best. Every trial is a Run of its own.

study.json       recipe, space, data: what all workers must agree on
trials/0007      the Run of trial 7
best.json        the recipe of the best trial so far
study.html       history, importances, the best recipes
journal.jsonl    the ledger, where it is not in a database
"""

import dataclasses
import hashlib
import json
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from snellen.charts import figures, pages
from snellen.errors import DivergedError, OutOfMemoryError, RecipeError, RunError, SnellenError
from snellen.images.imageset import ImageSet
from snellen.models.classifier import build_network
from snellen.runs.named_recipes import find_recipe
from snellen.runs.presets import DEFAULT
from snellen.runs.recipe import Recipe, show_value
from snellen.runs.run import Epoch, Run
from snellen.scoring.intervals import wilson_interval
from snellen.system import files
from snellen.system.progress import Progress
from snellen.training.search_space import Choices, Space, default_space, parse_space, start_of
from snellen.training.train import train

if TYPE_CHECKING:
    from snellen.training.ledger import Claim, Entry, Ledger

log = logging.getLogger("snellen")

TRIALS = 20  # where neither a number nor a budget is given
PAGE_SECONDS = 30  # between two writings of the page while trials go on
HOPELESS = 3  # failures without a single success after which a study stops


@dataclass(frozen=True, eq=False)
class Study:
    """What a study knows so far. Prints as a table of its best trials."""

    folder: Path
    images: ImageSet
    recipe: Recipe  # that the trials vary
    space: Space
    trials: tuple["Entry", ...]  # by number
    importances: dict[str, float]  # share of each setting in what makes a trial good; empty while there are few trials

    @property
    def ranked(self) -> list["Entry"]:
        """The complete trials, best first; of equal ones the earlier."""
        done = [trial for trial in self.trials if trial.state == "complete"]
        return sorted(done, key=lambda trial: (-(trial.accuracy or 0), trial.number))

    @property
    def best(self) -> "Entry | None":
        return self.ranked[0] if self.ranked else None

    def recipe_of(self, trial: "Entry") -> Recipe:
        return dataclasses.replace(self.recipe, **trial.settings)

    def run_of(self, trial: "Entry") -> Path:
        """The folder of its Run; on another machine where that made it."""
        return _run_folder(self.folder, trial.number)

    def interval_of(self, trial: "Entry") -> tuple[float, float]:
        """95% interval of its accuracy, for one trial alone: the best of many is flattered by having been chosen."""
        num = self.images.counts["valid"]
        return wilson_interval(round((trial.accuracy or 0) * num), num)

    def count(self, state: str) -> int:
        return sum(trial.state == state for trial in self.trials)

    def __str__(self) -> str:
        states = [f"{self.count(state)} {state}" for state in ("complete", "pruned", "failed", "running")]
        lines = [", ".join(text for text in states if not text.startswith("0 ")) or "no trials yet"]
        for trial in self.ranked[:5]:
            lines.append(f"  trial {trial.number:4}  {100 * (trial.accuracy or 0):6.2f}%  {describe(trial.settings)}")
        return "\n".join(lines)


def tune(
    images: ImageSet | str | Path,
    out: str | Path,
    *,
    trials: int | None = None,
    space: Sequence[str] = (),
    budget: float | None = None,
    storage: str | None = None,
    recipe: Recipe | str | Path = DEFAULT,
    device: str | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_progress: Progress | None = None,
) -> Study:
    """Train variants of `recipe`, choose them by what earlier ones reached on valid, stop weak ones early.

    trials: how many the study shall have in all, 20 without a budget. budget: seconds that this call may take; what is
    unfinished then waits in its checkpoint. space: "field=low..high" and "field=a,b,c" vary, "field=value" is fixed; by
    default a region around the recipe. storage: URL of a database that several machines share.
    Called again, it goes on; called in several processes at once, they share the work. The same recipe trained again
    gives a trial's bits. Needs Optuna. Raises RunError for a folder with another study, DataError where a disk refuses.
    """
    started = time.monotonic()
    ledger_module = _ledger_module()
    images = images if isinstance(images, ImageSet) else ImageSet.open(images)
    images.select("train"), images.select("valid")  # a study without them would fail at every trial
    base, chosen = parse_space(space, find_recipe(recipe))
    chosen = chosen or default_space(base)
    _check(base, chosen, images, trials, budget)
    folder, most = Path(out), TRIALS if trials is None and budget is None else trials
    facts: dict[str, Any] = {"recipe": base.to_dict(), "space": {name: str(values) for name, values in chosen.items()}}
    facts |= {"fingerprint": images.fingerprint}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    place = ledger_module.without_password(storage) if storage else ledger_module.JOURNAL
    with files.disk_errors(folder):
        _start(folder, facts | {"storage": place, "data": str(images.folder)})
        ledger = ledger_module.Ledger(
            folder, f"{folder.resolve().name}-{digest}", chosen, start_of(base, chosen), base.seed, storage
        )

        def summary() -> Study:
            return Study(folder, images, base, chosen, tuple(ledger.entries()), ledger.importances())

        deadline = None if budget is None else started + budget
        written = time.monotonic()
        try:
            while _fits(ledger, deadline) and (claim := ledger.claim(most)):
                try:
                    _work(claim, base, images, folder, deadline, device, on_epoch, on_progress)
                finally:
                    claim.release()
                _give_up_if_hopeless(ledger.entries())
                _write(ledger, summary, with_page=time.monotonic() - written > PAGE_SECONDS)
                written = time.monotonic() if time.monotonic() - written > PAGE_SECONDS else written
        except _OutOfTimeError:
            log.info("the budget is spent; the trial goes on where it stopped when the command is run again")
        finally:
            _write(ledger, summary, with_page=True)
        return summary()


class _OutOfTimeError(Exception):
    """The budget ended within a trial."""


class _WeakError(Exception):
    """The trial is not worth going on with."""


def _work(
    claim: "Claim",
    base: Recipe,
    images: ImageSet,
    folder: Path,
    deadline: float | None,
    device: str | None,
    on_epoch: Callable[[Epoch], None] | None,
    on_progress: Progress | None,
) -> None:
    """Train one trial to its end, which the ledger then knows. Whatever else is raised leaves it to be gone on with."""
    log.info("trial %d: %s", claim.number, describe(claim.settings))
    seconds: dict[int, float] = {}  # by epoch: one that a kill kept from its checkpoint comes twice

    def each_epoch(row: Epoch, *, is_new: bool = True) -> None:
        seconds[row["epoch"]] = row["seconds"]
        if is_new and on_epoch:
            on_epoch(row)
        # Percent, not epochs: trials of different lengths are compared at the same place of their schedules.
        percent = 100 * row["epoch"] // recipe.num_epochs
        claim.report(percent, row["valid_accuracy"])
        if percent < 100 and claim.is_weak():
            raise _WeakError

    def each_step(stage: str, done: int, total: int) -> None:
        claim.sign()
        if on_progress:
            on_progress(stage, done, total)
        if deadline is not None and time.monotonic() > deadline:
            raise _OutOfTimeError

    state, accuracy, note = "failed", None, ""
    try:
        recipe = dataclasses.replace(base, **claim.settings)
        out = _run_folder(folder, claim.number)
        for row in _earlier_rows(out):  # also that which a kill kept from being reported
            each_epoch(row, is_new=False)
        run = train(images, recipe, out, device=device, on_epoch=each_epoch, on_progress=each_step)
        state, accuracy = "complete", run.metrics[-1]["valid_accuracy"]
    except _WeakError:
        state = "pruned"
    except (DivergedError, RecipeError, OutOfMemoryError) as problem:
        # A trial whose loss diverged tells the sampler to keep away: it counts as pruned, and as the weakest of all.
        state = "pruned" if isinstance(problem, DivergedError) else "failed"
        note = problem.what
    claim.end(state, sum(seconds.values()), accuracy=accuracy, note=note)
    reached = f"{100 * accuracy:.2f}%" if accuracy is not None else state + (f": {note}" if note else "")
    log.info("trial %d: %s after %d epochs", claim.number, reached, len(seconds))


def _run_folder(folder: Path, number: int) -> Path:
    return folder / "trials" / f"{number:04}"


def _earlier_rows(run: Path) -> list[Epoch]:
    """The finished epochs of a trial that goes on."""
    return Run.open(run).metrics if (run / "about.json").exists() else []


def _fits(ledger: "Ledger", deadline: float | None) -> bool:
    """Whether a trial of the usual length can end in time; at least one is tried."""
    if deadline is None:
        return True
    usual = statistics.median([e.seconds for e in ledger.entries() if e.state == "complete"] or [0.0])
    if time.monotonic() + usual < deadline:
        return True
    log.info("no time for another trial: one takes about %s", pages.minutes(usual))
    return False


def _give_up_if_hopeless(entries: Sequence["Entry"]) -> None:
    failed = [entry for entry in entries if entry.state == "failed"]
    if len(failed) >= HOPELESS and not any(entry.state in ("complete", "pruned") for entry in entries):
        raise RunError(
            f"{len(failed)} trials failed and none worked; the last: {failed[-1].note}",
            where=describe(failed[-1].settings),
            expected="a space whose recipes can be trained",
            do="change the recipe or the space, with another --out",
        )


def _check(base: Recipe, space: Space, images: ImageSet, trials: int | None, budget: float | None) -> None:
    if trials is not None and trials < 1:
        raise RunError(f"the number of trials is {trials}.", where="--trials", expected="1 or more")
    if budget is not None and not budget > 0:
        raise RunError(f"the budget is {budget:g} seconds.", where="--budget", expected="more than 0, as in 30m")
    if "seed" in space:
        raise RecipeError(
            "a study does not choose the seed: the best of many seeds is luck.",
            where=f"--set seed={space['seed']}",
            do="train the best recipe with several seeds afterwards",
        )
    models = space.get("model", Choices((base.model,)))
    if isinstance(models, Choices):
        for name in models.values:
            with torch.device("meta"):
                build_network(name, len(images.classes))


def _start(folder: Path, facts: dict[str, Any]) -> None:
    """Begin the study in `folder`, or make sure that it is this one that lies there."""
    path = folder / "study.json"
    if not path.exists():
        leftovers = {p.name for p in folder.glob(".*.partial")}  # of a start that was killed
        if folder.exists() and (not folder.is_dir() or {p.name for p in folder.iterdir()} - {"locks"} - leftovers):
            raise RunError(
                f'"{folder}" is not empty and holds no study.',
                expected="a new folder, or one that `snellen tune` wrote",
                do="choose another --out",
            )
        files.write_json(path, facts)
        return
    there = files.read_json(path, error=RunError, do="choose another --out")
    names = {"recipe": "another recipe", "space": "another space", "fingerprint": "other images"}
    names |= {"storage": "another storage"}
    other = [words for name, words in names.items() if not isinstance(there, dict) or there.get(name) != facts[name]]
    if other:
        raise RunError(
            f"this folder holds a study with {' and '.join(other)}.",
            where=str(path),
            expected="the settings, data and storage that it was started with, to go on with it",
            do="choose another --out, or repeat the settings of the first command",
        )


def _write(ledger: "Ledger", summary: Callable[[], Study], *, with_page: bool) -> None:
    with ledger.lock:  # so that nobody writes an older view over a newer one
        study = summary()
        if study.best:
            study.recipe_of(study.best).save(study.folder / "best.json")
        if with_page:
            files.write_text(study.folder / "study.html", _page(study))


def _page(study: Study) -> str:
    ended = [trial for trial in study.trials if trial.state in ("complete", "pruned") and trial.accuracy is not None]
    points = [(trial.number, trial.accuracy or 0, trial.state == "complete") for trial in ended]
    history = figures.study_history(points) if points else ""
    curves = figures.study_curves([(trial.curve, trial.state == "complete") for trial in ended]) if ended else ""
    importances = figures.importances(study.importances) if study.importances else ""
    return pages.render(
        "study.html",
        study=study,
        history=history,
        curves=curves,
        importances=importances,
        describe=describe,
        started_with={name: show_value(getattr(study.recipe, name)) for name in study.space},
    )


def describe(settings: dict[str, Any]) -> str:
    """Settings for people: numbers to four digits. recipe.json has all of them."""
    return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={show_value(v)}" for k, v in settings.items())


def _ledger_module() -> Any:
    try:
        from snellen.training import ledger
    except ModuleNotFoundError as problem:
        if (problem.name or "").startswith("snellen"):
            raise
        raise SnellenError(
            f"{problem.name} is not installed.", where="snellen tune", do="pip install 'snellen[tune]'"
        ) from None
    return ledger
