"""Splits of images with several labels."""

from collections import Counter

import numpy as np
import pytest

from snellen.errors import DataError
from snellen.images.splits import doubts_about, splits_of
from snellen.images.stratify import folds_of_several, valid_of_several
from snellen.sources.label_lists import as_list
from snellen.sources.rows import Row

NAMES = ["agri", "clear", "cloudy", "primary", "road", "rare"]
SHARES = np.array([0.3, 0.7, 0.2, 0.9, 0.25, 0.02])


def drawn(num, seed=0):
    draw = np.random.default_rng(seed)
    return [str(n) for n in range(num)], [
        [name for name, is_there in zip(NAMES, row, strict=True) if is_there]
        for row in draw.random((num, len(NAMES))) < SHARES
    ]


def counts(labels, chosen):
    return Counter(name for names, is_chosen in zip(labels, chosen, strict=True) if is_chosen for name in names)


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_every_label_keeps_its_share(share):
    ids, labels = drawn(1000)
    valid = valid_of_several(ids, labels, share, 0)
    total, chosen = counts(labels, [True] * 1000), counts(labels, [id in valid for id in ids])
    assert abs(len(valid) - 1000 * share) <= 3
    assert all(abs(chosen[name] - share * total[name]) <= 2 for name in NAMES)


def test_the_choice_depends_on_ids_and_seed_only():
    ids, labels = drawn(300)
    valid = valid_of_several(ids, labels, 0.2, 0)
    order = np.random.default_rng(1).permutation(300)
    assert valid_of_several([ids[i] for i in order], [labels[i] for i in order], 0.2, 0) == valid
    assert valid_of_several(ids, labels, 0.2, 1) != valid


def test_folds_share_every_label_and_every_image_once():
    ids, labels = drawn(500)
    numbers = folds_of_several(ids, labels, 5, 0)
    assert {*numbers} == {1, 2, 3, 4, 5}
    assert max(Counter(numbers).values()) - min(Counter(numbers).values()) <= 3
    for name in NAMES:
        per_fold = [counts(labels, [n == number for n in numbers])[name] for number in range(1, 6)]
        assert max(per_fold) - min(per_fold) <= 2, name


def test_groups_stay_together_and_labels_keep_their_share():
    ids, labels = drawn(600)
    groups = [f"patient {n // 3}" for n in range(600)]
    valid = valid_of_several(ids, labels, 0.2, 0, groups=groups)
    assert all(len({id in valid for id in ids[n : n + 3]}) == 1 for n in range(0, 600, 3))
    total, chosen = counts(labels, [True] * 600), counts(labels, [id in valid for id in ids])
    assert all(abs(chosen[name] - 0.2 * total[name]) <= 4 for name in NAMES)
    hands = [ids[n : n + 3] for n in range(0, 600, 3)]
    numbers = folds_of_several(ids, labels, 4, 0, hands)
    assert all(len({*numbers[n : n + 3]}) == 1 for n in range(0, 600, 3))


def test_a_label_of_one_image_and_images_that_must_train_are_never_valid():
    ids, labels = drawn(100)
    labels[17] = ["unique", "primary"]
    barred = [*ids[50:]]
    valid = valid_of_several(ids, labels, 0.3, 0, barred)
    assert "17" not in valid
    assert valid
    assert not valid & {*barred}
    assert folds_of_several(ids, labels, 4, 0)[17] == 0


def test_images_without_labels_are_spread_as_well():
    ids = [str(n) for n in range(200)]
    labels = [[] if n % 2 else ["a", "b"] if n % 4 else ["b"] for n in range(200)]
    numbers = folds_of_several(ids, labels, 4, 0)
    empty = Counter(number for number, names in zip(numbers, labels, strict=True) if not names)
    assert sorted(empty.values()) == [25] * 4


def test_a_handful_of_images_still_has_one_to_validate():
    assert len(valid_of_several(["1", "2", "3"], [["a"], ["a", "b"], ["b"]], 0.1, 0)) == 1
    with pytest.raises(DataError, match="none of the 2 labelled images"):
        valid_of_several(["1", "2"], [["a"], ["b"]], 0.1, 0)
    with pytest.raises(DataError, match="cannot be divided into 4 folds"):
        folds_of_several(["1", "2", "3"], [["a"], ["a", "b"], ["b"]], 4, 0)


def test_prepared_rows_are_split_by_their_lists():
    ids, labels = drawn(200)
    rows = [Row(id, as_list(names), None, f"{id}.png") for id, names in zip(ids, labels, strict=True)]
    splits = splits_of(rows, 0.2, 0, has_several=True)
    valid = valid_of_several(ids, labels, 0.2, 0)
    assert {row.id for row, split in zip(rows, splits, strict=True) if split == "valid"} == valid
    assert "only 40 validation images" in doubts_about(rows, splits, has_several=True)[0]
    with pytest.raises(DataError, match='the split rule "seeds"'):
        splits_of(rows, 0.2, 0, rule="seeds", has_several=True)
    one_class = [Row(str(n), as_list(["a"]), None, f"{n}.png") for n in range(9)]
    with pytest.raises(DataError, match="all labelled images are of one class"):
        splits_of(one_class, 0.2, 0, has_several=True)
