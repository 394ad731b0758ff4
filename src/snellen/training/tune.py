"""Verb: search for the recipe that suits these images best. Every trial is a Run.

study.json      recipe, space, metric and data, which must be the same for all workers
study.db        the trials, unless they are in another database
trials/0007     the Run of trial 7
best.json       the recipe of the best trial so far
study.html      history, importance of settings, the best recipes
"""

import dataclasses
import hashlib
import json
import logging
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from snellen.errors import DivergedError, OutOfMemoryError, RecipeError, RunError, SnellenError
from snellen.images.imageset import ImageSet
from snellen.models.classifier import build_network
from snellen.prediction.evaluate import evaluate, judged
from snellen.runs.named_recipes import find_recipe
from snellen.runs.recipe import Recipe
from snellen.runs.run import Epoch, Run, valid_value
from snellen.scoring.metrics import Metric, MetricLike, stored
from snellen.system import files
from snellen.system.contents import Contents, contents_of
from snellen.system.progress import Progress
from snellen.system.targets import check_folder
from snellen.system.units import minutes
from snellen.training.choose_recipe import default_recipe
from snellen.training.search_space import Choices, Space, default_space, parse_space, start_of
from snellen.training.study import Done, Ended, Study, Trial, describe, run_folder, study_page
from snellen.training.train import train

if TYPE_CHECKING:
    from snellen.training.trials import Attempt, Trials

log = logging.getLogger("snellen")

TRIALS = 20  # default if there is no budget
PAGE_SECONDS = 30  # between two updates of the page during the trials
HOPELESS = 3  # failures without a single success after which a study stops
HEARTBEAT_SECONDS = 60


@dataclass(frozen=True, eq=False)
class Search:
    """What all trials of a call have in common."""

    folder: Path
    images: ImageSet
    recipe: Recipe  # that the trials vary
    space: Space
    metric: Metric
    deadline: float | None  # on the clock of time.monotonic
    device: str | None
    on_epoch: Callable[[Epoch], None] | None
    on_progress: Progress | None

    def study(self, ongoing: "Trials") -> Study:
        """Return the results so far."""
        trials, importances = tuple(ongoing.all()), ongoing.importances()
        return Study(self.folder, self.images, self.recipe, self.space, self.metric, trials, importances)


def tune(
    images: ImageSet | str | Path,
    out: str | Path,
    *,
    trials: int | None = None,
    space: Sequence[str] = (),
    metric: MetricLike | None = None,
    budget: float | None = None,
    storage: str | None = None,
    recipe: Recipe | str | Path | None = None,
    device: str | None = None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_progress: Progress | None = None,
) -> Study:
    """Train variants of `recipe`, chosen by the validation scores of earlier ones, and stop weak ones early.

    recipe: by default the preset that suits the images. trials: the number of trials in the whole study; by default 20
    if there is no budget. budget: the time for this call, in seconds; an unfinished trial keeps its checkpoint. space:
    "field=low..high" and "field=a,b,c" vary, "field=value" is fixed; by default a region around the recipe. metric: as
    in `train`; a trial's score is that of `evaluate`. storage: the URL of a database shared by machines.
    heartbeat_seconds: the interval between heartbeats in the database. After twice that time without one, a worker
    counts as killed and another one resumes its trial.

    Calling it again resumes a stopped study. Calls in several processes share the work. Training a trial's recipe again
    is bit-for-bit identical. Needs Optuna. Raises RunError if the folder holds another study, DataError on disk errors.
    """
    started = time.monotonic()
    with_optuna, database = _optuna_modules()
    images, judged_by = judged(images if isinstance(images, ImageSet) else ImageSet.open(images), metric)
    images.select("train"), images.select("valid")  # fail now: without them every trial would
    base, chosen = parse_space(space, default_recipe(images, device=device) if recipe is None else find_recipe(recipe))
    chosen = chosen or default_space(base)
    _check(base, chosen, images, trials, budget)
    deadline = None if budget is None else started + budget
    search = Search(Path(out), images, base, chosen, judged_by, deadline, device, on_epoch, on_progress)
    facts = _facts(search, database.shown(storage))
    with (
        files.disk_errors(search.folder),
        with_optuna.opened(
            search.folder,
            _start(search.folder, facts),
            chosen,
            first=start_of(base, chosen),
            seed=base.seed,
            greater_is_better=judged_by.greater_is_better,
            storage=storage,
            heartbeat_seconds=heartbeat_seconds,
        ) as ongoing,
    ):
        _work_through(search, ongoing, TRIALS if trials is None and budget is None else trials)
        study = search.study(ongoing)
    if num := study.count("running"):
        log.info(
            "%d trials are running in other processes; if those were killed, the same command resumes them in %s",
            num,
            minutes(2 * heartbeat_seconds),
        )
    return study


def _work_through(search: Search, ongoing: "Trials", most: int | None) -> None:
    """Run trials until the number or the time is spent, and keep the best recipe and the page up to date."""
    written = time.monotonic()
    try:
        while _fits(ongoing.all(), search.deadline) and ongoing.is_left(most):
            ongoing.run(lambda attempt: _train(attempt, search), most)
            _give_up_if_hopeless(ongoing.all())
            is_due = time.monotonic() - written > PAGE_SECONDS
            _write(search, ongoing, with_page=is_due)
            written = time.monotonic() if is_due else written
    except _OutOfTimeError:
        log.info("the budget is spent; the same command resumes the trial")
    finally:
        _write(search, ongoing, with_page=True)


class _OutOfTimeError(Exception):
    """Signals that the budget ran out during a trial."""


