"""Choose the validation images. The choice depends only on ids, labels, groups, share, rule and seed."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction

from snellen.errors import DataError, did_you_mean, first_few
from snellen.images.choices import SPLIT_RULES
from snellen.images.ranks import rank
from snellen.images.stratify import valid_of_several
from snellen.images.too_few import none_to_validate
from snellen.scoring.intervals import wilson_interval
from snellen.sources.label_lists import in_list, labels_in
from snellen.sources.rows import Row
from snellen.system.units import percents

FEW_VALID = 100  # fewer validation images cause a warning: a score of 50% is then uncertain by 10 points


def choose_valid(
    ids: Sequence[str],
    labels: Sequence[str],
    valid_share: float,
    seed: int,
    only_train: Collection[str] = (),
    *,
    groups: Sequence[str | None] | None = None,
    rule: str = SPLIT_RULES[0],
) -> set[str]:
    """Choose the ids for validation.

    ids: the distinct ids of the labelled images; labels: their classes, by position. only_train: ids to leave out.
    rule: "proportional" takes a share of each class, see `proportional_counts`. "seeds" takes
    max(1, floor(n * valid_share)) of each class, where n is the size of the smallest. The rules agree if all classes
    have the same size. A class with a single image is used only for training; "seeds" refuses it.
    groups: by position, the group of each image, such as its patient, or None. Images of one group stay together,
    see `choose_groups`.

    The ids of a class are ranked by SHA-256 of "seed:id", so the order of files and the machine do not matter, and
    adding images moves few of the others. The share is an exact decimal: 0.29 of 100 is 29.

    Raises DataError for a share outside (0, 1), fewer than two classes, or no image to choose.
    Source of the rule "seeds": the d2l chapter on Kaggle's CIFAR-10, function reorg_train_valid.
    """
    check_split(valid_share, rule)
    by_class = ids_by_class(ids, labels)
    check_classes(by_class)
    if groups is not None and any(group is not None for group in groups):
        if rule == "seeds":
            raise DataError(
                'the split rule "seeds" picks single images and cannot keep groups together.',
                where="--split-rule seeds --group-by",
                do="leave out one of the two options",
            )
        return choose_groups(ids, labels, groups, valid_share, seed, only_train)
    sizes = {label: len(members) for label, members in by_class.items()}
    ranked = {
        label: [id for id in sorted(members, key=lambda id: rank(id, seed)) if id not in only_train]
        for label, members in by_class.items()
    }
    if rule == "seeds" or len(set(sizes.values())) == 1:
        check_no_single(by_class)
        num_valid = max(1, math.floor(min(sizes.values()) * Fraction(str(valid_share))))
        counts = dict.fromkeys(sizes, num_valid)
        if short := [label for label in sizes if len(ranked[label]) < num_valid]:
            raise DataError(
                f'only {len(ranked[short[0]])} of the {sizes[short[0]]} images of "{short[0]}" have no duplicate.',
                where="--group-duplicates",
                expected=f"{num_valid} or more, for validation",
                do="choose a smaller --valid-share, or leave out --group-duplicates",
            )
    else:
        most = {label: min(size - 1, len(ranked[label])) for label, size in sizes.items()}
        counts = proportional_counts(sizes, most, valid_share, seed)
        if not any(counts.values()):
            raise none_to_validate(len(ids), "a class")
    return {id for label, num in counts.items() for id in ranked[label][:num]}


def check_split(valid_share: float, rule: str) -> None:
    """Raise DataError for a share outside (0, 1) or an unknown rule."""
    if not 0 < valid_share < 1:
        raise DataError(
            f"the share of images for validation is {valid_share}.",
            where="--valid-share",
            expected="a number between 0 and 1, such as 0.1",
            do="choose another share",
        )
    if rule not in SPLIT_RULES:
        raise DataError(
            f'unknown split rule "{rule}".',
            where="--split-rule",
            expected=" or ".join(SPLIT_RULES),
            do=did_you_mean(rule, SPLIT_RULES, "choose one of these"),
        )


def proportional_counts(
    sizes: Mapping[str, int], most: Mapping[str, int], valid_share: float, seed: int
) -> dict[str, int]:
    """Return the number of validation images per class: its share, rounded so that the total matches the share too.

    Largest remainder (Hamilton's method): each class gets floor(n * share); the classes with the largest remainders get
    one more until the total is max(1, floor(N * share)). The seed breaks ties. most: the maximum for each class.
    """
    share = Fraction(str(valid_share))
    total = max(1, math.floor(sum(sizes.values()) * share))
    counts = {label: min(math.floor(size * share), most[label]) for label, size in sizes.items()}
    missing = total - sum(counts.values())
    for label in sorted(sizes, key=lambda label: (-(sizes[label] * share % 1), rank(label, seed))):
        if missing > 0 and counts[label] < most[label] and sizes[label] * share % 1:
            counts[label] += 1
            missing -= 1
    return counts


def choose_groups(
    ids: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str | None],
    valid_share: float,
    seed: int,
    only_train: Collection[str] = (),
) -> set[str]:
    """Choose whole groups for validation, as close to the share, per class and in total, as possible.

    The rarest class comes first: its groups, ranked by SHA-256 of "seed:group", are chosen while they fit into its
    share; its other groups train. The other classes follow, with the groups that are still undecided.
    Every class keeps a training image. If no group fits, the one closest to the share is chosen. An image without a
    group is its own group. A group with an id in only_train trains.
    Source of the order: Sechidis et al., "On the stratification of multi-label data", ECML PKDD 2011.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, (id, group) in enumerate(zip(ids, groups, strict=True)):
        members[f"image {id}" if group is None else f"group {group}"].append(index)
    sizes = Counter(labels)
    most = {label: size - 1 for label, size in sizes.items()}
    wanted = proportional_counts(sizes, most, valid_share, seed)
    total = sum(wanted.values())
    counts = {name: Counter(labels[index] for index in indices) for name, indices in members.items()}
    free = {
        name
        for name, indices in members.items()
        if not any(ids[index] in only_train for index in indices)
        and all(num <= most[label] for label, num in counts[name].items())
    }
    if not free:
        raise none_to_validate(len(ids), "a class")
    of_class: dict[str, list[str]] = defaultdict(list)
    for name in sorted(free, key=lambda name: rank(name, seed)):
        for label in counts[name]:
            of_class[label].append(name)
    chosen: list[str] = []
    decided: set[str] = set()
    held: Counter[str] = Counter()
    for label in sorted(sizes, key=lambda label: (sizes[label], rank(label, seed))):
        for name in of_class[label]:
            if name in decided:
                continue
            decided.add(name)
            num = counts[name]
            # A group fits if it does not move the class further from its share.
            fits = 2 * held[label] + num[label] <= 2 * wanted[label] and held.total() + num.total() <= total
            if fits and all(held[other] + more <= most[other] for other, more in num.items()):
                chosen.append(name)
                held += num
    if not chosen:
        chosen = [min(free, key=lambda name: (abs(counts[name].total() - total), rank(name, seed)))]
    return {ids[index] for name in chosen for index in members[name]}


def ids_by_class(ids: Sequence[str], labels: Sequence[str]) -> dict[str, list[str]]:
    """Return the ids of each class."""
    by_class = defaultdict(list)
    for id, label in zip(ids, labels, strict=True):
        by_class[label].append(id)
    return by_class


def check_classes(classes: Collection[str]) -> None:
    """Raise DataError unless there are at least two classes."""
    if not classes:
        raise DataError("there are no labelled images.", expected="images of two classes or more")
    if len(classes) < 2:
        raise DataError(
            f"all labelled images are of one class, {first_few(classes)}.",
            expected="two classes or more",
            do="check the labels: is this the right file, and the right column?",
        )


def check_no_single(by_class: Mapping[str, Sequence[str]]) -> None:
    """Raise DataError for classes with a single image."""
    if single := sorted(label for label, members in by_class.items() if len(members) == 1):
        raise DataError(
            f"{len(single)} of {len(by_class)} classes have a single image, first {first_few(single)}.",
            expected="at least two images of each class: one to train on and one for validation",
            do="add images of these classes, or leave the classes out",
        )


def splits_of(
    rows: Sequence[Row],
    valid_share: float,
    seed: int,
    only_train: Collection[str] = (),
    *,
    rule: str = SPLIT_RULES[0],
    has_several: bool = False,
) -> list[str]:
    """Return the split of each row, from its source or from `choose_valid`. Raises DataError.

    has_several: the labels of a row are a list; see `valid_of_several`.
    """
    undecided = [row for row in rows if row.split is None]
    valid = set()
    if undecided:
        ids, labels = [row.id for row in undecided], [row.label or "" for row in undecided]
        groups = [row.group for row in undecided]
        if has_several:
            check_split(valid_share, rule)
            lists = [in_list(label) for label in labels]
            check_classes({name for names in lists for name in names})
            valid = valid_of_several(ids, lists, valid_share, seed, only_train, groups=groups, rule=rule)
        else:
            valid = choose_valid(ids, labels, valid_share, seed, only_train, groups=groups, rule=rule)
    else:
        labelled = [row.label for row in rows if row.split != "test"]
        check_classes({name for label in labelled for name in labels_in(label, has_several)})
    return [row.split or ("valid" if row.id in valid else "train") for row in rows]


def groups_of(rows: Sequence[Row]) -> list[list[str]]:
    """Return the ids of each group of two or more labelled rows, in row order."""
    members: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.group is not None and row.split != "test":
            members[row.group].append(row.id)
    return [ids for ids in members.values() if len(ids) > 1]


def doubts_about(rows: Sequence[Row], splits: Sequence[str], has_several: bool = False) -> list[str]:
    """Return warnings about a split: few validation images, and classes without any."""
    labels = [labels_in(row.label, has_several) for row in rows]
    valid, train = (
        Counter(name for names, split in zip(labels, splits, strict=True) if split == wanted for name in names)
        for wanted in ("valid", "train")
    )
    doubts, num_valid = [], splits.count("valid")
    if 0 < num_valid < FEW_VALID:
        low, high = wilson_interval(round(0.8 * num_valid), num_valid)
        doubts.append(
            f"only {num_valid} validation images: an accuracy of 80% could be {percents(low, high, 0)}. "
            "A larger --valid-share, or --folds 5 with train and compete, gives a more precise score"
        )
    if single := sorted(label for label in train if label and train[label] == 1 and not valid[label]):
        doubts.append(
            f"{len(single)} of {len(train | valid)} classes have a single image, used only for training, "
            f"first {first_few(single)}"
        )
    if unseen := sorted(label for label in train if label and train[label] > 1 and not valid[label]) if valid else []:
        doubts.append(
            f"{len(unseen)} of {len(train | valid)} classes have no validation image, first {first_few(unseen)}: "
            "scores do not show mistakes on them. A larger --valid-share, or --folds 5 with train and compete, "
            "includes them"
        )
    return doubts
