import hashlib
import random
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import some
from snellen.errors import DataError
from snellen.images.splits import FEW_VALID, choose_valid, doubts_about, proportional_counts, splits_of
from snellen.sources.rows import Row

IDS = [str(n) for n in range(300)]
LABELS = ["cat" if n < 100 else "dog" for n in range(300)]


def test_every_class_gives_its_share():
    valid = choose_valid(IDS, LABELS, 0.1, 0)
    assert Counter(LABELS[int(id)] for id in valid) == {"cat": 10, "dog": 20}


def test_by_the_rule_of_the_seeds_every_class_gives_as_many_as_the_smallest_can_spare():
    valid = choose_valid(IDS, LABELS, 0.1, 0, rule="seeds")
    assert Counter(LABELS[int(id)] for id in valid) == {"cat": 10, "dog": 10}
    assert valid <= choose_valid(IDS, LABELS, 0.1, 0)


@pytest.mark.parametrize("share", [0.1, 0.29, 0.5, 0.001])
def test_equal_classes_are_split_alike_by_both_rules(share):
    labels = ["cat", "dog", "owl"] * 100
    assert choose_valid(IDS, labels, share, 3) == choose_valid(IDS, labels, share, 3, rule="seeds")


def split_sizes(sizes, share=0.1, **arguments):
    labels = [f"c{n}" for n, size in enumerate(sizes) for _ in range(size)]
    ids = [str(n) for n in range(len(labels))]
    valid = choose_valid(ids, labels, share, 0, **arguments)
    counts = Counter(labels[int(id)] for id in valid)
    return [counts[f"c{n}"] for n in range(len(sizes))]


def test_validation_of_real_competitions_is_the_share_of_the_data():
    """The class counts of APTOS 2019 and SIIM-ISIC: the rule of the seeds leaves 95 and 1,168 images, half positive."""
    assert split_sizes([1805, 370, 999, 193, 295]) == [180, 37, 100, 19, 30]  # 366 of 3,662
    assert split_sizes([1805, 370, 999, 193, 295], rule="seeds") == [19] * 5
    assert split_sizes([32542, 584]) == [3254, 58]  # 3,312 of 33,126, 1.8% positive as in the data
    assert split_sizes([32542, 584], rule="seeds") == [58] * 2


@some
@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=9).filter(lambda sizes: max(sizes) > 1),
    share=st.floats(0.001, 0.999),
    seed=st.integers(0, 5),
)
def test_counts_are_proportional_to_the_nearest_image_and_leave_one_to_train_on(sizes, share, seed):
    named = {str(n): size for n, size in enumerate(sizes)}
    most = {name: size - 1 for name, size in named.items()}
    counts = proportional_counts(named, most, share, seed)
    exact = {name: size * Decimal(str(share)) for name, size in named.items()}
    assert all(counts[name] <= most[name] for name in named)
    assert all(min(int(exact[name]), most[name]) <= counts[name] <= int(exact[name]) + 1 for name in named)
    total = max(1, int(sum(sizes) * Decimal(str(share))))
    assert sum(counts.values()) <= total
    if all(exact[name] <= most[name] for name in named):
        remainders = {name: exact[name] % 1 for name in named}
        raised = [name for name in named if counts[name] > int(exact[name])]
        others = [name for name in named if counts[name] == int(exact[name]) < most[name]]
        assert not raised or not others or min(remainders[n] for n in raised) >= max(remainders[n] for n in others)


def test_a_class_with_a_single_image_is_used_only_for_training():
    assert split_sizes([1, 30, 1, 20], 0.2) == [0, 6, 0, 4]
    assert split_sizes([2, 1, 1], 0.5) == [1, 0, 0]
    assert split_sizes([2, 3], 0.99) == [1, 2]


def test_groups_stay_on_one_side_and_classes_keep_their_shares():
    """60 patients with 1 to 20 images each, of which one in ten is positive."""
    draw = random.Random(0)
    ids, labels, groups = [], [], []
    for patient in range(60):
        for _ in range(draw.randint(1, 20)):
            ids.append(str(len(ids)))
            labels.append("positive" if draw.random() < 0.1 else "negative")
            groups.append(f"patient {patient}")
    sizes = Counter(labels)
    for seed in range(5):
        valid = choose_valid(ids, labels, 0.2, seed, groups=groups)
        inside = {groups[int(id)] for id in valid}
        assert {id for id, group in zip(ids, groups, strict=True) if group in inside} == valid
        assert 0.15 * len(ids) < len(valid) <= 0.2 * len(ids)
        counts = Counter(labels[int(id)] for id in valid)
        assert 0.5 * 0.2 * sizes["positive"] < counts["positive"] < 1.5 * 0.2 * sizes["positive"]
    assert choose_valid(ids, labels, 0.2, 0, groups=groups) != choose_valid(ids, labels, 0.2, 1, groups=groups)
    order = draw.sample(range(len(ids)), len(ids))
    again = choose_valid([ids[n] for n in order], [labels[n] for n in order], 0.2, 0, groups=[groups[n] for n in order])
    assert again == choose_valid(ids, labels, 0.2, 0, groups=groups), "the order of files does not matter"


