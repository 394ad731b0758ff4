"""The trials of a study, in Optuna's storage: who works on which, how they end, and what is tried next.

Several processes share one ledger. Each holds a lock file of the trial it works on, which the system lets go of however
the process ends: a running trial whose lock is free was left behind, and whoever comes next goes on with it. For trials
of other machines, known through a database alone, the last sign of life decides.
"""

import itertools
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from snellen.errors import RunError, SnellenError
from snellen.training.search_space import Choices, Range, Space, size_of, steps_of

log = logging.getLogger("snellen")
optuna.logging.set_verbosity(optuna.logging.WARNING)

JOURNAL = "journal.jsonl"
SIGN_SECONDS = 60  # between signs of life that other machines see
SILENT_SECONDS = 900  # after which another machine takes a trial over; clocks may differ by minutes
STARTUP = 10  # trials drawn at random before the sampler trusts what it has seen
COUNTABLE = 10_000  # recipes in a space of which the untried ones are looked up


@dataclass(frozen=True)
class Entry:
    """One trial, as the ledger has it."""

    number: int
    state: str  # complete, pruned, failed or running
    settings: dict[str, Any]  # the values drawn
    accuracy: float | None  # on valid; of a pruned trial the last one seen
    curve: dict[int, float]  # percent of training done to accuracy
    seconds: float  # of training
    note: str  # why it failed


class Claim:
    """A trial that this process works on. Others leave it alone until the claim is released."""

    def __init__(self, trial: optuna.Trial, lock: FileLock, shared: bool) -> None:
        self.number, self.settings = trial.number, trial.params
        self._trial, self._lock, self._shared, self._signed = trial, lock, shared, 0.0
        self._seen = dict(self._frozen().intermediate_values)
        self.sign()

    def sign(self) -> None:
        """Tell other machines, now and then, that somebody works on this."""
        if self._shared and time.monotonic() - self._signed > SIGN_SECONDS:
            self._signed = time.monotonic()
            with self._mine():
                self._trial.set_user_attr("seen", time.time())

    def report(self, percent: int, accuracy: float) -> None:
        """Add a point to the curve; one that is there already stays."""
        if percent not in self._seen:
            self._seen[percent] = accuracy
            with self._mine():
                self._trial.report(accuracy, percent)

    def is_weak(self) -> bool:
        """Whether the curve lies below the median of the others so far."""
        return self._trial.should_prune()

    def end(self, state: str, seconds: float, *, accuracy: float | None = None, note: str = "") -> None:
        """state: complete (with its accuracy), pruned or failed."""
        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        with self._mine():
            self._trial.set_user_attr("seconds", seconds)
            if note:
                self._trial.set_user_attr("note", note)
            self._trial.study.tell(self.number, accuracy, state=states[state])

    def release(self) -> None:
        self._lock.release()

    def _frozen(self) -> FrozenTrial:
        return next(t for t in self._trial.study.get_trials(deepcopy=False) if t.number == self.number)

    @contextmanager
    def _mine(self) -> Iterator[None]:
        try:
            yield
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            if self._frozen().state == TrialState.RUNNING:
                raise
            raise RunError(
                f"trial {self.number} was taken over by another machine: nothing was heard of it for "
                f"{SILENT_SECONDS // 60} minutes.",
                do="run the same command again to go on with another trial",
            ) from None


