"""Record: the files that a training run writes, and its reports to the caller.

Of several processes only the first one writes and reports.
"""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from snellen.charts import figures
from snellen.errors import DivergedError, RunError
from snellen.models.classifier import Classifier
from snellen.models.model_file import load_model, save_model
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe, show_value
from snellen.runs.run import Epoch, Run
from snellen.scoring.metrics import METRICS
from snellen.system import files, processes
from snellen.system.contents import Contents, contents_of
from snellen.system.folders import locked
from snellen.system.progress import Progress
from snellen.system.targets import check_folder
from snellen.training.checkpoint import restore_checkpoint, save_checkpoint
from snellen.training.job import Job
from snellen.training.state import State

log = logging.getLogger("snellen")

CIRCUMSTANCES = (
    "device",
    "precision",
    "processes",
    "versions",
)  # in about.json: they can change the last bits of a result


class Record:
    """A run while it is being trained. Its methods are called in every process."""

    def __init__(
        self,
        run: Run,
        *,
        checkpoint_seconds: float,
        on_epoch: Callable[[Epoch], None] | None,
        on_progress: Progress | None,
    ):
        self.run = run
        self._is_first = processes.is_first()
        self._checkpoint_seconds = checkpoint_seconds
        self._saved_at = time.perf_counter()
        self.on_epoch, self.on_progress = (on_epoch, on_progress) if self._is_first else (None, None)

    @property
    def finished(self) -> bool:
        """Return whether training is complete; all processes get the answer of the first.

        Raises RunError in the first process if the model of a finished run is damaged.
        """
        is_finished = processes.answer_of_first(self._is_first and self.run.finished)
        if is_finished and self._is_first:
            load_model(self.run.model)
        return is_finished

    def restore(self, state: State) -> None:
        """Resume from the checkpoint, if there is one. Only the first process gets the sums of the unfinished epoch."""
        with processes.copy_of(self.run.checkpoint) as file:
            restore_checkpoint(file, state)
        processes.keep_in_first(state.sums)
        self._saved_at = time.perf_counter()

    def add_step(self, state: State, stage: str, done: int, total: int) -> None:
        """Report progress, and write a checkpoint if the last one is old. done, total: images in this epoch."""
        if not self._is_first:
            return
        if self.on_progress:
            self.on_progress(stage, done, total)
        if done < total and time.perf_counter() - self._saved_at > self._checkpoint_seconds:
            self._save_checkpoint(state)

    def add_epoch(self, row: Epoch, state: State) -> None:
        """End the epoch: write the metrics, their chart, the checkpoint, and the model if it is the best so far."""
        state.end_epoch(row)
        if not self._is_first:
            return
        if state.best_epoch == row["epoch"]:
            save_model(self.run.best, state.shown, **self._header(row, {}))
        save_metrics(self.run, state.rows)
        figures.save_history(state.rows, self.run.folder / "history.png", self.run.metric)
        self._save_checkpoint(state)
        if self.on_epoch:
            self.on_epoch(row)

    def best_model(self) -> Classifier:
        """Return the model of the best epoch so far, in every process."""
        with processes.copy_of(self.run.best) as file:
            return load_model(file)

    def finish(self, state: State, best: Classifier | None) -> None:
        """Finish the run: write the model, and `best` if it is from another epoch, and remove the checkpoint."""
        if not self._is_first:
            return
        save_model(self.run.model, state.shown, **self._header(state.rows[-1], state.shown.about))
        if best is not None:
            save_model(self.run.best, best, **self._header(state.rows[state.best_epoch - 1], best.about))
        else:
            self.run.best.unlink(missing_ok=True)  # the last epoch is the best
        self.run.checkpoint.unlink()

    def finish_at_once(self, row: Epoch, model: Classifier) -> None:
        """Write a run of a single epoch: metrics, chart and model."""
        if not self._is_first:
            return
        save_metrics(self.run, [row])
        figures.save_history([row], self.run.folder / "history.png", self.run.metric)
        save_model(self.run.model, model, **self._header(row, model.about))
        if self.on_epoch:
            self.on_epoch(row)

    def diverged(self, epoch: int) -> DivergedError:
        """Remove the checkpoint, from which training would diverge again, and return the error to raise."""
        if self._is_first:
            self.run.checkpoint.unlink(missing_ok=True)
        recipe = self.run.recipe
        usual = [preset.peak_lr for preset in PRESETS.values() if preset.model == recipe.model] or [Recipe.peak_lr]
        lower = min(recipe.peak_lr / 4, *usual)
        return DivergedError(
            f"the training loss is infinite or not a number in epoch {epoch}.",
            where=str(self.run.folder),
            expected="a loss that falls",
            do=f"lower the learning rate, for example: --set peak_lr={lower:g}, with another --out",
        )

    def _save_checkpoint(self, state: State) -> None:
        save_checkpoint(self.run.checkpoint, state)
        self._saved_at = time.perf_counter()

    def _header(self, row: Epoch, fitted: dict[str, Any]) -> dict[str, Any]:
        """Return the header of the model file. It has no timestamps, so equal training runs write equal bytes.

        fitted: the entries fitted after the last epoch, such as the decision rule.
        """
        about = self.run.about
        facts = ("epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", self.run.metric.column)
        return {
            "recipe": self.run.recipe.to_dict(),
            "on": about["on"],
            "fingerprint": about["fingerprint"],
            **({"fold": about["fold"]} if "fold" in about else {}),
            "scores": {name: row[name] for name in facts if name in row},
            **fitted,
        }