def test_images_without_a_group_are_groups_of_their_own():
    groups = [None] * 300
    assert choose_valid(IDS, LABELS, 0.1, 0, groups=groups) == choose_valid(IDS, LABELS, 0.1, 0)
    groups[:2] = ["x", "x"]
    valid = choose_valid(IDS, LABELS, 0.1, 0, groups=groups)
    assert ("0" in valid) == ("1" in valid)
    assert Counter(LABELS[int(id)] for id in valid) == {"cat": 10, "dog": 20}


def test_a_group_of_an_image_that_may_only_train_trains():
    groups = [f"g{n // 10}" for n in range(300)]
    free = choose_valid(IDS, LABELS, 0.1, 0, groups=groups)
    barred = next(iter(free))
    valid = choose_valid(IDS, LABELS, 0.1, 0, {barred}, groups=groups)
    assert not {id for id in valid if groups[int(id)] == groups[int(barred)]}
    assert len(valid) == 30


def test_a_class_in_one_group_trains_and_groups_that_are_too_large_give_the_nearest():
    labels = ["a"] * 40 + ["b"] * 40 + ["c"] * 5
    ids = [str(n) for n in range(85)]
    groups = [f"g{n // 20}" for n in range(80)] + ["c"] * 5
    valid = choose_valid(ids, labels, 0.1, 0, groups=groups)
    assert Counter(groups[int(id)] for id in valid) == {next(groups[int(id)] for id in valid): 20}
    with pytest.raises(DataError, match="none of the 4 labelled images can be used for validation"):
        choose_valid(list("1234"), list("aabb"), 0.5, 0, groups=["x"] * 4)


def test_rules_that_do_not_exist_or_contradict_are_refused():
    with pytest.raises(DataError, match='unknown split rule "seed"') as caught:
        choose_valid(IDS, LABELS, 0.1, 0, rule="seed")
    assert caught.value.do == 'did you mean "seeds"?'
    with pytest.raises(DataError, match='the split rule "seeds" picks single images'):
        choose_valid(IDS, LABELS, 0.1, 0, groups=["x"] * 300, rule="seeds")


def test_few_validation_images_and_classes_that_only_train_are_reported():
    rows = [Row(str(n), label, None, str(n)) for n, label in enumerate(["a"] * 600 + ["b"] * 500 + ["c"])]
    assert [text[:44] for text in doubts_about(rows, splits_of(rows, 0.1, 0))] == [
        "1 of 3 classes have a single image, used onl"
    ]
    few = rows[:-1][::20]
    (text,) = doubts_about(few, splits_of(few, 0.1, 0))
    assert text.startswith("only 5 validation images: an accuracy of 80% could be 38 to 96%. A larger --valid-share")
    enough = rows[: 10 * FEW_VALID]
    assert doubts_about(enough, splits_of(enough, 0.1, 0)) == []


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
    valid = choose_valid(ids, labels, share, seed, rule="seeds")
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


def test_classes_with_a_single_image_are_counted_and_named():
    with pytest.raises(DataError, match='2 of 4 classes have a single image, first "owl", "yak"'):
        choose_valid([*IDS, "x", "y"], [*LABELS, "owl", "yak"], 0.1, 0, rule="seeds")


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
    free = choose_valid(IDS, LABELS, 0.1, 0, rule="seeds")
    only_train = set(sorted(free)[:7])
    valid = choose_valid(IDS, LABELS, 0.1, 0, only_train, rule="seeds")
    assert not valid & only_train
    assert valid >= free - only_train
    assert Counter(LABELS[int(id)] for id in valid) == {"cat": 10, "dog": 10}


def test_a_class_with_just_enough_images_to_choose_from_is_enough_and_one_fewer_is_refused():
    cats = {id for id, label in zip(IDS, LABELS, strict=True) if label == "cat"}
    ten = set(sorted(cats)[:10])
    assert choose_valid(IDS, LABELS, 0.1, 0, cats - ten, rule="seeds") & cats == ten
    with pytest.raises(DataError, match='only 9 of the 100 images of "cat" have no duplicate') as caught:
        choose_valid(IDS, LABELS, 0.1, 0, cats - set(sorted(ten)[:9]), rule="seeds")
    assert caught.value.expected == "10 or more, for validation"
    nine = choose_valid(IDS, LABELS, 0.1, 0, cats - set(sorted(ten)[:9]))
    assert Counter(LABELS[int(id)] for id in nine) == {"cat": 9, "dog": 20}, "a share takes what there is"


def test_classes_without_a_validation_image_are_reported():
    rows = [Row(str(n), label, None, str(n)) for n, label in enumerate(["a"] * 3000 + ["b"] * 4)]
    (text,) = doubts_about(rows, splits_of(rows, 0.1, 0))
    assert text.startswith('1 of 2 classes have no validation image, first "b": scores do not show mistakes on them.')
    all_train = [Row(str(n), "a", "train", str(n)) for n in range(3)]
    assert doubts_about(all_train, ["train"] * 3) == [], "without validation there is no score"