class Ledger:
    """The trials of the study in `folder`; those of other machines as well where `storage` is a database's URL.

    first: settings to try before any that are drawn. Raises SnellenError where the storage cannot be used.
    """

    def __init__(self, folder: Path, name: str, space: Space, first: dict[str, Any], seed: int, storage: str | None):
        self.folder, self.space, self.seed, self.shared = folder, space, seed, storage is not None
        self._distributions = {field: _distribution(values) for field, values in space.items()}
        self._locks = folder / "locks"
        self._locks.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self._locks / "study")  # short: while a trial is chosen, or a summary written
        with self.lock:
            self._study = optuna.create_study(
                storage=_journal(folder) if storage is None else _database(storage),
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                # A quarter of the training says something; before four others are done there is nothing to compare.
                pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=25),
            )
            if first and not self._trials():
                self._study.enqueue_trial(first, skip_if_exists=True)

    def claim(self, most: int | None) -> Claim | None:
        """A trial to work on: one left behind by a process that died, or a new one while there are fewer than `most`.

        None where there is nothing left to do. Machines that share a database and ask in the same moment may begin one
        trial too many; processes that share the folder never do.
        """
        with self.lock:
            for trial in self._trials(TrialState.RUNNING):
                if lock := self._taken_over(trial):
                    log.info("going on with trial %d", trial.number)
                    return self._claimed(trial, lock)
            if most is not None and len(self._trials(*_COUNTED)) >= most:
                return None
            while True:
                # Like all that is random here a function of the position, so that a study can be repeated. Machines
                # that may ask at once must not draw the same.
                key = (self.seed, len(self._trials())) if not self.shared else tuple(os.urandom(8))
                seed = int(np.random.SeedSequence(key).generate_state(1)[0])
                self._study.sampler = optuna.samplers.TPESampler(
                    seed=seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True
                )
                asked = self._study.ask(self._distributions)
                if not self._is_repeated(asked.number, asked.params):
                    return self._claimed(asked, self._trial_lock(asked.number))
                self._leave_out(asked.number)
                if not self._enqueue_untried(seed):
                    return None

    def entries(self) -> list[Entry]:
        """All trials but those that became others, by number."""
        return [_entry(trial) for trial in self._trials(*_COUNTED)]

    def importances(self) -> dict[str, float]:
        """How much each setting decides whether a trial is among the better quarter; together 1. Empty for few trials.

        Source: Watanabe, Bansal & Hutter, "PED-ANOVA", arXiv:2304.10255.
        """
        done = [entry for entry in self.entries() if entry.state == "complete"]
        if len(done) < 8 or len({entry.accuracy for entry in done}) < 2:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
        return optuna.importance.get_param_importances(self._study, evaluator=evaluator)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        found = self._study.get_trials(deepcopy=False, states=states or None)
        return [t for t in found if "left_out" not in t.user_attrs] if states else found

    def _taken_over(self, trial: FrozenTrial) -> FileLock | None:
        """The lock of a running trial whose process is gone; None for one that somebody works on."""
        here = (self._locks / f"{trial.number:04}").exists()
        if self.shared and not here:
            self._requeue_if_silent(trial)
            return None
        try:
            return self._trial_lock(trial.number)
        except Timeout:
            return None

    def _requeue_if_silent(self, trial: FrozenTrial) -> None:
        """Another machine's folder cannot be gone on with: its settings are tried again under a new number."""
        begun = trial.datetime_start.timestamp() if trial.datetime_start else time.time()
        if time.time() - trial.user_attrs.get("seen", begun) < SILENT_SECONDS:
            return
        try:
            self._leave_out(trial.number)
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            return  # its machine, or another one, was faster
        log.warning("trial %d was left behind by another machine: its settings are tried again", trial.number)
        self._study.enqueue_trial(trial.params)

    def _trial_lock(self, number: int) -> FileLock:
        lock = FileLock(self._locks / f"{number:04}")
        lock.acquire(timeout=0)
        return lock

    def _claimed(self, trial: FrozenTrial | optuna.Trial, lock: FileLock) -> Claim:
        trial = optuna.Trial(self._study, trial._trial_id)
        for name, distribution in self._distributions.items():  # all there, but where a process died between two
            trial._suggest(name, distribution)
        return Claim(trial, lock, self.shared)

    def _is_repeated(self, number: int, settings: dict[str, Any]) -> bool:
        return any(t.params == settings for t in self._trials(*_COUNTED) if t.number != number)

    def _leave_out(self, number: int) -> None:
        trial = next(t for t in self._trials() if t.number == number)
        self._study._storage.set_trial_user_attr(trial._trial_id, "left_out", True)
        self._study.tell(number, state=TrialState.FAIL)

    def _enqueue_untried(self, seed: int) -> bool:
        """Put one of the recipes that were never drawn next; False where there are none."""
        if not 0 < size_of(self.space) <= COUNTABLE:
            return True
        tried = [t.params for t in self._trials(*_COUNTED)]
        steps = [steps_of(values) for values in self.space.values()]
        every = (dict(zip(self.space, values, strict=True)) for values in itertools.product(*steps))
        untried = [settings for settings in every if settings not in tried]
        if untried:
            self._study.enqueue_trial(untried[np.random.default_rng(seed).integers(len(untried))])
        else:
            log.info("all %d recipes of the space were tried", size_of(self.space))
        return bool(untried)


_COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)
_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}


def _entry(trial: FrozenTrial) -> Entry:
    curve = {int(percent): accuracy for percent, accuracy in sorted(trial.intermediate_values.items())}
    accuracy = trial.value if trial.state == TrialState.COMPLETE else curve[max(curve)] if curve else None
    facts = trial.user_attrs
    state = _STATES[trial.state.name]
    return Entry(trial.number, state, trial.params, accuracy, curve, facts.get("seconds", 0.0), facts.get("note", ""))


def _distribution(values: Range | Choices) -> BaseDistribution:
    if isinstance(values, Choices):
        return CategoricalDistribution(values.values)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _journal(folder: Path) -> BaseStorage:
    """A file of one line per fact. A line that a killed process or a full disk cut short is taken away first."""
    path = folder / JOURNAL
    lock = _JournalLock(folder / "locks" / "journal")
    lock.acquire()
    try:
        data = path.read_bytes() if path.exists() else b""
        if not data.endswith(b"\n") and data:
            log.warning("the last line of %s was cut short and is left out", path)
            os.truncate(path, data.rfind(b"\n") + 1)
    finally:
        lock.release()
    try:
        if whole_lines := data[: data.rfind(b"\n") + 1].splitlines():
            # Optuna looks at the last line only when another one follows it. Decoded here: json would take a line with
            # zeros in it for UTF-16.
            json.loads(whole_lines[-1].decode())
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))  # type: ignore[arg-type]
    except OSError:
        raise
    except Exception as problem:  # Optuna replays the lines as they are: nearly anything can come of a damaged one
        raise RunError(
            f"the study's journal is damaged: {problem}.", where=str(path), do="put back a copy of it, or start anew"
        ) from None


class _JournalLock:
    """Optuna's own lock is a file that a killed process leaves behind, for 30 seconds; this one goes with it."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def _database(url: str) -> BaseStorage:
    from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    try:
        # A connection for each question: one kept through a long training would be dead when it is needed.
        make = partial(RDBStorage, url, engine_kwargs={"poolclass": NullPool})
        try:
            return make()
        except (IntegrityError, ProgrammingError):  # another machine is making the tables in this moment
            time.sleep(3)
            return make()
    except ImportError as problem:
        raise SnellenError(
            f"the database's driver is not installed: {problem}.",
            where=f"--storage {without_password(url)}",
            do="install it, for example: pip install 'psycopg[binary]' for PostgreSQL, pip install pymysql for MySQL",
        ) from None
    except (SQLAlchemyError, ValueError, RuntimeError) as problem:
        first = str(problem).splitlines()[0].replace(url, without_password(url))
        raise SnellenError(
            f"the database cannot be used: {first}",
            where=f"--storage {without_password(url)}",
            expected="a URL such as postgresql+psycopg://user:password@host/database",
            do="check the URL and that the server can be reached; without --storage the study is a file in its folder",
        ) from None


def without_password(url: str) -> str:
    return re.sub(r"(//[^:/@]*):[^/]*@", r"\1:***@", url)
