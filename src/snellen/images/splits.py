"""Which labelled images are for validation. It depends on ids, labels, share and seed, on nothing else."""

import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from fractions import Fraction

from snellen.errors import DataError, first_few
from snellen.sources.rows import Row

log = logging.getLogger("snellen")


def choose_valid(
    ids: Sequence[str], labels: Sequence[str], valid_share: float, seed: int, only_train: Collection[str] = ()
) -> set[str]:
    """Choose, for each class, max(1, floor(n * valid_share)) ids, where n is the size of the smallest class.

    ids: of the labelled images, each once; labels: their classes, by position. only_train: ids that are not chosen.
    The ids of a class are ranked by SHA-256 of "seed:id", so neither the order of files nor the machine matters, and
    adding images moves few of the others. The share is taken as the decimal it is written as: 0.29 of 100 are 29.

    Raises DataError for a share outside (0, 1), for fewer than two classes, for a class with one image and for one
    that is left with too few to choose from.
    Source of the count: the d2l chapter on Kaggle's CIFAR-10, function reorg_train_valid.
    """
    if not 0 < valid_share < 1:
        raise DataError(
            f"the share of images for validation is {valid_share}.",
            where="--valid-share",
            expected="a number between 0 and 1, such as 0.1",
            do="give another share",
        )
    by_class = ids_by_class(ids, labels, takes_single=True)
    if single := sorted(label for label, members in by_class.items() if len(members) == 1):
        log.warning(
            "%d classes have a single image, which is used only for training, first %s", len(single), first_few(single)
        )
        by_class = {label: members for label, members in by_class.items() if len(members) > 1}
    if not by_class:
        raise DataError(
            f"each of the {len(single)} classes has a single image.",
            expected="at least two images of some classes: one to train on and one for validation",
            do="add images",
        )
    smallest = min(len(members) for members in by_class.values())
    num_valid = max(1, math.floor(smallest * Fraction(str(valid_share))))
    chosen = set()
    for label, members in by_class.items():
        ranked = [id for id in sorted(members, key=lambda id: rank(id, seed)) if id not in only_train]
        if len(ranked) < num_valid:
            raise DataError(
                f'only {len(ranked)} of the {len(members)} images of "{label}" have no duplicate.',
                where="--group-duplicates",
                expected=f"{num_valid} or more, for validation",
                do="give a smaller --valid-share, or leave --group-duplicates out",
            )
        chosen.update(ranked[:num_valid])
    return chosen


def ids_by_class(ids: Sequence[str], labels: Sequence[str], *, takes_single: bool = False) -> dict[str, list[str]]:
    """Return the ids of each class. Raises DataError for fewer than two classes, and for a class with one image."""
    by_class = defaultdict(list)
    for id, label in zip(ids, labels, strict=True):
        by_class[label].append(id)
    check_classes(by_class)
    single = sorted(label for label, members in by_class.items() if len(members) == 1)
    if single and not takes_single:
        raise DataError(
            f"{len(single)} of {len(by_class)} classes have a single image, first {first_few(single)}.",
            expected="at least two images of each class: one to train on and one for validation",
            do="add images of these classes, or leave the classes out",
        )
    return by_class


def rank(id: str, seed: int) -> bytes:
    """What ids are ordered by where chance should choose among them: SHA-256 of "seed:id"."""
    return hashlib.sha256(f"{seed}:{id}".encode()).digest()


def check_classes(classes: Collection[str]) -> None:
    """Raise DataError unless there are at least two classes."""
    if not classes:
        raise DataError("there are no labelled images.", expected="images of two classes or more")
    if len(classes) < 2:
        raise DataError(
            f"all labelled images are of one class, {first_few(classes)}.",
            expected="two classes or more: there is nothing to tell apart",
            do="check the labels: is this the right file, and the right column?",
        )


def splits_of(rows: Sequence[Row], valid_share: float, seed: int, only_train: Collection[str] = ()) -> list[str]:
    """The split of each row: the one its source gives it, otherwise by `choose_valid`. Raises DataError."""
    undecided = [row for row in rows if row.split is None]
    valid = set()
    if undecided:
        ids, labels = [row.id for row in undecided], [row.label or "" for row in undecided]
        valid = choose_valid(ids, labels, valid_share, seed, only_train)
    else:
        check_classes({row.label for row in rows if row.split != "test" and row.label is not None})
    return [row.split or ("valid" if row.id in valid else "train") for row in rows]