@contextlib.contextmanager
def recording(out: str | Path, job: Job, **reports: Any) -> Iterator[Record]:
    """Open or start the run in `out`, and lock its folder. reports: the other arguments of Record.

    Raises RunError if the folder holds anything but this job's run, or if another process is training in it.
    """
    if not processes.is_first():  # its machine may not have access to the folder
        yield Record(Run(Path(out), job.recipe, job.about), **reports)
        return
    run = start_run(out, job.recipe, job.about)
    with locked(run.folder):
        if not run.finished:
            note_circumstances(run, job.about)
        yield Record(run, **reports)


def start_run(out: str | Path, recipe: Recipe, about: dict[str, Any]) -> Run:
    """Open the run in `folder`, or start one. about: the content of about.json.

    Raises RunError if the folder holds something else, or a run with another recipe, other images or other splits.
    """
    folder = Path(out)
    if contents_of(folder) not in (Contents.RUN, Contents.UNFINISHED_RUN):
        check_folder(folder, Contents.RUN, "snellen train", begun=frozenset({"recipe.json"}))
        with locked(folder):  # two commands may start at the same time, with different recipes
            if not (folder / "about.json").exists():
                recipe.save(folder / "recipe.json")
                about = about | {"recipe_sha256": _recipe_digest(folder)}
                files.write_json(folder / "about.json", about)  # last: from here on the folder is a run
    run = Run.open(folder)
    if run.about.get("recipe_sha256", digest := _recipe_digest(folder)) != digest:
        raise RunError(
            "recipe.json was changed after the run had started.",
            where=str(folder / "recipe.json"),
            expected="the settings that the finished epochs were trained with",
            do="put the file back, or train with the new settings in another --out",
        )
    _check_same(run, recipe, about)
    return run


def _recipe_digest(folder: Path) -> str:
    return hashlib.sha256((folder / "recipe.json").read_bytes()).hexdigest()


def save_metrics(run: Run, rows: list[Epoch]) -> None:
    """Write the rows of all finished epochs."""
    files.write_text(run.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def note_circumstances(run: Run, about: dict[str, Any]) -> None:
    """Warn if a run is resumed with other versions, threads or processes, and record them in about.json."""
    facts = {name: about[name] for name in CIRCUMSTANCES}
    last = run.about.get("continued", [run.about])[-1]
    if all(last.get(name, fact) == fact for name, fact in facts.items()):
        return
    before, now = ({**about, **about.get("versions", {}), "versions": ""} for about in (last, facts))
    changed = [f"{name} was {before.get(name)}, is now {now[name]}" for name in now if now[name] != before.get(name)]
    log.warning("resuming in a different environment; the result may differ in the last bits: %s", "; ".join(changed))
    run.about["continued"] = [*run.about.get("continued", []), facts]
    files.write_json(run.folder / "about.json", run.about)


def threads_of(folder: str | Path) -> int | None:
    """Return the number of threads of the unfinished run in this folder, if there is one."""
    if contents_of(Path(folder)) is not Contents.UNFINISHED_RUN:
        return None
    about = Run.open(folder).about
    threads = about.get("continued", [about])[-1].get("versions", {}).get("threads")
    return threads if isinstance(threads, int) else None


def _check_same(run: Run, recipe: Recipe, about: dict[str, Any]) -> None:
    """Raise RunError unless the run was started with this recipe and these data."""
    problem = ""
    if differing := run.recipe.differences(recipe):
        problem = "another recipe: " + ", ".join(
            f"{name} was {show_value(mine)}, is now {show_value(new)}" for name, (mine, new) in differing.items()
        )
    elif run.about.get("fold") != about.get("fold"):
        problem = f"other folds: it trained {_fold(run.about)}, now {_fold(about)}"
    elif run.about["fingerprint"] != about["fingerprint"]:
        problem = "other images"
    elif run.about["on"] != about["on"]:
        problem = f"other splits: it trained on {run.about['on']}, now {about['on']}"
    elif (before := run.metric.name) != (now := about.get("metric", "accuracy")):
        problem = f"another metric: it was {before}, is now {now}"
        if before not in METRICS:
            problem += f" ({before} is a Python function: pass it again, metric={before})"
    elif _digest(run.about, "init") != _digest(about, "init"):
        problem = "other initial weights"
    elif _digest(run.about, "calibrated_by") != _digest(about, "calibrated_by"):
        problem = "its temperature from another model"
    if problem:
        raise RunError(
            f"this folder holds a run with {problem}.",
            where=str(run.folder),
            expected="the settings and data it was started with, to continue it",
            do="choose another --out, or repeat the settings of the first command",
        )


def _digest(about: dict[str, Any], role: str) -> str | None:
    """Return the digest of the model that a training run started from, or was calibrated by."""
    model = about.get(role)
    return model["sha256"] if isinstance(model, dict) else model


def _fold(about: dict[str, Any]) -> str:
    fold = about.get("fold")
    return f"fold {fold['number']} of {fold['of']} by seed {fold['seed']}" if fold else "no fold"
