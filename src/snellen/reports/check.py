"""ImageSet -> what is wrong with it: duplicates, leaks between splits, conflicting labels, odd images, label errors."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snellen.charts import pages
from snellen.errors import DataError, RunError, first_few
from snellen.images import oddities
from snellen.images.choices import SPLITS
from snellen.images.duplicates import SMALLEST, Pairs, exact_copies, joined, near_pairs
from snellen.images.folds import as_trained, seen
from snellen.images.imageset import UNLABELLED, ImageSet
from snellen.prediction.predictions import Predictions
from snellen.reports.cards import Card, cards
from snellen.runs.run import Run
from snellen.scoring.label_errors import Suspects, label_errors
from snellen.system import files
from snellen.system.progress import Progress
from snellen.system.units import percent

ENDINGS = (".html", ".json", ".txt")  # of what `--out` may name
log = logging.getLogger("snellen")

MOST_GROUPS, MOST_MEMBERS, MOST_OF_A_KIND, MOST_SUSPECTS = 80, 12, 12, 48  # shown on the page


@dataclass(frozen=True)
class Group:
    """Images that show the same picture."""

    index: np.ndarray  # int64 (n,): positions in the ImageSet, rising
    exact: bool  # pixel for pixel, all of them
    splits: tuple[str, ...]  # that have any of them
    labels: tuple[str, ...]  # that any of them has; two or more contradict each other


@dataclass(frozen=True, eq=False)
class Findings:
    """What `check` found. Prints as a summary; `save` writes all of it."""

    images: ImageSet
    groups: tuple[Group, ...]  # of duplicates: first those with contradicting labels, then those across splits
    pairs: Pairs  # the near duplicates among them
    odd: tuple[oddities.Odd, ...]
    counts: dict[str, dict[str, int]]  # class to split to number of images
    suspects: Suspects | None  # None where no model was asked; positions in the ImageSet
    certainty: np.ndarray | None  # float32, of each suspect: the probability of the suggested class
    basis: str  # which images the model was asked about, and why it can be believed

    @property
    def conflicts(self) -> list[Group]:
        """Groups of duplicates whose labels contradict each other."""
        return [group for group in self.groups if len(group.labels) > 1]

    def leaked(self, split: str, into: str = "train") -> int:
        """How many images of `split` have a duplicate in another split."""
        return sum(
            int((self.images.splits[group.index] == split).sum())
            for group in self.groups
            if split in group.splits and into in group.splits
        )

    @property
    def summary(self) -> list[tuple[str, str]]:
        """What was looked for, and what was found."""
        num, exact = sum(len(group.index) for group in self.groups), sum(group.exact for group in self.groups)
        text = f"{num:,} images in {len(self.groups):,} groups, {exact:,} of them exact copies"
        if len(self.pairs):
            text += f"; {int(self.pairs.mirrored.sum()):,} pairs are mirrored"
        if min(self.images.size) < SMALLEST:
            text += f"; near ones are not looked for in images below {SMALLEST} pixels"
        lines = [("duplicates", text)]
        for split, into in (("valid", "train"), ("test", "train"), ("test", "valid")):
            if split in self.images.counts and into in self.images.counts:
                leaked, total = self.leaked(split, into), self.images.counts[split]
                share = percent(leaked / total)
                lines.append(
                    (f"{split} in {into}", f"{leaked:,} of {total:,} {split} images ({share}) have a duplicate there")
                )
        for split in self.images.counts:
            inside = sum(int((self.images.splits[group.index] == split).sum() > 1) for group in self.groups)
            lines.append((f"inside {split}", f"{inside:,} groups of two or more"))
        conflicts = self._first([group.index[0] for group in self.conflicts], "groups")
        lines.append(("conflicts", f"{conflicts} hold different labels"))
        for kind in dict.fromkeys(odd.kind for odd in self.odd):
            lines.append((kind, self._first([odd.index for odd in self.odd if odd.kind == kind], "images")))
        if not self.odd:
            lines.append(("odd images", "none"))
        lines.append(("classes", self._balance()))
        if self.suspects is not None:
            lines.append(("label errors", f"{self._first(self.suspects.index, 'labels')} are suspected. {self.basis}"))
        return lines

    def _first(self, index: Sequence[int] | np.ndarray, what: str) -> str:
        """How many there are and the first ids; those of test images, which a labelled one may have too, said to be."""
        ids, splits = self.images.ids, self.images.splits
        names = [f"{'test ' if splits[i] == 'test' else ''}{ids[i]}" for i in index[:3]]
        return f"{len(index):,} {what}" + (f" ({', '.join(names)}{', ...' if len(index) > 3 else ''})" if names else "")

    def _balance(self) -> str:
        totals = {name: sum(by_split.values()) for name, by_split in self.counts.items()}
        least, most = min(totals, key=totals.__getitem__), max(totals, key=totals.__getitem__)
        text = f"{len(totals)}, of {totals[least]:,} ({least}) to {totals[most]:,} images ({most})"
        if totals[least] == totals[most]:
            text = f"{len(totals)}, each of {totals[most]:,} images"
        for split in ("train", "valid"):
            missing = [name for name, by_split in self.counts.items() if not by_split.get(split)]
            if missing and split in self.images.counts:
                text += f"; {len(missing)} without {split} images, first {first_few(missing)}"
        return text

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.summary)
        return "\n".join([str(self.images), *(f"{name:{width}}  {text}" for name, text in self.summary)])

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON: every image by id, split, label and path."""

        def image(index: int) -> dict[str, str]:
            label = self.images.labels[index]
            return {
                "id": str(self.images.ids[index]),
                "split": str(self.images.splits[index]),
                "label": "" if label == UNLABELLED else self.images.classes[label],
                "path": str(self.images.paths[index]),
            }

        found: dict[str, Any] = {
            "fingerprint": self.images.fingerprint,
            "images": self.images.counts,
            "summary": dict(self.summary),
            "classes": self.counts,
            "duplicates": [
                {"exact": group.exact, "conflict": len(group.labels) > 1, "images": [image(i) for i in group.index]}
                for group in self.groups
            ],
            "odd": [image(odd.index) | {"kind": odd.kind, "why": odd.why} for odd in self.odd],
        }
        if self.suspects is not None and self.certainty is not None:
            found["basis"] = self.basis
            found["label_errors"] = [
                image(index) | {"suggested": self.images.classes[suggested], "probability": round(float(p), 6)}
                for index, suggested, p in zip(
                    self.suspects.index, self.suspects.suggested, self.certainty, strict=True
                )
            ]
        return found

    def save(self, path: str | Path) -> Path:
        """Write a page with the pictures (.html), everything (.json) or the summary (.txt). Raises SnellenError."""
        path = Path(path)
        pages.check_page(path, "check", *ENDINGS)
        if path.suffix == ".html":
            files.write_text(path, pages.render("check.html", findings=self, **self._pictures()))
        elif path.suffix == ".json":
            files.write_json(path, {"made_by": pages.mark("check"), **self.to_dict()})
        else:
            files.write_text(path, f"made by {pages.mark('check')}\n{self}\n")
        return path

    def _pictures(self) -> dict[str, Any]:
        groups: list[tuple[Group, list[Card]]] = []
        for group in self.groups[:MOST_GROUPS]:
            groups.append((group, cards(self.images, group.index[:MOST_MEMBERS])))
        kinds = dict.fromkeys(one.kind for one in self.odd)
        odd = [one for kind in kinds for one in [o for o in self.odd if o.kind == kind][:MOST_OF_A_KIND]]
        suspects: list[Card] = []
        if self.suspects is not None and self.certainty is not None:
            guesses = [
                f"looks like {self.images.classes[k]}, {percent(p, 1)}"
                for k, p in zip(self.suspects.suggested[:MOST_SUSPECTS], self.certainty[:MOST_SUSPECTS], strict=True)
            ]
            suspects = cards(self.images, self.suspects.index[:MOST_SUSPECTS], guesses)
        return {
            "groups": groups,
            "odd": cards(self.images, [one.index for one in odd], [f"{one.kind}: {one.why}" for one in odd]),
            "suspects": suspects,
            "splits": list(self.images.counts),
        }


