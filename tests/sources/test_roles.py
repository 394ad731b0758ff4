import pytest

from snellen.sources.roles import column_roles, folder_roles, role_of


def listed(paths):
    return [(below.role, below.path) for below in folder_roles(paths).values()]


@pytest.mark.parametrize("folder", ["test", "Test_Images", "images-test", "test1", "testing", "test_stg1", "Test"])
def test_folders_are_for_test_by_their_words(folder):
    assert listed(["train/1.png", f"{folder}/1.png"]) == [("train", "1.png"), ("test", "1.png")]


@pytest.mark.parametrize("folder", ["contest", "latest", "attestation", "valley", "trainers"])
def test_other_words_with_a_role_in_them_are_not(folder):
    assert role_of(folder) == ""


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a_train/a_train/cat/1.png", "a_test/a_test/1.png"], [("train", "cat/1.png"), ("test", "1.png")]),
        (["x/train/cat/1.png", "x/test/1.png"], [("train", "x/cat/1.png"), ("test", "x/1.png")]),
        (
            ["docs/1.png", "x/train/1.png", "x/test/1.png"],
            [("", "docs/1.png"), ("train", "x/1.png"), ("test", "x/1.png")],
        ),
        (["cat/train/1.png", "cat/test/2.png"], [("train", "cat/1.png"), ("test", "cat/2.png")]),
        (["train_images/1.png", "test_images/1.png"], [("train", "1.png"), ("test", "1.png")]),
        (["Training/1.png", "Validation/1.png"], [("train", "1.png"), ("valid", "1.png")]),
        (["cat/1.png", "dog/1.png", "test/1.png"], [("", "cat/1.png"), ("", "dog/1.png"), ("test", "1.png")]),
    ],
)
def test_roles_are_found_at_any_depth_and_taken_off_the_path(paths, expected):
    assert listed(paths) == expected


@pytest.mark.parametrize(
    "paths",
    [
        ["bus/1.png", "car/1.png", "train/1.png"],
        ["bus/x/1.png", "train/x/1.png"],
        ["valid/1.png", "forged/1.png"],
        ["beakers/1.png", "test-tubes/1.png"],
        ["img/bus/1.png", "img/train/1.png"],
    ],
)
def test_classes_that_are_called_like_a_role_stay_classes(paths):
    assert {below.role for below in folder_roles(paths).values()} == {""}


def test_columns_may_state_roles():
    assert column_roles(["train", "val", "Test", ""]) == {"train": "train", "val": "valid", "Test": "test"}
    assert column_roles(["Training", "PublicTest"]) == {"Training": "train", "PublicTest": "test"}
    assert column_roles(["train", "bus"]) is None
    assert column_roles(["train", "train"]) is None
    assert column_roles([str(n) for n in range(5)]) is None
