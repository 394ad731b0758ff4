"""CrossValidation: the folder of the runs of all folds, and their scores.

folds.json        how many folds of which images, and when done the scores over all of them
fold-1/, ...      one run each
out_of_fold.csv   when done: predictions for every labelled image by the model that did not train on it
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from snellen.errors import RunError
from snellen.images.folds import split_seed
from snellen.images.imageset import ImageSet
from snellen.runs.run import Run
from snellen.system import files
from snellen.system.contents import Contents
from snellen.system.folders import locked
from snellen.system.targets import check_folder

FOLDS = "folds.json"


def fold_folder(out: str | Path, number: int) -> Path:
    """Where the run of this fold (counted from 1) is."""
    return Path(out) / f"fold-{number}"


@dataclass(frozen=True)
class CrossValidation:
    """The folder of one cross-validation: a run for each fold, and what they say of all labelled images together."""

    folder: Path
    about: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> "CrossValidation":
        """Open a cross-validation, finished or not. Raises RunError where the folder holds none."""
        folder = Path(folder)
        about = files.read_json(folder / FOLDS, error=RunError, do="train the folds into another folder")
        types = {"fingerprint": str, "folds": int, "seed": int}
        if not isinstance(about, dict) or not all(type(about.get(name)) is kind for name, kind in types.items()):
            raise RunError(
                f'"{folder}" holds no cross-validation.', expected="a folder written by `snellen train DATA --folds K`"
            )
        return cls(folder, about)

    @classmethod
    def start(cls, folder: str | Path, images: ImageSet, num_folds: int) -> "CrossValidation":
        """Open the cross-validation in `folder` or begin one.

        Raises RunError for a folder that holds something else, or another cross-validation.
        """
        new = cls.of(folder, images, num_folds)
        folder, about = new.folder, new.about
        if not (folder / FOLDS).exists():
            check_folder(folder, Contents.FOLDS, "snellen train --folds")
            with locked(folder):  # two commands may begin at once
                if not (folder / FOLDS).exists():
                    new.save()
        found = cls.open(folder)
        if differing := [name for name in about if found.about[name] != about[name]]:
            said = {"fingerprint": "other images", "seed": f"folds by seed {found.about['seed']}"}
            raise RunError(
                f"this folder holds a cross-validation with "
                f"{said.get(differing[0], str(found.about['folds']) + ' folds')}.",
                where=str(folder),
                expected=f"{num_folds} folds of {images.folder} by seed {about['seed']}, to continue it",
                do="choose another --out, or repeat the settings of the first command",
            )
        return found

    @classmethod
    def of(cls, folder: str | Path, images: ImageSet, num_folds: int) -> "CrossValidation":
        """One that is about to begin; nothing is read or written."""
        return cls(Path(folder), {"fingerprint": images.fingerprint, "folds": num_folds, "seed": split_seed(images)})

    def with_scores(self, scores: dict[str, Any], rule: dict[str, Any]) -> "CrossValidation":
        """Return the same with scores and the average's decision rule; once saved, the cross-validation is done."""
        return replace(self, about=self.about | {"scores": scores, "rule": rule})

    def save(self) -> None:
        files.write_json(self.folder / FOLDS, self.about)

    @property
    def folders(self) -> list[Path]:
        """Of the folds' runs, in order, whether they exist or not."""
        return [fold_folder(self.folder, number) for number in range(1, self.about["folds"] + 1)]

    @property
    def runs(self) -> list[Run]:
        """One per fold. Raises RunError where one was not begun yet."""
        return [Run.open(folder) for folder in self.folders]

    @property
    def predictions(self) -> Path:
        """The CSV of out-of-fold predictions."""
        return self.folder / "out_of_fold.csv"

    @property
    def scores(self) -> dict[str, Any] | None:
        """Of all labelled images out of fold, and by fold; None while unfinished."""
        return self.about.get("scores")

    def __str__(self) -> str:
        text = f"{self.about['folds']} folds"
        if not self.scores:
            return f"{text}, unfinished"
        each = [100 * one["accuracy"] for one in self.scores["folds"]]
        return (
            f"{text}, accuracy {100 * self.scores['accuracy']:.2f}% on all {self.scores['images']:,} labelled images "
            f"(by fold {min(each):.2f} to {max(each):.2f}%, standard deviation {np.std(each, ddof=1):.2f})"
        )
