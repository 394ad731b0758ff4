import pytest

from snellen.errors import DataError
from snellen.sources.class_folders import class_rows


def listed(paths):
    return [(row.id, row.label, row.split) for row in class_rows(paths)]


def test_folders_are_classes_and_ids_are_paths_in_natural_order():
    assert listed(["dog/1.png", "cat/10.png", "cat/9.png", "cat/deep/1.png"]) == [
        ("cat/9", "cat", None),
        ("cat/10", "cat", None),
        ("cat/deep/1", "cat", None),
        ("dog/1", "dog", None),
    ]


@pytest.mark.parametrize("above", ["", "data/", "a/b/"])
def test_folders_above_do_not_matter(above):
    assert listed([f"{above}cat/1.png", f"{above}dog/2.png"]) == [("cat/1", "cat", None), ("dog/2", "dog", None)]


@pytest.mark.parametrize("valid", ["valid", "val", "validation", "Valid"])
@pytest.mark.parametrize("train", ["train", "training", "TRAIN"])
def test_a_split_that_is_given_is_kept(train, valid):
    assert listed([f"{train}/cat/1.png", f"{train}/dog/2.png", f"{valid}/cat/3.png"]) == [
        ("cat/1", "cat", "train"),
        ("cat/3", "cat", "valid"),
        ("dog/2", "dog", "train"),
    ]


def test_without_a_valid_folder_the_split_is_left_open():
    assert listed(["train/cat/1.png", "train/dog/2.png", "test/7.png"]) == [
        ("cat/1", "cat", None),
        ("dog/2", "dog", None),
        ("7", None, "test"),
    ]


def test_the_seeds_tree_is_read_back_without_what_it_holds_twice(caplog):
    caplog.set_level("INFO", "snellen")
    tree = ["train/cat/1.png", "train/dog/2.png", "valid/cat/3.png", "test/unknown/1.png", "test/unknown/10.png"]
    twice = ["train_valid/cat/1.png", "train_valid/dog/2.png", "train_valid/cat/3.png"]
    assert listed(tree + twice) == listed(tree)
    assert listed(tree)[-2:] == [("1", None, "test"), ("10", None, "test")]
    assert "train_valid/ repeats" in caplog.text
    assert [row[2] for row in listed(twice)] == [None] * 3, "alone it is all there is"


def test_test_pictures_below_a_class_keep_its_label():
    assert listed(["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png", "test/unknown/5.png"])[
        2:
    ] == [
        ("5", None, "test"),
        ("cat/1", "cat", "test"),
        ("dog/1", "dog", "test"),
    ]


def test_test_pictures_below_any_one_folder_have_no_label():
    assert listed(["cat/1.png", "dog/1.png", "test/images/1.png", "test/images/2.png"])[2:] == [
        ("1", None, "test"),
        ("2", None, "test"),
    ]


def test_pictures_that_differ_only_by_role_or_by_ending_have_different_ids():
    ids = [row[0] for row in listed(["train/cat/1.png", "valid/cat/1.png", "train/dog/1.png"])]
    assert ids == ["train/cat/1", "train/dog/1", "valid/cat/1"]
    assert [row[0] for row in listed(["cat/1.png", "cat/1.jpg", "dog/1.png"])] == [
        "cat/1.jpg",
        "cat/1.png",
        "dog/1.png",
    ]


def test_pictures_in_no_class_folder_are_left_out_with_a_warning(caplog):
    assert len(listed(["train/cat/1.png", "train/dog/1.png", "train/loose.png", "extra/1.png", "readme.png"])) == 2
    assert (
        '3 pictures outside every class folder are left out, first "train/loose.png", "extra/1.png", "readme.png"'
        in caplog.text
    )


@pytest.mark.parametrize(
    "paths",
    [["1.png", "2.png"], ["train/1.png", "train/2.png"], ["train/1.png", "test/1.png"], ["valid/cat/1.png", "x.png"]],
)
def test_folders_that_name_no_classes_are_not_class_folders(paths):
    assert class_rows(paths) is None


def test_a_class_that_train_has_not_is_refused():
    with pytest.raises(
        DataError, match='1 classes in the valid folder have no pictures in the train folder, first "dgo"'
    ) as e:
        class_rows(["train/cat/1.png", "train/dog/1.png", "valid/dgo/1.png"])
    assert 'did you mean "dog"?' in str(e.value)
    with pytest.raises(DataError, match='the test folder has the class folder "owl", which is missing from the train'):
        class_rows(["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/owl/1.png"])