def _train(attempt: "Attempt", search: Search) -> Done:
    """Train one trial to the end and return its result.

    Raises Ended if the trial is weak or fails. After any other exception it can be resumed.
    """
    log.info("trial %d: %s", attempt.number, describe(attempt.settings))
    seconds: dict[int, float] = {}  # by epoch: an epoch missing from the checkpoint is repeated
    metric = search.metric

    def ended(state: str, note: str = "") -> Ended:
        log.info("trial %d: %s after %d epochs%s", attempt.number, state, len(seconds), f": {note}" if note else "")
        return Ended(state, sum(seconds.values()), note)

    def each_epoch(row: Epoch, *, is_new: bool = True) -> None:
        seconds[row["epoch"]] = row["seconds"]
        if is_new and search.on_epoch:
            search.on_epoch(row)
        # Percent, not epochs, to compare trials of different lengths at the same point of their schedules.
        done, value = 100 * row["epoch"] // recipe.num_epochs, valid_value(row, metric)
        if math.isnan(value):
            return
        attempt.report(done, value)
        if done < 100 and attempt.is_weak():
            raise ended("pruned")

    def each_step(stage: str, done: int, total: int) -> None:
        if search.on_progress:
            search.on_progress(stage, done, total)
        if search.deadline is not None and time.monotonic() > search.deadline:
            raise _OutOfTimeError

    try:
        recipe = dataclasses.replace(search.recipe, **attempt.settings)
        out = run_folder(search.folder, attempt.number)
        is_resumed = contents_of(out) in (Contents.RUN, Contents.UNFINISHED_RUN)
        for row in Run.open(out).metrics if is_resumed else []:
            each_epoch(row, is_new=False)
        run = train(
            search.images, recipe, out, metric=metric, device=search.device, on_epoch=each_epoch, on_progress=each_step
        )
        scores = evaluate(run, search.images, metric=metric, device=search.device)
    except DivergedError as problem:
        # Count it as pruned, and as the weakest trial, to keep the sampler away from it.
        raise ended("pruned", problem.what) from None
    except (RecipeError, OutOfMemoryError) as problem:
        raise ended("failed", problem.what) from None
    if scores["value"] is None:
        raise ended("failed", f"{metric.name} is undefined on these {scores['images']} valid images")
    log.info("trial %d: %s %s after %d epochs", attempt.number, metric.name, metric.show(scores["value"]), len(seconds))
    return Done(scores["value"], sum(seconds.values()), (scores["value_low"], scores["value_high"]))


def _fits(trials: Sequence[Trial], deadline: float | None) -> bool:
    """Return whether a trial of the usual length can end in time. The first trial may always start."""
    if deadline is None or not trials:
        return True
    usual = statistics.median([trial.seconds for trial in trials if trial.state == "complete"] or [0.0])
    if time.monotonic() + usual < deadline:
        return True
    log.info("no time for another trial: a trial takes about %s", minutes(usual))
    return False


def _give_up_if_hopeless(trials: Sequence[Trial]) -> None:
    failed = [trial for trial in trials if trial.state == "failed"]
    if len(failed) >= HOPELESS and not any(trial.state in ("complete", "pruned") for trial in trials):
        raise RunError(
            f"{len(failed)} trials failed and none succeeded; the last: {failed[-1].note}",
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


def _facts(search: Search, storage: str) -> dict[str, Any]:
    """Return the content of study.json: everything that all workers must agree on, and where the images are."""
    facts: dict[str, Any] = {"recipe": search.recipe.to_dict()}
    facts |= {"space": {name: str(values) for name, values in search.space.items()}}
    facts |= {"fingerprint": search.images.fingerprint} | stored(search.metric)
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    facts |= {"storage": storage, "data": str(search.images.folder)}
    # The name in the database; machines that share one must agree on it.
    return facts | {"name": f"{search.folder.resolve().name}-{digest}"}


def _start(folder: Path, facts: dict[str, Any]) -> str:
    """Begin the study in `folder`, or make sure that the folder holds this study. Return its name."""
    path = folder / "study.json"
    if not path.exists():
        check_folder(folder, Contents.STUDY, "snellen tune")
        files.write_json(path, facts)
        return facts["name"]
    there = files.read_json(path, error=RunError, do="choose another --out")
    names = {"recipe": "another recipe", "space": "another space", "fingerprint": "other images"}
    names |= {"storage": "another storage", "metric": "another metric"}
    different = [
        words for name, words in names.items() if not isinstance(there, dict) or there.get(name) != facts[name]
    ]
    if different:
        raise RunError(
            f"this folder holds a study with {' and '.join(different)}.",
            where=str(path),
            expected="the settings, data, metric and storage of the first command",
            do="choose another --out, or repeat the settings of the first command",
        )
    return str(there.get("name", facts["name"]))  # also if the folder was renamed since


def _write(search: Search, ongoing: "Trials", *, with_page: bool) -> None:
    with ongoing.lock:  # otherwise an older view could replace a newer one
        study = search.study(ongoing)
        if study.best:
            study.recipe_of(study.best).save(study.folder / "best.json")
        if with_page:
            files.write_text(study.folder / "study.html", study_page(study))


def _optuna_modules() -> Any:
    try:
        from snellen.training import study_database, trials
    except ModuleNotFoundError as problem:
        if (problem.name or "").startswith("snellen"):
            raise
        raise SnellenError(
            f"{problem.name} is not installed.", where="snellen tune", do="pip install 'snellen[tune]'"
        ) from None
    return trials, study_database
