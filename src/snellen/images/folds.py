"""Cross-validation: assign labelled images to folds, and view the images as one fold."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from snellen.images.imageset import ImageSet
from snellen.images.labels import names_of
from snellen.images.ranks import rank
from snellen.images.splits import check_classes, ids_by_class
from snellen.images.stratify import folds_of_several
from snellen.images.too_few import check_num_folds


def fold_numbers(
    ids: Sequence[str], labels: Sequence[str], num_folds: int, seed: int, groups: Sequence[Sequence[str]] = ()
) -> list[int]:
    """Return the validation fold of each image, from 1 to num_folds, by position; 0 if it trains in every fold.

    ids: the distinct ids of the labelled images; labels: their classes, by position. groups: ids that stay together.
    The ids of each class are ranked by SHA-256 of "seed:id" and dealt like cards, class by class. The result does not
    depend on the order of files or the machine, and folds differ by at most one image, in total and per class. Groups
    are dealt first, the largest first; the other images then balance their sizes as far as possible.
    A class with a single image, or with all images in one group, trains in every fold, so that every fold trains on
    every class.

    Raises DataError for fewer than two folds, more folds than images or groups, or fewer than two classes.
    """
    by_class = ids_by_class(ids, labels)
    check_classes(by_class)
    label_of = dict(zip(ids, labels, strict=True))
    hands = [sorted(group, key=lambda id: rank(id, seed)) for group in groups]
    hands.sort(key=lambda hand: (-len(hand), rank(hand[0], seed)))
    grouped = {id for hand in hands for id in hand}
    for label in sorted(by_class):
        hands += [[id] for id in sorted(by_class[label], key=lambda id: rank(id, seed)) if id not in grouped]
    check_num_folds(num_folds, len(ids), len(hands), have_groups=bool(groups))
    number_of: dict[str, int] = {}
    sizes, by_label = [0] * num_folds, {label: [0] * num_folds for label in by_class}
    for hand in hands:
        counts = Counter(label_of[id] for id in hand)
        # How full the fold is for the classes of this hand; for a single class simply its count.
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
    """Return groups of two or more labelled ids that must stay together: duplicates, and the groups of --group-by.

    Groups that share an image are merged.
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
    """Return the same images with the splits of a fold: its labelled images are valid, all others train.

    number: from 1. The test images and the mean and std of the pixels stay those of `images`, so the models of
    all folds take the same input. The fingerprint and about["fold"] identify the fold. Images that `prepare` grouped
    stay together. Raises DataError as `fold_numbers` does.
    """
    labelled = np.flatnonzero(images.splits != "test")
    names = [names_of(label, images.classes) for label in images.labels[labelled]]
    ids = images.ids[labelled].tolist()
    groups = together(images)
    if images.task.has_several:
        found = folds_of_several(ids, names, num_folds, seed, groups)
    else:
        found = fold_numbers(ids, [name for [name] in names], num_folds, seed, groups)
    numbers = np.array(found, dtype=np.int64)
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
    """Return the images with the splits used to train a run or model (its `about`): those of its fold, if any.

    Otherwise "valid" would be mostly images that a model of a fold was trained on. Other images keep their splits.
    """
    which = about.get("fold")
    if not which or which["images"] != images.fingerprint:
        return images
    found = fold(images, which["number"], which["of"], which["seed"])
    return found if found.about["fold"] == which else images  # the same images may be prepared with and without groups


def seen(about: dict[str, Any], images: ImageSet, split: str) -> str:
    """Return whether a model (its `about`) was trained on this split of the images: "no", "yes" or "perhaps".

    Perhaps: it was trained on other images, which may include some of these. No model trains on test images.
    """
    if split == "test":
        return "no"
    if about.get("fingerprint") != images.fingerprint or "on" not in about:
        return "perhaps"
    return "yes" if split in about["on"].split("+") else "no"


def warning_of(about: dict[str, Any], images: ImageSet, split: str) -> str:
    """Return the warning for scores on a split that the model was, or may have been, trained on; otherwise ""."""
    return {
        "no": "",
        "yes": f"the model was trained on these {split} images. The scores show how well it remembers them, not how "
        "well it does on new images.",
        "perhaps": "these are not the prepared images that the model was trained on. If some of them were among its "
        "training images, the scores are too high.",
    }[seen(about, images, split)]


def split_seed(images: ImageSet) -> int:
    """Return the seed with which `prepare` chose the valid images (default 0), which also decides the folds.

    It is separate from the recipe's seed, so that recipes and seeds are compared on the same folds.
    """
    return int((images.about.get("options") or {}).get("seed", 0))
