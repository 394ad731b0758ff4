import random

import pytest

from snellen.sources.rows import common_folder, ids_of, natural_key, without_suffix


def test_numbers_in_names_are_compared_as_numbers():
    names = ["1", "2", "10", "a1", "a2", "a2b", "a009", "a10", "a010b", "b", "v1.5", "v1.10"]
    shuffled = names[:]
    random.Random(1).shuffle(shuffled)
    assert sorted(shuffled, key=natural_key) == names


def test_names_that_mean_the_same_number_still_have_an_order():
    assert sorted(["1", "001", "01"], key=natural_key) == sorted(["01", "1", "001"], key=natural_key)
    assert natural_key("9" * 10_000) < natural_key("9" * 10_001)


@pytest.mark.parametrize(
    ("name", "expected"), [("1.png", "1"), ("v1.5", "v1.5"), ("v1.5.JPG", "v1.5"), ("cat/1.png", "cat/1"), ("a", "a")]
)
def test_only_the_ending_of_a_picture_is_cut_off(name, expected):
    assert without_suffix(name) == expected


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/b/1", "a/b/2"], "a/b/"),
        (["a/b/1", "a/bc/2"], "a/"),
        (["a/1", "b/1"], ""),
        (["1", "a/1"], ""),
        (["a/1"], "a/"),
        ([], ""),
        (["a/b/1", "a/1"], "a/"),
        (["a/b/x/1", "a/b-c/1", "a/b/1"], "a/"),
    ],
)
def test_common_folder(paths, expected):
    assert common_folder(paths) == expected


def test_ids_lose_what_does_not_tell_them_apart():
    assert ids_of(["1.png", "2.png"]) == ["1", "2"]
    assert ids_of(["1.png", "1.jpg"]) == ["1.png", "1.jpg"]
    assert ids_of(["1.png", "1.png"], ["a/1.png", "b/1.png"]) == ["a/1", "b/1"]
