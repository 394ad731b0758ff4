"""Cross-validation: which labelled images validate in which fold, and a fold as a view of the images."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from snellen.errors import DataError
from snellen.images.imageset import ImageSet
from snellen.images.splits import check_classes, ids_by_class, rank


def fold_numbers(
    ids: Sequence[str], labels: Sequence[str], num_folds: int, seed: int, groups: Sequence[Sequence[str]] = ()
) -> list[int]:
    """Return the fold in which each image validates, from 1 to num_folds, by position; 0: it trains in every fold.

    ids: of the labelled images, each once; labels: their classes, by position. groups: ids that stay together.
    The ids of each class are ranked by SHA-256 of "seed:id" and dealt out like cards, class after class, so neither the
    order of files nor the machine matters, and folds differ by at most one image, in all and in each class. Groups are
    dealt out before, the largest first; the other images then make up for their sizes as far as they can.
    A class with a single image, or with all images in one group, trains in every fold, so that every fold trains on
    every class.

    Raises DataError for fewer than two folds, more folds than images or groups, and fewer than two classes.
    """
    by_class = ids_by_class(ids, labels)
    check_classes(by_class)
    label_of = dict(zip(ids, labels, strict=True))
    hands = [sorted(group, key=lambda id: rank(id, seed)) for group in groups]
    hands.sort(key=lambda hand: (-len(hand), rank(hand[0], seed)))
    grouped = {id for hand in hands for id in hand}
    for label in sorted(by_class):
        hands += [[id] for id in sorted(by_class[label], key=lambda id: rank(id, seed)) if id not in grouped]
    if not 2 <= num_folds <= len(hands):
        raise DataError(
            f"{len(ids)} labelled images cannot be dealt into {num_folds} folds.",
            where="--folds",
            expected=f"a number from 2 to {len(hands)}, such as 5{', as groups stay together' if groups else ''}",
            do="choose another number of folds",
        )
    number_of: dict[str, int] = {}
    sizes, by_label = [0] * num_folds, {label: [0] * num_folds for label in by_class}
    for hand in hands:
        counts = Counter(label_of[id] for id in hand)
        # How far the fold has its share of the hand's classes already; for one class simply how many of it it holds.
        loads = [
            sum(num * by_label[label][n] / len(by_class[label]) for label, num in counts.items())
            for n in range(num_folds)
        ]
        chosen = min(range(num_folds), key=lambda n: (loads[n], sizes[n]))
        if any(by_label[label][chosen] + num == len(by_class[label]) for label, num in counts.items()):
            number_of |= dict.fromkeys(hand, 0)
            continue
        sizes[chosen] += len(hand)
        for label, num in counts.items():
            by_label[label][chosen] += num
        number_of |= dict.fromkeys(hand, chosen + 1)
    return [number_of[id] for id in ids]


def together(images: ImageSet) -> list[list[str]]:
    """Return groups of two or more labelled ids that stay on one side: duplicates, and the groups of --group-by.

    An image may be in a group of both kinds: groups that share an image are one.
    """
    here = set(images.ids[images.splits != "test"].tolist())
    merged: list[list[str]] = []
    place: dict[str, int] = {}
    for group in [*images.about.get("duplicates", []), *images.about.get("groups", [])]:
        members = [id for id in group if id in here]
        known = sorted({place[id] for id in members if id in place})
        into = known[0] if known else len(merged)
        if not known:
            merged.append([])
        parts = [merged[n] for n in known] + [members]
        merged[into] = list(dict.fromkeys(id for part in parts for id in part))
        for n in known[1:]:
            merged[n] = []
        place |= dict.fromkeys(merged[into], into)
    return [group for group in merged if len(group) > 1]


def fold(images: ImageSet, number: int, num_folds: int, seed: int) -> ImageSet:
    """Return the same images with other splits: the labelled ones of this fold are valid, all others train.

    number: from 1. The test images and the mean and std of the pixels stay those of `images`, so all folds' models take
    the same input. Fingerprint and about["fold"] tell the folds apart. Images that `prepare` grouped stay together.
    Raises what `fold_numbers` raises.
    """
    labelled = np.flatnonzero(images.splits != "test")
    names = [images.classes[label] for label in images.labels[labelled].tolist()]
    ids = images.ids[labelled].tolist()
    groups = together(images)
    numbers = np.array(fold_numbers(ids, names, num_folds, seed, groups), dtype=np.int64)
    splits = images.splits.copy()
    splits[labelled] = np.where(numbers == number, "valid", "train")
    which = {"number": number, "of": num_folds, "seed": seed, "images": images.fingerprint}
    text = f"{images.fingerprint}, fold {number} of {num_folds}, seed {seed}"
    if groups:
        which["groups"] = len(groups)
        text += f", together {json.dumps(groups)}"
    about = images.about | {"fold": which, "fingerprint": hashlib.sha256(text.encode()).hexdigest()}
    return replace(images, splits=splits, about=about)


def as_trained(images: ImageSet, about: dict[str, Any]) -> ImageSet:
    """Return the images with the splits that a run or model (its `about`) was trained with: those of its fold, if any.

    Without this a fold's "valid" would mean images that it has mostly trained on. Other images keep their splits.
    """
    which = about.get("fold")
    if not which or which["images"] != images.fingerprint:
        return images
    found = fold(images, which["number"], which["of"], which["seed"])
    return found if found.about["fold"] == which else images  # the same images may be prepared with groups and without


def seen(about: dict[str, Any], images: ImageSet, split: str) -> str:
    """Return whether a model (its `about`) was trained on this split of the images: "no", "yes" or "perhaps".

    Perhaps: it was made with other images, which may hold some of these. No model trains on test images.
    """
    if split == "test":
        return "no"
    if about.get("fingerprint") != images.fingerprint or "on" not in about:
        return "perhaps"
    return "yes" if split in about["on"].split("+") else "no"


def warning_of(about: dict[str, Any], images: ImageSet, split: str) -> str:
    """Return the warning beside a model's scores on a split that it has seen, or may have seen; "" if it has not."""
    return {
        "no": "",
        "yes": f"the model was trained on these {split} images. The scores show how well it remembers them, not how "
        "well it does on new ones.",
        "perhaps": "these are not the images that the model was made with. If some of them were among its training "
        "images, the scores are too good.",
    }[seen(about, images, split)]


def split_seed(images: ImageSet) -> int:
    """Return the seed with which `prepare` chose the valid images, by default 0. It chooses the folds as well.

    It is not the recipe's: recipes and their seeds are compared on the same folds.
    """
    return int((images.about.get("options") or {}).get("seed", 0))