def check(
    images: ImageSet | str | Path,
    *,
    run: Run | Predictions | str | Path | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    on_progress: Progress | None = None,
) -> Findings:
    """Look through images for what ruins a result: see `duplicates`, `oddities` and `label_errors` for the rules.

    run: a run on these images, asked for likely label errors among the valid images it did not train on; or predictions
    (or their .csv) that were made for labelled images by models that had not trained on them, fold by fold.
    out: a page with the pictures (.html), everything (.json) or the summary (.txt).
    Raises DataError where the predictions have other classes or ids, RunError for a run on other images.
    """
    images = images if isinstance(images, ImageSet) else ImageSet.open(images)
    if out is not None:
        pages.check_page(Path(out), "check", *ENDINGS, source=images.source)
    pixels = images.stored if len(images) == len(images.stored) else images.pixels()
    copies = exact_copies(pixels)
    pairs = near_pairs(pixels, copies, on_progress=on_progress)
    groups = _groups(images, copies, pairs)
    odd = oddities.find(pixels, on_progress=on_progress)
    suspects, certainty, basis = None, None, ""
    if run is not None:
        guesses, index, basis = _guesses(images, run, device, on_progress)
        within = label_errors(guesses, images.labels[index])
        certainty = guesses[within.index, within.suggested]
        suspects = Suspects(index[within.index], within.suggested)
    findings = Findings(images, groups, pairs, odd, _counts(images), suspects, certainty, basis)
    if out is not None:
        findings.save(out)
    return findings


