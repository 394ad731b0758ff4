"""Cross-validation: which labelled images validate in which fold, and a fold as a view of the images."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from snellen.errors import DataError, first_few
from snellen.images.imageset import ImageSet
from snellen.images.splits import ids_by_class, rank


def fold_numbers(
    ids: Sequence[str], labels: Sequence[str], num_folds: int, seed: int, groups: Sequence[Sequence[str]] = ()
) -> list[int]:
    """The fold in which each image validates, from 1 to num_folds, by position.

    ids: of the labelled images, each once; labels: their classes, by position. groups: ids that stay together.
    The ids of each class are ranked by SHA-256 of "seed:id" and dealt out like cards, class after class, so neither the
    order of files nor the machine matters, and folds differ by at most one image, in all and in each class. Groups are
    dealt out before, the largest first; the other images then make up for their sizes as far as they can.

    Raises DataError for fewer than two folds, more folds than images, fewer than two classes and for a class with one
    image or one group of them, which the fold that validates it could not train on.
    """
    by_class = ids_by_class(ids, labels)
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
            expected=f"a number from 2 to {len(hands)}, such as 5{', as duplicates stay together' if groups else ''}",
            do="give another number of folds",
        )
    number_of: dict[str, int] = {}
    sizes, by_label = [0] * num_folds, {label: [0] * num_folds for label in by_class}
    for hand in hands:
        same = by_label[label_of[hand[0]]]
        chosen = min(range(num_folds), key=lambda n: (same[n], sizes[n]))
        sizes[chosen] += len(hand)
        for id in hand:
            by_label[label_of[id]][chosen] += 1
            number_of[id] = chosen + 1
    if whole := sorted(label for label, counts in by_label.items() if max(counts) == sum(counts)):
        raise DataError(
            f"{len(whole)} of {len(by_class)} classes have only duplicates of one image, first {first_few(whole)}.",
            where="--folds, of images prepared with --group-duplicates",
            expected="images of each class for one fold to validate and for the others to train on",
            do="add images of these classes, or prepare without --group-duplicates",
        )
    return [number_of[id] for id in ids]


def fold(images: ImageSet, number: int, num_folds: int, seed: int) -> ImageSet:
    """The same images with other splits: of the labelled ones those of this fold are valid, all others train.

    number: from 1. The test images and the mean and std of the pixels stay those of `images`, so all folds' models take
    the same input. Fingerprint and about["fold"] tell the folds apart. Duplicates stay together where `prepare` grouped
    them. Raises what `fold_numbers` raises.
    """
    labelled = np.flatnonzero(images.splits != "test")
    names = [images.classes[label] for label in images.labels[labelled].tolist()]
    ids = images.ids[labelled].tolist()
    here = set(ids)
    groups = [
        kept for group in images.about.get("duplicates", []) if len(kept := [id for id in group if id in here]) > 1
    ]
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
    """The images with the splits that a run or model (its `about`) was trained with: those of its fold, if it has one.

    Without this a fold's "valid" would mean images that it has mostly trained on. Other images are left as they are.
    """
    which = about.get("fold")
    if not which or which["images"] != images.fingerprint:
        return images
    found = fold(images, which["number"], which["of"], which["seed"])
    return found if found.about["fold"] == which else images  # the same images may be prepared with groups and without


def seen(about: dict[str, Any], images: ImageSet, split: str) -> str:
    """Whether a model (its `about`) was trained on this split of the images: "no", "yes" or "perhaps".

    Perhaps: it was made with other images, which may hold some of these. The test images nobody trains on.
    """
    if split == "test":
        return "no"
    if about.get("fingerprint") != images.fingerprint or "on" not in about:
        return "perhaps"
    return "yes" if split in about["on"].split("+") else "no"


def warning_of(about: dict[str, Any], images: ImageSet, split: str) -> str:
    """What to say beside a model's scores on a split that it has seen, or may have seen; "" where it has not."""
    return {
        "no": "",
        "yes": f"the model was trained on these {split} images. The scores say how well it remembers them, not how "
        "well it does on new ones.",
        "perhaps": "these are not the images that the model was made with. If some of them were among its training "
        "images, the scores are too good.",
    }[seen(about, images, split)]


def split_seed(images: ImageSet) -> int:
    """The seed that `prepare` chose the valid images with; 0 where none was given. It chooses the folds as well.

    Not the recipe's: recipes and their seeds are compared on the same folds.
    """
    return int((images.about.get("options") or {}).get("seed", 0))
