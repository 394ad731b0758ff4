"""What `check` found: as text, as a page with pictures, as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snellen.charts import pages
from snellen.errors import first_few
from snellen.images import oddities
from snellen.images.duplicates import SMALLEST, Pairs
from snellen.images.imageset import UNLABELLED, ImageSet
from snellen.reports.cards import Card, cards
from snellen.scoring.label_errors import Suspects
from snellen.system import files
from snellen.system.units import percent

ENDINGS = (".html", ".json", ".txt")  # of what `--out` may name
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
