"""Run: the folder that one training writes, and how it is saved and restored.

recipe.json             every setting
about.json              which data and splits, versions, machine, device and why
metrics.jsonl           one line per finished epoch
history.png             the same as a picture
checkpoint.safetensors  while unfinished: all that going on takes; gone when the run is done
model.safetensors       when done: the model of the last epoch
best.safetensors        the model of the epoch with the best validation accuracy, when that is another epoch
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snellen.errors import RunError
from snellen.runs.recipe import Recipe, show_value
from snellen.system import files
from snellen.system.contents import Contents, check_holds, contents_of
from snellen.system.folders import locked
from snellen.system.targets import check_folder

log = logging.getLogger("snellen")

Epoch = dict[str, Any]  # one epoch's figures
CIRCUMSTANCES = ("device", "precision", "processes", "versions")  # of about.json: what bits depend on besides


@dataclass(frozen=True)
class Run:
    """One training: its folder, recipe and facts."""

    folder: Path
    recipe: Recipe
    about: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Open a run, finished or not. Raises RunError where the folder holds none."""
        folder = Path(folder)
        check_holds(folder, Contents.RUN, Contents.UNFINISHED_RUN, error=RunError)
        about = files.read_json(folder / "about.json", error=RunError, do="train again into another folder")
        if not isinstance(about, dict) or not all(isinstance(about.get(name), str) for name in ("fingerprint", "on")):
            raise RunError(
                f'"{folder}" does not hold a run: its about.json belongs to something else.',
                expected="a folder written by `snellen train`",
            )
        return cls(folder, Recipe.open(folder / "recipe.json"), about)

    @classmethod
    def start(cls, folder: str | Path, recipe: Recipe, about: dict[str, Any]) -> "Run":
        """Open the run in `folder` or begin one.

        Raises RunError for a folder that holds something else, or a run made with another recipe, data or splits.
        """
        folder = Path(folder)
        if contents_of(folder) not in (Contents.RUN, Contents.UNFINISHED_RUN):
            check_folder(folder, Contents.RUN, "snellen train", begun=frozenset({"recipe.json"}))
            with locked(folder):  # two commands may begin at once, with two recipes
                if not (folder / "about.json").exists():
                    recipe.save(folder / "recipe.json")
                    files.write_json(folder / "about.json", about)  # last: from here on the folder is a run
        run = cls.open(folder)
        run._refuse_if_other(recipe, about)
        return run

    def _refuse_if_other(self, recipe: Recipe, about: dict[str, Any]) -> None:
        other = ""
        if differing := self.recipe.differences(recipe):
            other = "another recipe: " + ", ".join(
                f"{name} was {show_value(mine)}, is now {show_value(new)}" for name, (mine, new) in differing.items()
            )
        elif self.about.get("fold") != about.get("fold"):
            other = f"other folds: it trained {_fold(self.about)}, now {_fold(about)}"
        elif self.about["fingerprint"] != about["fingerprint"]:
            other = "other images"
        elif self.about["on"] != about["on"]:
            other = f"other splits: it trained on {self.about['on']}, now {about['on']}"
        elif _values(self.about, "init") != _values(about, "init"):
            other = "other first weights"
        elif _values(self.about, "calibrated_by") != _values(about, "calibrated_by"):
            other = "its temperature from another model"
        if other:
            raise RunError(
                f"this folder holds a run with {other}.",
                where=str(self.folder),
                expected="the settings and data it was started with, to continue it",
                do="choose another --out, or repeat the settings of the first command",
            )

    def note_circumstances(self, about: dict[str, Any]) -> None:
        """Write down, and warn, where a run goes on with other versions, threads or processes than it began with."""
        facts = {name: about[name] for name in CIRCUMSTANCES}
        last = self.about.get("continued", [self.about])[-1]
        if all(last.get(name, fact) == fact for name, fact in facts.items()):
            return
        before, now = ({**about, **about.get("versions", {}), "versions": ""} for about in (last, facts))
        changed = [
            f"{name} was {before.get(name)}, is now {now[name]}" for name in now if now[name] != before.get(name)
        ]
        log.warning("this run goes on otherwise than before; alone, neither gives its bits: %s", "; ".join(changed))
        self.about["continued"] = [*self.about.get("continued", []), facts]
        files.write_json(self.folder / "about.json", self.about)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process. Raises RunError when another one trains in it."""
        with locked(self.folder):
            yield

    @property
    def metrics(self) -> list[Epoch]:
        """One row per finished epoch."""
        try:
            lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
            for row in rows:
                for value in row.values():
                    value + float(value)  # only a number can do that
            return rows
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as problem:
            raise RunError(
                f"the metrics are damaged: {problem}.",
                where=str(self.folder / "metrics.jsonl"),
                do="put back a copy of it, or train again into another folder"
                if self.finished
                else "delete the file and run the same training again: it is written anew from the checkpoint",
            ) from None

    def save_metrics(self, rows: list[Epoch]) -> None:
        files.write_text(self.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def model(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def best(self) -> Path:
        """Of another epoch than the last one; not there where the last one is the best."""
        return self.folder / "best.safetensors"

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done and the model written."""
        return self.model.exists() and not self.checkpoint.exists()

    def check_finished(self) -> None:
        """Raise RunError where the last epoch is not done."""
        if not self.finished:
            raise RunError(
                f"the run is not finished: {len(self.metrics)} of {self.recipe.num_epochs} epochs are done.",
                where=str(self.folder),
                do="give the command that started it once more; it goes on where it stopped",
            )

    def __str__(self) -> str:
        rows = self.metrics
        text = f"{self.recipe.model} on {self.about['on']}, {len(rows)} of {self.recipe.num_epochs} epochs"
        if rows:
            shown = {"train_loss": "train loss", "train_accuracy": "train accuracy", "valid_accuracy": "valid accuracy"}
            text += "; " + ", ".join(f"{word} {rows[-1][key]:.4f}" for key, word in shown.items() if key in rows[-1])
        return text

    def __repr__(self) -> str:
        return f"<Run {self.folder}: {self}>"


def _values(about: dict[str, Any], role: str) -> str | None:
    """The digest of the model that a training began from, or was calibrated by."""
    model = about.get(role)
    return model["sha256"] if isinstance(model, dict) else model


def _fold(about: dict[str, Any]) -> str:
    which = about.get("fold")
    return f"fold {which['number']} of {which['of']} by seed {which['seed']}" if which else "no fold"
