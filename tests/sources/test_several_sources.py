"""Several labels per image in raw files: which separator, which columns, and what is refused."""

import numpy as np
import pytest

from raw_folder import RawFolder
from snellen.errors import DataError, SnellenError
from snellen.sources.label_lists import as_list, in_list


class Raw(RawFolder):
    """A folder of numbered pictures with several labels each."""

    def __init__(self, folder, num):
        super().__init__(folder)
        self.numbered("train", *range(num))

    def labels(self, **options):
        source = self.open(**options)
        assert source.task.has_several
        return [in_list(row.label) for row in source.rows if row.split != "test"]

    def refusal(self, words, **options):
        with pytest.raises(SnellenError) as caught:
            self.open(**options)
        assert words in caught.value.what, caught.value.what
        return caught.value


@pytest.fixture
def raw(tmp_path):
    return Raw(tmp_path / "raw", 6)


@pytest.mark.parametrize(
    ("header", "values", "separator"),
    [
        ("id,labels", ["a", "b", "a b", "c", "b", "a"], " "),
        ("id,label", ["a", "b", "a b", "b c", "c", "a"], " "),
        ("id,tags", ["a;b", "b;c", "a;c", "a", "b", "c"], ";"),
        ("id,label", ["a|b", "b|c", "a|c", "a|b|c", "b", "c"], "|"),
        ("id,label", ["a, b", "b, c", "a, c", "a", "b", "c"], ", "),
        ("id,tags", ["clear primary water", "clear road", "haze primary", "clear water", "haze", "road"], " "),
    ],
)
def test_the_separator_is_the_one_that_turns_combinations_into_labels_that_recur(raw, header, values, separator):
    raw.table("train.csv", header, *enumerate(values))
    split = [sorted(value.split(separator)) for value in values]
    assert raw.labels() == split
    task = raw.open().task
    assert task.classes == tuple(sorted({name for names in split for name in names}))
    assert (task.form, task.metric, task.separator, task.allows_none) == ("labels", "f1_samples", separator, False)
    assert raw.open(kind="single").classes == tuple(sorted({*values}))


@pytest.mark.parametrize(
    "values",
    [
        ["golden retriever", "labrador retriever", "poodle", "golden retriever", "poodle", "beagle"],
        ["Doe, John", "Roe, Jane", "Doe, John", "Roe, Jane", "Doe, John", "Roe, Jane"],
    ],
)
def test_class_names_may_contain_spaces_and_commas(raw, values):
    raw.table("train.csv", "id,label", *enumerate(values))
    assert raw.open().classes == tuple(sorted({*values}))


def test_names_that_can_be_one_label_or_two_are_refused(raw):
    cars = ["red car", "blue car", "red bus", "blue bus", "red van", "blue van"]
    raw.table("train.csv", "id,label", *enumerate(cars))
    assert "--kind single or --kind multi" in raw.refusal('labels such as "red car" could be one label').do
    assert len(raw.open(kind="single").classes) == 6


def test_the_user_decides_the_separator(raw):
    raw.table("train.csv", "id,label", *enumerate(["x-y", "y", "x", "x-y", "y", "x"]))
    assert not raw.open().task.has_several
    assert raw.labels(label_separator="-") == [["x", "y"], ["y"], ["x"], ["x", "y"], ["y"], ["x"]]
    raw.refusal("--label-separator", label_separator="-", kind="single")


def test_every_image_with_one_label_can_still_be_of_several(raw):
    raw.table("train.csv", "id,label", *enumerate("aabbcc"))
    assert raw.labels(kind="multi")[0] == ["a"]


def test_columns_of_0_and_1_that_the_user_lists_are_labels(raw):
    cells = [(1, 1, 0), (0, 1, 0), (0, 0, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1)]
    raw.table("train.csv", "id,a,b,c", *((n, *row) for n, row in enumerate(cells)))
    assert raw.labels(label="a,b,c") == [["a", "b"], ["b"], [], ["c"], ["a", "c"], ["a", "b", "c"]]
    task = raw.open(label="a,b,c").task
    assert (task.form, task.allows_none) == ("labels", True)
    assert raw.open(label="a,b,c", metric="auc").task.form == "columns"
    assert "do not contain exactly one 1 per line" in raw.refusal("columns", label="a,b,c", kind="single").what
    assert "--label a,b,c" in raw.refusal("3 columns of train.csv could be the labels").do.replace("A,B,C", "a,b,c")


