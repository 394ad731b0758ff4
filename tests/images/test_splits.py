import hashlib
import random
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import some
from snellen.errors import DataError
from snellen.images.splits import choose_valid, splits_of
from snellen.sources.rows import Row

IDS = [str(n) for n in range(300)]
LABELS = ["cat" if n < 100 else "dog" for n in range(300)]


def test_every_class_gives_as_many_as_the_smallest_class_can_spare():
    valid = choose_valid(IDS, LABELS, 0.1, 0)
    assert Counter(LABELS[int(id)] for id in valid) == {"cat": 10, "dog": 10}


def test_split_ignores_file_order():
    pairs = list(zip(IDS, LABELS, strict=True))
    random.Random(3).shuffle(pairs)
    ids, labels = zip(*pairs, strict=True)
    assert choose_valid(ids, labels, 0.1, 0) == choose_valid(IDS, LABELS, 0.1, 0)


def test_split_is_the_same_on_every_machine():
    # Written out by hand from the definition: the three ids of each class with the least SHA-256 of "seed:id".
    ids = ["9", "10", "a7", "2", "31", "100", "v1.5", "40"]
    ranked = sorted(ids, key=lambda id: hashlib.sha256(f"7:{id}".encode()).hexdigest())
    assert choose_valid([*ids, *"wxyzabcd"], ["one"] * 8 + ["two"] * 8, 0.4, 7) & set(ids) == set(ranked[:3])
    assert sorted(choose_valid(["1", "2", "3", "4"], ["a", "a", "b", "b"], 0.5, 0)) == ["2", "4"]


def test_the_seed_changes_the_split():
    assert choose_valid(IDS, LABELS, 0.1, 0) != choose_valid(IDS, LABELS, 0.1, 1)


def test_a_new_image_moves_few_of_the_others():
    before = choose_valid(IDS, LABELS, 0.1, 0)
    after = choose_valid([*IDS, "new"], [*LABELS, "dog"], 0.1, 0)
    assert len(before - after) <= 1


@pytest.mark.parametrize(
    ("share", "n", "expected"),
    [
        (0.29, 100, 29),
        (0.57, 100, 57),
        (0.1, 5000, 500),
        (0.1, 9, 1),
        (0.1, 2, 1),
        (0.99, 2, 1),
        (1e-9, 50, 1),
        (0.7, 10, 7),
    ],
)
def test_the_share_is_taken_as_the_decimal_it_is_written_as(share, n, expected):
    ids = [str(i) for i in range(2 * n)]
    assert len(choose_valid(ids, ["a"] * n + ["b"] * n, share, 0)) == 2 * expected


@some
@given(
    sizes=st.lists(st.integers(2, 40), min_size=2, max_size=5),
    share=st.floats(0.001, 0.999),
    seed=st.integers(-5, 5),
)
def test_each_class_keeps_an_image_to_train_on(sizes, share, seed):
    labels = [str(label) for label, size in enumerate(sizes) for _ in range(size)]
    ids = [f"i{n}" for n in range(len(labels))]
    valid = choose_valid(ids, labels, share, seed)
    count = Counter(label for id, label in zip(ids, labels, strict=True) if id in valid)
    expected = max(1, int(min(sizes) * Decimal(str(share))))
    assert count == dict.fromkeys(labels, expected)
    assert all(count[str(label)] < size for label, size in enumerate(sizes))


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(DataError, match=f"share of images for validation is {share}"):
        choose_valid(IDS, LABELS, share, 0)


def test_one_class_is_refused_by_name():
    with pytest.raises(DataError, match='one class, "cat"'):
        choose_valid(IDS, ["cat"] * 300, 0.1, 0)


def test_no_labelled_image_is_refused():
    with pytest.raises(DataError, match="there are no labelled images"):
        choose_valid([], [], 0.1, 0)


def test_classes_with_a_single_image_are_for_training_and_named(caplog):
    chosen = choose_valid([*IDS, "x", "y"], [*LABELS, "owl", "yak"], 0.1, 0)
    assert chosen == choose_valid(IDS, LABELS, 0.1, 0)
    assert '2 classes have a single image, which is used only for training, first "owl", "yak"' in caplog.text
    with pytest.raises(DataError, match="each of the 2 classes has a single image"):
        choose_valid(["x", "y"], ["owl", "yak"], 0.1, 0)


def test_a_split_that_the_source_gives_is_kept():
    rows = [Row("1", "a", "train", "1"), Row("2", "b", "valid", "2"), Row("3", None, "test", "3")]
    assert splits_of(rows, 0.1, 0) == ["train", "valid", "test"]
    with pytest.raises(DataError, match="one class"):
        splits_of([Row("1", "a", "train", "1"), Row("2", "a", "valid", "2"), Row("3", "b", "test", "3")], 0.1, 0)


def test_only_labelled_images_are_split():
    rows = [Row(id, label, None, id) for id, label in zip(IDS, LABELS, strict=True)] + [Row("1", None, "test", "t/1")]
    splits = splits_of(rows, 0.1, 0)
    assert splits[-1] == "test"
    assert {row.id for row, split in zip(rows, splits, strict=True) if split == "valid"} == choose_valid(
        IDS, LABELS, 0.1, 0
    )


def test_ids_that_are_for_training_are_never_chosen_and_the_count_stays():
    ids, labels = [str(i) for i in range(60)], ["a", "b", "c"] * 20
    plain = choose_valid(ids, labels, 0.2, 0)
    barred = set(sorted(plain)[:5])
    chosen = choose_valid(ids, labels, 0.2, 0, barred)
    assert not chosen & barred
    assert len(chosen) == len(plain) == 12
    assert plain - barred <= chosen, "the others stay where they were"


def test_too_few_images_without_duplicates_are_named():
    ids, labels = [str(i) for i in range(20)], ["a", "b"] * 10
    with pytest.raises(DataError, match="only 1 of the 10 images"):
        choose_valid(ids, labels, 0.2, 0, set(ids[::2]) - {"0"})


def test_images_that_may_only_train_are_passed_over_and_others_take_their_place():
    free = choose_valid(IDS, LABELS, 0.1, 0)
    only_train = set(sorted(free)[:7])
    valid = choose_valid(IDS, LABELS, 0.1, 0, only_train)
    assert not valid & only_train
    assert valid >= free - only_train
    assert Counter(LABELS[int(id)] for id in valid) == {"cat": 10, "dog": 10}


def test_a_class_with_just_enough_images_to_choose_from_is_enough_and_one_fewer_is_refused():
    cats = {id for id, label in zip(IDS, LABELS, strict=True) if label == "cat"}
    ten = set(sorted(cats)[:10])
    assert choose_valid(IDS, LABELS, 0.1, 0, cats - ten) & cats == ten
    with pytest.raises(DataError, match='only 9 of the 100 images of "cat" have no duplicate') as caught:
        choose_valid(IDS, LABELS, 0.1, 0, cats - set(sorted(ten)[:9]))
    assert caught.value.expected == "10 or more, for validation"
