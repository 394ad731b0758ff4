"""Splits of images with several labels: every part gets its share of every label.

Source: Sechidis, Tsoumakas & Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011, algorithm 1
(iterative stratification), with groups of images instead of single images.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence, Set

from snellen.errors import DataError
from snellen.images.choices import SPLIT_RULES
from snellen.images.ranks import rank
from snellen.images.too_few import check_num_folds, none_to_validate


def valid_of_several(
    ids: Sequence[str],
    labels: Sequence[Sequence[str]],
    valid_share: float,
    seed: int,
    only_train: Collection[str] = (),
    *,
    groups: Sequence[str | None] | None = None,
    rule: str = SPLIT_RULES[0],
) -> set[str]:
    """Choose the ids for validation; the arguments are those of `choose_valid`, with a list of labels per image.

    A label of a single image or group is used only for training. Raises DataError if no image can be chosen.
    """
    if rule == "seeds":
        raise DataError(
            'the split rule "seeds" takes the same number of images from each class, but images have several labels.',
            where="--split-rule seeds",
            do=f"leave it out; the rule is then {SPLIT_RULES[0]}",
        )
    hands = hands_of(ids, groups or [None] * len(ids))
    of_hand = counts_of(hands, dict(zip(ids, labels, strict=True)))
    barred = {*only_train} | only_hands(hands, of_hand)
    parts = iterative(hands, of_hand, (1 - valid_share, valid_share), seed, barred)
    chosen = {id for hand, part in zip(hands, parts, strict=True) if part == 1 for id in hand}
    if chosen:
        return chosen
    # The share is less than one image: choose an image of the most common kind.
    free = [hand for hand in hands if not barred.intersection(hand)]
    if not free:
        raise none_to_validate(len(ids), "labels")
    return {*min(free, key=lambda hand: (len(hand), rank(hand[0], seed)))}


def folds_of_several(
    ids: Sequence[str], labels: Sequence[Sequence[str]], num_folds: int, seed: int, groups: Sequence[Sequence[str]] = ()
) -> list[int]:
    """Return the validation fold of each image, from 1; 0 if it trains in every fold. See `fold_numbers`."""
    named = {id: f"group {number}" for number, group in enumerate(groups) for id in group}
    hands = hands_of(ids, [named.get(id) for id in ids])
    of_hand = counts_of(hands, dict(zip(ids, labels, strict=True)))
    barred = only_hands(hands, of_hand)
    free = [index for index, hand in enumerate(hands) if not barred.intersection(hand)]
    check_num_folds(num_folds, len(ids), len(free), have_groups=bool(groups))
    shares = [1 / num_folds] * num_folds
    parts = iterative([hands[i] for i in free], [of_hand[i] for i in free], shares, seed)
    number_of = {id: part + 1 for i, part in zip(free, parts, strict=True) for id in hands[i]}
    return [number_of.get(id, 0) for id in ids]


def hands_of(ids: Sequence[str], groups: Sequence[str | None]) -> list[list[str]]:
    """Return the ids that stay together: those of each group, and every other id alone."""
    hands: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for id, group in zip(ids, groups, strict=True):
        hands[(False, id) if group is None else (True, group)].append(id)
    return list(hands.values())


def counts_of(hands: Sequence[Sequence[str]], labels: Mapping[str, Sequence[str]]) -> list[Counter[str]]:
    """Return how many images of each hand have each label."""
    return [Counter(name for id in hand for name in labels[id]) for hand in hands]


def only_hands(hands: Sequence[Sequence[str]], counts: Sequence[Counter[str]]) -> set[str]:
    """Return the ids of the hands that hold all images of a label: they have to train."""
    num_hands = Counter(name for one in counts for name in one)
    return {id for hand, one in zip(hands, counts, strict=True) if any(num_hands[n] == 1 for n in one) for id in hand}


def iterative(
    hands: Sequence[Sequence[str]],
    counts: Sequence[Counter[str]],
    shares: Sequence[float],
    seed: int,
    first_part: Set[str] = frozenset(),
) -> list[int]:
    """Return the part of each hand, 0 to len(shares) - 1, such that each part gets its share of each label.

    The label with the fewest images left comes first. Each of its hands goes to the part that needs the most images of
    this label; of equal parts, to the one that needs the most images; then by SHA-256 of "seed:part id". Large hands
    come first. Hands without labels follow.
    first_part: ids whose hands are in part 0.
    """
    sizes = [len(hand) for hand in hands]
    totals: Counter[str] = Counter()
    for one in counts:
        totals.update(one)
    lacking = [share * sum(sizes) for share in shares]
    lacking_of = [{name: share * num for name, num in totals.items()} for share in shares]
    keys = [rank(hand[0], seed) for hand in hands]
    order = sorted(range(len(hands)), key=lambda i: (-sizes[i], keys[i]))
    part_of: list[int] = [-1] * len(hands)
    left = Counter(totals)

    def put(index: int, part: int) -> None:
        part_of[index] = part
        lacking[part] -= sizes[index]
        for name, num in counts[index].items():
            lacking_of[part][name] -= num
            left[name] -= num

    for index in order:
        if not first_part.isdisjoint(hands[index]):
            put(index, 0)
    with_label: dict[str, list[int]] = defaultdict(list)
    for index in order:
        for name in counts[index]:
            with_label[name].append(index)
    waiting = {name: rank(name, seed) for name in totals}
    while waiting:
        label = min(waiting, key=lambda name: (left[name], waiting[name]))
        del waiting[label]
        for index in with_label[label]:
            if part_of[index] < 0:
                put(index, _neediest(lacking_of, lacking, label, keys[index]))
    for index in order:
        if part_of[index] < 0:
            put(index, _neediest(lacking_of, lacking, None, keys[index]))
    return part_of


def _neediest(
    lacking_of: Sequence[Mapping[str, float]], lacking: Sequence[float], label: str | None, key: bytes
) -> int:
    """Return the part that needs the most images of a label, then the most images; the key of the hand breaks ties."""
    num = len(lacking)
    needs = [(round(lacking_of[part][label], 6) if label else 0.0, round(lacking[part], 6)) for part in range(num)]
    best = [part for part in range(num) if needs[part] == max(needs)]
    return best[int.from_bytes(key[:8], "big") % len(best)]