def test_columns_with_exactly_one_1_per_line_stay_single(raw):
    raw.table("train.csv", "id,a,b,c", *((n, n % 3 == 0, n % 3 == 1, n % 3 == 2) for n in range(6)))
    cells = [tuple(int(n % 3 == k) for k in range(3)) for n in range(6)]
    raw.table("train.csv", "id,a,b,c", *((n, *row) for n, row in enumerate(cells)))
    assert not raw.open(label="a,b,c").task.has_several
    assert raw.labels(label="a,b,c", kind="multi")[1] == ["b"]


@pytest.mark.parametrize("odd", ["0.3", "-1", "", "2"])
def test_columns_with_other_values_than_0_and_1_are_refused(raw, odd):
    rows = [(n, *cells) for n, cells in enumerate([(1, 1), (0, 1), (1, odd), (0, 1), (1, 0), (0, 0)])]
    raw.table("train.csv", "id,a,b", *rows)
    problem = raw.refusal(f'has the value "{odd}"', label="a,b")
    assert "0 or 1" in problem.expected


def test_an_empty_cell_among_several_labels_is_an_image_without_any(raw):
    raw.table("train.csv", "id,tags", *enumerate(["a b", "", "b c", "a", "c", "b"]))
    assert raw.labels()[1] == []
    assert raw.open().task.allows_none


def test_the_form_follows_the_sample_and_its_separator(raw):
    for n in (7, 8):
        raw.pictures(f"test/{n}.png")
    raw.table("train.csv", "id,tags", *enumerate(["a|b", "b|c", "a|c", "a|b|c", "b", "c"]))
    raw.table("sample_submission.csv", "id,tags", (7, "a b"), (8, "a b"))
    task = raw.open().task
    assert (task.form, task.separator) == ("labels", " ")
    raw.table("sample_submission.csv", "id,a,b,c", (7, 0, 0, 0), (8, 0, 0, 0))
    task = raw.open().task
    assert (task.kind, task.form, task.metric) == ("multi", "columns", "auc")
    raw.refusal("--form is labels, but sample_submission.csv has one column per class", form="labels")
    raw.refusal("form label means one label per line", form="label")
    raw.refusal('the metric "qwk" does not apply to several labels', metric="qwk")


def test_a_single_task_refuses_the_metrics_of_several(raw):
    raw.table("train.csv", "id,label", *enumerate("aabbcc"))
    raw.refusal('the metric "hamming_loss" does not apply to one label', metric="hamming_loss")


def test_class_folders_have_one_label_each(tmp_path):
    raw = Raw(tmp_path / "raw", 0)
    for n in range(4):
        raw.pictures(f"cat/{n}.png")
        raw.pictures(f"dog/{n}.png")
    raw.refusal("each image has exactly one label here", kind="multi")


def test_labels_that_only_the_test_pictures_have_are_refused(raw):
    raw.pictures("test/8.png")
    raw.pictures("test/9.png")
    raw.table("train.csv", "id,tags", *enumerate(["a b", "b c", "a c", "a", "c", "b"]))
    raw.table("test.csv", "id,tags", (8, "b"), (9, "a z"))
    with pytest.raises(DataError, match="1 labels of test pictures are not among the training labels"):
        raw.open()


def test_test_pictures_may_have_labels(raw):
    raw.pictures("test/8.png")
    raw.pictures("test/9.png")
    raw.table("train.csv", "id,tags", *enumerate(["a b", "b c", "a c", "a", "c", "b"]))
    raw.table("test.csv", "id,tags", (8, ""), (9, "a c"))
    assert [row.label for row in raw.open().rows if row.split == "test"] == [as_list([]), as_list(["a", "c"])]
    raw.table("test.csv", "id,tags", (8, ""), (9, ""))
    assert [row.label for row in raw.open().rows if row.split == "test"] == [None, None]


def test_arrays_hold_several_labels_as_columns_of_0_and_1(tmp_path):
    labels = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], dtype=np.uint8)
    images = np.zeros((4, 8, 8), dtype=np.uint8)
    (tmp_path / "raw").mkdir()
    one_each = np.eye(3, dtype=np.uint8)[[0, 1]]
    arrays = {"train_images": images, "train_labels": labels, "val_images": images[:2], "val_labels": one_each}
    np.savez(tmp_path / "raw" / "chest.npz", **arrays)
    raw = Raw(tmp_path / "raw", 0)
    assert raw.labels() == [["0", "2"], [], ["1"], ["0", "1", "2"], ["0"], ["1"]]
    np.savez(tmp_path / "raw" / "chest.npz", train_images=images, train_labels=labels * 2)
    raw.refusal("values other than 0 and 1")
