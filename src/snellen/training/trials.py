"""The trials of a study in Optuna's database: which settings to try next, how trials end, which are retried.

Workers share the database. While a trial runs, its worker sends heartbeats. If they stop, Optuna marks the trial as
failed and queues a retry; `Trials` does the same for an interrupted trial. In the database a retry has a new number.
Here it keeps the number of the original, so that it resumes the Run in that trial's folder.
"""

import contextlib
import itertools
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from snellen.errors import RunError
from snellen.system.folders import waited_for
from snellen.training.search_space import Choices, Range, Space, size_of, steps_of
from snellen.training.study import Done, Ended, Trial
from snellen.training.study_database import connected, refused

log = logging.getLogger("snellen")
optuna.logging.set_verbosity(optuna.logging.ERROR)  # failures are on the study's page and in the log

LOCK = "study.lock"
STARTUP = 10  # trials drawn at random before the sampler uses earlier results
COUNTABLE = 10_000  # up to this many recipes in a space, untried ones are looked up

# Attributes of a trial in the database.
BEGUN = "begun"  # the number of the attempt's row
SECONDS = "seconds"  # of training; missing if the trial was interrupted
NOTE = "note"
INTERVAL = "interval"
LEFT_OUT = "left_out"  # repeats another trial or exceeds the number of trials, so does not count


class Attempt:
    """A trial that this worker is running."""

    def __init__(self, trial: optuna.Trial, number: int, settings: dict[str, Any]) -> None:
        self.number, self.settings = number, settings
        self._trial, self._reported = trial, set[int]()

    def report(self, percent: int, score: float) -> None:
        """Add a point to the trial's curve, unless there is one at this percentage."""
        if percent not in self._reported:
            self._reported.add(percent)
            self._trial.report(score, percent)

    def is_weak(self) -> bool:
        """Return whether the curve is worse than the median of the others so far."""
        return self._trial.should_prune()


