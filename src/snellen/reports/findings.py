"""The result of `check` as text, a page with pictures, or JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snellen.charts import pages
from snellen.errors import first_few
from snellen.images import oddities
from snellen.images.duplicates import SMALLEST, Pairs
from snellen.images.imageset import ImageSet
from snellen.images.labels import label_text
from snellen.reports.cards import Card, cards, suspect_cards
from snellen.scoring.label_errors import Suspects
from snellen.system.units import counted, percent

ENDINGS = (".html", ".json", ".txt")  # extensions that --out accepts
MOST_GROUPS, MOST_MEMBERS, MOST_OF_A_KIND, MOST_SUSPECTS = 80, 12, 12, 48  # shown on the page


@dataclass(frozen=True)
class Group:
    """Images that show the same picture."""

    index: np.ndarray  # int64 (n,): positions in the ImageSet, ascending
    exact: bool  # whether all are identical pixel for pixel
    splits: tuple[str, ...]  # splits that contain at least one of the images
    labels: tuple[str, ...]  # distinct labels of the images; two or more contradict each other


@dataclass(frozen=True, eq=False)
class Findings:
    """The result of `check`. Prints as a summary; `save` writes everything."""

    images: ImageSet
    groups: tuple[Group, ...]  # of duplicates: those with contradictory labels first, then those across splits
    pairs: Pairs  # of near duplicates
    odd: tuple[oddities.Odd, ...]
    counts: dict[str, dict[str, int]]  # class to split to number of images
    suspects: Suspects | None  # positions in the ImageSet; None without a model
    certainty: np.ndarray | None  # float32, the probability of the suggested class of each suspect
    basis: str  # the images that the model checked, and how reliable it is

    @property
    def conflicts(self) -> list[Group]:
        """Return the groups of duplicates whose labels contradict each other."""
        return [group for group in self.groups if len(group.labels) > 1]

    def leaked(self, split: str, into: str = "train") -> int:
        """Count the images of `split` that have a duplicate in `into`."""
        return sum(
            int((self.images.splits[group.index] == split).sum())
            for group in self.groups
            if split in group.splits and into in group.splits
        )

    @property
    def summary(self) -> list[tuple[str, str]]:
        """Return the searches and their findings, as pairs of name and text."""
        num, exact = sum(len(group.index) for group in self.groups), sum(group.exact for group in self.groups)
        text = f"{counted(num, 'image')} in {counted(len(self.groups), 'group')}, {exact:,} of them exact copies"
        if len(self.pairs):
            text += f"; {counted(int(self.pairs.mirrored.sum()), 'mirrored pair')}"
        if min(self.images.size) < SMALLEST:
            text += f"; images below {SMALLEST} pixels are not searched for near duplicates"
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
            lines.append((f"inside {split}", f"{counted(inside, 'group')} of two or more"))
        conflicts = self._first([group.index[0] for group in self.conflicts], "group")
        lines.append(("conflicts", f"{conflicts} with different labels"))
        for kind in dict.fromkeys(odd.kind for odd in self.odd):
            lines.append((kind, self._first([odd.index for odd in self.odd if odd.kind == kind], "image")))
        if not self.odd:
            lines.append(("odd images", "none"))
        lines.append(("classes", self._balance()))
        if self.suspects is not None:
            lines.append(("label errors", f"{self._first(self.suspects.index, 'label')} suspected. {self.basis}"))
        return lines

    def _first(self, index: Sequence[int] | np.ndarray, what: str) -> str:
        """Return the number of images and the first ids. Test images are marked: ids may repeat across splits."""
        ids, splits = self.images.ids, self.images.splits
        names = [f"{'test ' if splits[i] == 'test' else ''}{ids[i]}" for i in index[:3]]
        names += ["..."] if len(index) > 3 else []
        return counted(len(index), what) + (f" ({', '.join(names)})" if names else "")

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
        """Return all findings, ready for JSON; each image has its id, split, label and path."""

        def image(index: int) -> dict[str, str]:
            return {
                "id": str(self.images.ids[index]),
                "split": str(self.images.splits[index]),
                "label": label_text(self.images.labels[index], self.images.task.names)
                if self.images.has_label[index]
                else "",
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
                image(index) | suggestion
                for index, suggestion in zip(self.suspects.index, self._suggestions(), strict=True)
            ]
        return found

    def _suggestions(self) -> list[dict[str, Any]]:
        """Return the suggested class of each suspect; with several labels, whether it is missing or superfluous."""
        assert self.suspects is not None, "the caller checks"
        assert self.certainty is not None, "the caller checks"
        found: list[dict[str, Any]] = [
            {"suggested": self.images.task.names[k], "probability": round(float(p), 6)}
            for k, p in zip(self.suspects.suggested, self.certainty, strict=True)
        ]
        for one, is_extra in zip(
            found, self.suspects.is_extra if self.suspects.is_extra is not None else (), strict=False
        ):
            one["problem"] = "too many" if is_extra else "missing"
        return found

    def save(self, path: str | Path) -> Path:
        """Write a page with pictures (.html), all findings (.json) or the summary (.txt). Raises SnellenError."""
        makers = {
            ".html": lambda: pages.render("check.html", findings=self, **self._pictures()),
            ".json": self.to_dict,
            ".txt": self.__str__,
        }
        return pages.write(Path(path), "check", makers)

    def _pictures(self) -> dict[str, Any]:
        groups: list[tuple[Group, list[Card]]] = []
        for group in self.groups[:MOST_GROUPS]:
            groups.append((group, cards(self.images, group.index[:MOST_MEMBERS])))
        kinds = dict.fromkeys(one.kind for one in self.odd)
        odd = [one for kind in kinds for one in [o for o in self.odd if o.kind == kind][:MOST_OF_A_KIND]]
        suspects: list[Card] = []
        if self.suspects is not None and self.certainty is not None:
            suspects = suspect_cards(self.images, self.suspects, self.certainty, MOST_SUSPECTS)
        return {
            "groups": groups,
            "odd": cards(self.images, [one.index for one in odd], [f"{one.kind}: {one.why}" for one in odd]),
            "suspects": suspects,
            "splits": list(self.images.counts),
        }