def _groups(images: ImageSet, copies: np.ndarray, pairs: Pairs) -> tuple[Group, ...]:
    repeated = np.flatnonzero(copies != np.arange(len(copies)))
    root = joined(len(copies), np.append(repeated, pairs.first), np.append(copies[repeated], pairs.second))
    order = np.argsort(root, kind="stable")
    starts = np.flatnonzero(np.diff(root[order], prepend=-1))
    found = []
    for index in np.split(order, starts[1:]):
        if len(index) < 2:
            continue
        labels = np.unique(images.labels[index])
        names = tuple(images.classes[label] for label in labels if label != UNLABELLED)
        splits = tuple(split for split in SPLITS if (images.splits[index] == split).any())
        found.append(Group(index, len({*copies[index].tolist()}) == 1, splits, names))
    return tuple(sorted(found, key=lambda group: (-len(group.labels), -len(group.splits), -len(group.index))))


def _counts(images: ImageSet) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {name: {} for name in images.classes}
    for split in images.counts:
        labels = images.labels[(images.splits == split) & (images.labels != UNLABELLED)]
        for name, number in zip(images.classes, np.bincount(labels, minlength=len(images.classes)), strict=True):
            if len(labels):
                found[name][split] = int(number)
    return found


def _guesses(
    images: ImageSet, run: Run | Predictions | str | Path, device: str | None, on_progress: Progress | None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Probabilities (n, classes) of images that the model had not seen, their positions, and what to say of them."""
    if isinstance(run, (str, Path)) and Path(run).suffix == ".csv":
        run = Predictions.open(run)
    if isinstance(run, Predictions):
        index = _positions(images, run)
        return run.probabilities, index, f"Asked were predictions for {len(index):,} labelled images."
    from snellen.prediction.predict import predict  # here, so that looking for duplicates loads no torch

    run = run if isinstance(run, Run) else Run.open(run)
    run.check_finished()
    images = as_trained(images, run.about)
    if run.about["fingerprint"] != images.fingerprint:
        raise RunError(
            "the run was made with other images, so it may have been trained on any of these.",
            where=str(run.folder),
            expected=f"a run on {images.folder}",
            do="train on these images first, or leave the run out",
        )
    if seen(run.about, images, "valid") == "yes":
        raise RunError(
            "the run was trained on all labelled images, so it contradicts none of their labels.",
            where=str(run.folder),
            expected="a run made with --on train, or out-of-fold predictions",
            do="name the run that was validated",
        )
    guesses = predict(run, images, split="valid", device=device, on_progress=on_progress)
    index = np.flatnonzero(images.splits == "valid")
    agrees = percent(float((guesses.labels == images.labels[index]).mean()), 1)
    basis = f"{run.folder.name} was asked about the {len(index):,} valid images only, as it was trained on the others; "
    basis += f"it agrees with {agrees} of their labels."
    return guesses.probabilities, index, basis


def _positions(images: ImageSet, guesses: Predictions) -> np.ndarray:
    """int64 (n,): where the predicted images lie among the labelled ones. Raises DataError."""
    if guesses.classes != images.classes:
        raise DataError(
            f"the predictions are over {len(guesses.classes)} classes, first {first_few(guesses.classes)}.",
            expected=f"the {len(images.classes)} classes of {images.folder}, first {first_few(images.classes)}",
            do="predict these images with a model trained on them",
        )
    place = {str(images.ids[i]): i for i in np.flatnonzero(images.labels != UNLABELLED).tolist()}
    if unknown := [id for id in guesses.ids.tolist() if id not in place]:
        raise DataError(
            f"{len(unknown)} of {len(guesses)} predicted ids are of no labelled image, first {first_few(unknown)}.",
            expected=f"ids of labelled images of {images.folder}",
            do="name predictions for labelled images, made by models that had not trained on them",
        )
    return np.array([place[id] for id in guesses.ids.tolist()], dtype=np.int64)