class Trials:
    """The trials of one study, for one worker."""

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        seed: int,
        lock: contextlib.AbstractContextManager,
        heartbeat_seconds: int,
        local: bool,
    ):
        self._study, self._space, self._seed, self._heartbeat_seconds = study, space, seed, heartbeat_seconds
        self.lock = lock  # hold it only briefly: while settings are drawn, or a summary is written
        self._is_local = local
        self._retry = RetryHeartbeatStaleTrialCallback()

    def all(self) -> list[Trial]:
        """Return the trials by number. A retry replaces its original."""
        trials = []
        for number, frozen in dict(self._numbered()).items():
            is_new = frozen.state == TrialState.WAITING and not _is_retry(frozen)
            is_interrupted = frozen.state == TrialState.FAIL and SECONDS not in frozen.user_attrs
            if not (is_new or is_interrupted or LEFT_OUT in frozen.user_attrs):
                trials.append(_trial(number, frozen))
        return trials

    def is_left(self, most: int | None) -> bool:
        """Return whether a trial is queued, or whether one can be added without exceeding `most`.

        First requeues the trials of killed workers.
        """
        optuna.storages.fail_stale_trials(self._study)
        self._queue_unheard()
        if self._frozen(TrialState.WAITING):
            return True
        trials = self.all()
        if 0 < size_of(self._space) <= len({str(trial.settings) for trial in trials}):
            log.info("all %d recipes in the space have been tried", size_of(self._space))
            return False
        return most is None or len(trials) < most

    def run(self, work: Callable[[Attempt], Done], most: int | None) -> None:
        """Run the next trial, up to `most` in all.

        work: trains the trial, or raises Ended. Any other exception interrupts the trial, which
        is then queued to be resumed. Raises RunError if another worker has taken it over.
        """
        begun: list[int] = []

        def objective(trial: optuna.Trial) -> float:
            begun.append(trial.number)
            attempt = self._begin(trial, most)
            try:
                done = work(attempt)
            except Ended as end:
                _note(trial, end.seconds, end.note)
                if end.state == "pruned":
                    raise optuna.TrialPruned from None
                raise
            trial.set_user_attr(INTERVAL, done.interval)
            _note(trial, done.seconds)
            return done.score

        self._study.sampler = optuna.samplers.TPESampler(
            seed=self._draw_seed(), n_startup_trials=STARTUP, multivariate=True, constant_liar=True
        )
        try:
            self._study.optimize(objective, n_trials=1, catch=(Ended,))
        except BaseException:
            if begun:
                self._queue_interrupted(begun[0])
            raise

    def importances(self) -> dict[str, float]:
        """Return how much each setting matters for being in the best quarter. Sums to 1; empty if there are few trials.

        Source: Watanabe, Bansal & Hutter, "PED-ANOVA", arXiv:2304.10255.
        """
        done = [trial for trial in self.all() if trial.state == "complete"]
        if len(done) < 8 or len({trial.score for trial in done}) < 2:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
        return optuna.importance.get_param_importances(self._study, evaluator=evaluator)

    def _frozen(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _numbered(self) -> Iterator[tuple[int, FrozenTrial]]:
        """Yield each row of the database with the number of its trial; retries follow their original."""
        numbers: dict[int, int] = {}
        for frozen in self._frozen():
            yield numbers.setdefault(_original(frozen), len(numbers)), frozen

    def _draw_seed(self) -> int:
        """Return a seed that depends on the position, so that studies are repeatable but machines draw differently."""
        key = (self._seed, len(dict(self._numbered()))) if self._is_local else tuple(os.urandom(8))
        return int(np.random.SeedSequence(key).generate_state(1)[0])

    def _begin(self, trial: optuna.Trial, most: int | None) -> Attempt:
        """Return new settings. Raises Ended for a trial that repeats another or exceeds the number of trials."""
        number, frozen = next(row for row in self._numbered() if row[1].number == trial.number)
        with self.lock:
            settings = {name: _suggest(trial, name, values) for name, values in self._space.items()}
            trial.set_user_attr(BEGUN, trial.number)
            if not _is_retry(frozen):
                others = [other for other in self.all() if other.number != number]
                is_repeat = any(other.settings == settings for other in others)
                # Workers that draw at the same time may exceed the number of trials: the highest numbers are dropped.
                if is_repeat or (most is not None and sum(other.number < number for other in others) >= most):
                    trial.set_user_attr(LEFT_OUT, True)
                    if is_repeat:
                        self._queue_untried(others)
                    raise Ended("failed", 0.0)
        if _is_retry(frozen):
            log.info("resuming trial %d", number)
        return Attempt(trial, number, settings)

    def _queue_untried(self, trials: list[Trial]) -> None:
        """Queue an untried recipe, if the space is small enough to list."""
        if 0 < size_of(self._space) <= COUNTABLE:
            tried = [trial.settings for trial in trials]
            steps = [steps_of(values) for values in self._space.values()]
            every = (dict(zip(self._space, values, strict=True)) for values in itertools.product(*steps))
            if untried := [settings for settings in every if settings not in tried]:
                self._study.enqueue_trial(untried[np.random.default_rng(self._draw_seed()).integers(len(untried))])

    def _queue_interrupted(self, row: int) -> None:
        number, frozen = next((number, frozen) for number, frozen in self._numbered() if frozen.number == row)
        if dict(self._numbered())[number].number != row:
            raise RunError(
                f"trial {number} was taken over by another worker: there was no heartbeat from this one for "
                f"{2 * self._heartbeat_seconds} seconds.",
                do="run the same command again to continue with another trial",
            ) from None
        if frozen.state == TrialState.FAIL:
            self._retry(self._study, frozen)

    def _queue_unheard(self) -> None:
        """Requeue the trials of workers killed before the first heartbeat, which Optuna never treats as stale."""
        for frozen in self._frozen(TrialState.RUNNING):
            started = frozen.datetime_start or datetime.now()
            is_old = datetime.now() - started > timedelta(seconds=2 * self._heartbeat_seconds)
            if is_old and frozen.user_attrs.get(BEGUN) != frozen.number:
                with contextlib.suppress(ValueError):  # the trial has just ended
                    self._retry(self._study, self._study.tell(frozen.number, state=TrialState.FAIL))


@contextlib.contextmanager
def opened(
    folder: Path,
    name: str,
    space: Space,
    *,
    first: dict[str, Any],
    seed: int,
    greater_is_better: bool = True,
    storage: str | None,
    heartbeat_seconds: int,
) -> Iterator[Trials]:
    """Open the trials of the study `name` in `folder`/study.db, or in the database with the URL `storage`.

    first: settings to try before any are drawn. greater_is_better: the direction of the scores.
    Raises SnellenError if the database cannot be used.
    """
    lock = waited_for(folder / LOCK)
    with warnings.catch_warnings():
        # Heartbeats and retries are experimental in Optuna. The tests would catch a change.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        with lock:
            database = connected(folder, storage, heartbeat_seconds)
            try:
                study = optuna.create_study(
                    storage=database,
                    study_name=name,
                    direction="maximize" if greater_is_better else "minimize",
                    load_if_exists=True,
                    # A trial is judged after a quarter of its training, once there are four others to compare with.
                    pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=25),
                )
                if not study.get_trials(deepcopy=False) and first:
                    study.enqueue_trial(first, skip_if_exists=True)
            except Exception as problem:  # reading damaged rows can raise almost any exception
                raise refused(problem, folder, storage) from None
        try:
            yield Trials(study, space, seed, lock, heartbeat_seconds, storage is None)
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as problem:
            raise refused(problem, folder, storage) from None


def _original(frozen: FrozenTrial) -> int:
    number = RetryHeartbeatStaleTrialCallback.retried_trial_number(frozen)
    return frozen.number if number is None else number


def _is_retry(frozen: FrozenTrial) -> bool:
    return _original(frozen) != frozen.number


def _suggest(trial: optuna.Trial, name: str, values: Range | Choices) -> Any:
    if isinstance(values, Choices):
        return trial.suggest_categorical(name, values.values)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return trial.suggest_int(name, values.low, values.high, log=values.log)
    return trial.suggest_float(name, values.low, values.high, log=values.log)


def _note(trial: optuna.Trial, seconds: float, note: str = "") -> None:
    if note:
        trial.set_user_attr(NOTE, note)
    trial.set_user_attr(SECONDS, seconds)


STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


def _trial(number: int, frozen: FrozenTrial) -> Trial:
    curve = {int(percent): score for percent, score in sorted(frozen.intermediate_values.items())}
    score = frozen.value if frozen.state == TrialState.COMPLETE else curve[max(curve)] if curve else None
    facts = frozen.user_attrs
    low, high = facts.get(INTERVAL) or (None, None)
    return Trial(
        number,
        STATES[frozen.state.name],
        frozen.params,
        score,
        curve,
        facts.get(SECONDS, 0.0),
        facts.get(NOTE, ""),
        None if low is None or high is None else (low, high),
    )
