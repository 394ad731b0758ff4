import pytest

from snellen.errors import DataError
from snellen.sources.csv_labels import find_labels
from snellen.sources.labelled import read_labelled
from snellen.sources.lookup import Lookup
from snellen.sources.tables import read_table

TRAIN = [f"train/{n}.png" for n in (10, 9, 2, 1)]
TEST = [f"test/{n}.png" for n in (1, 2, 30)]
LABELS = "id,label\n2,cat\n1,dog\n10,cat\n9,dog\n"
SAMPLE = "id,label\n30,cat\n2,cat\n1,cat\n"


def table(text, name="trainLabels.csv"):
    return read_table(name, text.encode())


def find(paths, *tables, labels=None, sample=None, test=None):
    return read_labelled(paths, tables, labels=labels, sample=sample, test=test)


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("1", ["a/1.png", "b/1.png"]),
        ("a/1", ["a/1.png"]),
        ("a/1.png", ["a/1.png"]),
        ("./a/1.PNG", ["a/1.png"]),
        ("a\\1.png", ["a/1.png"]),
        ("2.jpg", ["a/2.jpg"]),
        ("2.png", []),
        ("v1.5", ["v1.5.png"]),
        ("v1", []),
        ("3.png", ["3.png.jpg"]),
        ("cafe\u0301", ["caf\u00e9.png"]),
        ("", []),
        ("/1", []),
    ],
)
def test_an_id_is_a_file_name_or_a_path_with_or_without_its_ending(id, expected):
    pictures = Lookup(["a/1.png", "b/1.png", "a/2.jpg", "v1.5.png", "3.png.jpg", "caf\u00e9.png"])
    assert pictures.find(id) == expected


def test_rows_come_in_the_order_of_the_labels_and_of_the_sample():
    rows = find(TRAIN + TEST, table(SAMPLE, "sampleSubmission.csv"), table(LABELS)).rows
    assert [(row.id, row.label, row.split, row.path) for row in rows] == [
        ("2", "cat", None, "train/2.png"),
        ("1", "dog", None, "train/1.png"),
        ("10", "cat", None, "train/10.png"),
        ("9", "dog", None, "train/9.png"),
        ("30", None, "test", "test/30.png"),
        ("2", None, "test", "test/2.png"),
        ("1", None, "test", "test/1.png"),
    ]


def test_without_a_sample_test_rows_come_in_natural_order():
    rows = find([*TRAIN, "test/10.png", "test/9.png", "test/v2.10.png"], table(LABELS)).rows
    assert [row.id for row in rows if row.split == "test"] == ["9", "10", "v2.10"]


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        "id,label\n2.png,cat\n1.png,dog\n10.png,cat\n9.png,dog\n",
        "path,label\ntrain/2.png,cat\ntrain/1.png,dog\ntrain/10.png,cat\ntrain/9.png,dog\n",
        "2,cat\n1,dog\n10,cat\n9,dog\n",
        "width,label,source,id\n32,cat,web,2\n32,dog,web,1\n32,cat,web,10\n32,dog,web,9\n",
    ],
)
def test_ids_are_the_same_however_the_labels_spell_them(labels):
    rows = find(TRAIN, table(labels)).rows
    assert [row.id.removeprefix("train/") for row in rows] == ["2", "1", "10", "9"]
    assert [row.label for row in rows] == ["cat", "dog", "cat", "dog"]


def test_labels_and_sample_are_told_apart_by_content_when_train_and_test_have_the_same_ids():
    paths = [f"{split}/{n}.png" for split in ("train", "test") for n in range(4)]
    labels, sample = table("id,label\n0,a\n1,b\n2,a\n3,b\n", "x.csv"), table("id,label\n3,a\n2,a\n1,a\n0,a\n", "y.csv")
    for order in ((labels, sample), (sample, labels)):
        found = find(paths, *order)
        assert found.table.match.table is labels
        assert found.sample.table is sample
    named = table("id,label\n3,a\n2,b\n1,b\n0,a\n", "sample_submission.csv")
    assert find(paths, named, labels).table.match.table is labels


def test_other_tables_are_neither_labels_nor_sample():
    paths = TRAIN + TEST
    sizes = table("id,width\n1,32\n77,32\n78,32\n", "sizes.csv")
    found = find(paths, sizes, table("test\n1\n2\n30\n", "test.csv"), table(LABELS))
    assert found.table.match.table.name == "trainLabels.csv"
    assert found.sample is None
    assert find(paths, table("a,b\nx,y\n", "other.csv")) is None
    assert find(paths, table(SAMPLE, "sampleSubmission.csv")) is None, "a sample alone holds no labels"


def test_in_one_folder_the_pictures_of_the_sample_are_test():
    paths = [f"images/{n}.jpg" for n in ("a1", "a2", "b1", "b2")]
    found = find(paths, table("id,label\na1,x\na2,y\n"), table("id,label\nb2,x\nb1,x\n", "sample_submission.csv"))
    assert [(row.id, row.label, row.split) for row in found.rows] == [
        ("a1", "x", None),
        ("a2", "y", None),
        ("b2", None, "test"),
        ("b1", None, "test"),
    ]


def test_labels_sample_and_test_can_be_named():
    paths = [*TRAIN, "holdout/1.png"]
    other = table("id,label\n1,a\n2,b\n9,a\n10,b\n", "other.csv")
    rows = find(paths, table(LABELS), labels=other, test={"holdout/1.png"}).rows
    assert [row.label for row in rows] == ["a", "b", "a", "b", None]
    assert rows[-1].path == "holdout/1.png"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            LABELS.replace("9,dog", "8,dog"),
            '1 of 4 labels have no picture, first "8" in line 5; 1 of 4 pictures have no label',
        ),
        (
            LABELS + "77,cat\n78,cat\n79,cat\n80,x\n",
            '4 of 8 labels have no picture, first "77" in line 6, "78" in line 7',
        ),
        (LABELS + "1,dog\n", r'1 of 5 ids are repeated, first "1 \(first in line 3\)" in line 6'),
        (LABELS + "1.png,dog\n", r'1 of 5 ids are repeated, first "1.png \(first in line 3\)" in line 6'),
        (LABELS.replace("9,dog", "9,"), '1 of 4 lines have no id or no label, first "9" in line 5'),
        (LABELS.replace("9,dog", "9"), '1 of 4 lines have no id or no label, first "9" in line 5'),
        (LABELS.replace("9,dog\n", ""), '1 of 4 pictures have no label, first "train/9.png"'),
    ],
)
def test_labels_that_do_not_fit_the_pictures_are_counted_and_named_by_line(labels, message):
    with pytest.raises(DataError, match=message) as caught:
        find(TRAIN + TEST, table(labels))
    assert 'trainLabels.csv, column "id"' in str(caught.value)
    assert "each picture named once, with a label" in str(caught.value)


def test_an_id_that_means_two_pictures_is_refused():
    with pytest.raises(
        DataError, match=r'1 of 2 ids match more than one picture, first "1 \(a/1.png, b/1.png\)" in line 2'
    ):
        find(["a/1.png", "b/1.png", "a/2.png"], table("id,label\n1,x\n2,y\n"))


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (SAMPLE + "4,cat\n", '1 of 4 ids of the sample have no test picture, or more than one, first "4" in line 5'),
        (SAMPLE + "1,cat\n", '1 of 4 ids of the sample are repeated, first "1" in line 5'),
        (SAMPLE.replace("2,cat\n", ""), '1 of 3 test pictures are not in the sample, first "test/2.png"'),
    ],
)
def test_a_sample_that_disagrees_with_the_test_pictures_is_refused(sample, message):
    with pytest.raises(DataError, match=message) as caught:
        find(TRAIN + TEST, table(LABELS), table(sample, "sampleSubmission.csv"))
    assert "sampleSubmission.csv" in str(caught.value)
    assert "--sample" in str(caught.value)


ODD = "\x1b[31mcat"
LONG = "x" * 1001


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            LABELS.replace("9,dog", f"9,{ODD}"),
            r'1 of 4 lines contain control characters in an id or label, first "\\x1b\[31mcat" in line 5',
        ),
        (
            LABELS.replace("9,dog", f"{ODD},dog"),
            r'1 of 4 lines contain control characters in an id or label, first "\\x1b\[31mcat" in line 5',
        ),
        (LABELS.replace("9,dog", '9,"a\nb"'), r'first "a\\nb" in line 6'),
        (LABELS + "9\x9bm,x\n8\u2028y,z\n", r'2 of 6 lines .*, first "9\\x9bm" in line 6, "8\\u2028y" in line 7'),
        (
            LABELS.replace("9,dog", f"9,{LONG}"),
            '1 of 4 lines have an id or label of more than 1,000 characters, first "xxx',
        ),
        (
            LABELS.replace("9,dog", f"{LONG},dog"),
            '1 of 4 lines have an id or label of more than 1,000 characters, first "xxx',
        ),
        (
            LABELS.replace("9,dog", f"{LONG},{ODD}"),
            "1 of 4 lines have an id or label of .*; 1 of 4 lines contain control",
        ),
    ],
)
def test_ids_and_labels_that_command_a_terminal_or_fill_the_memory_are_refused_by_line(labels, message):
    with pytest.raises(DataError, match=message) as caught:
        find(TRAIN + TEST, table(labels))
    assert str(caught.value).isascii()
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert "in: trainLabels.csv" in str(caught.value)
    assert "expected: ids and labels of at most 1,000 characters" in str(caught.value)


@pytest.mark.parametrize(("id", "message"), [(ODD, "control characters"), (LONG, "more than 1,000 characters")])
def test_such_ids_in_a_sample_are_refused_too_but_what_it_says_of_them_is_not_looked_at(id, message):
    with pytest.raises(DataError, match=f"1 of 4 lines (have|contain) .*{message}.*in line 5") as caught:
        find(TRAIN + TEST, table(LABELS), table(SAMPLE + f"{id},cat\n", "sampleSubmission.csv"))
    assert "in: sampleSubmission.csv" in str(caught.value)
    assert len(find(TRAIN + TEST, table(LABELS), table(SAMPLE.replace("cat", f'"{ODD}"'), "sample.csv")).rows) == 7


def test_line_ends_and_marks_of_other_systems_are_no_control_characters():
    for text in (
        LABELS.replace("\n", "\r\n"),
        LABELS.replace("\n", "\r"),
        "\ufeff" + LABELS,
        LABELS.replace(",", " ,\t"),
    ):
        assert find(TRAIN, table(text)).rows == find(TRAIN, table(LABELS)).rows
    longest = "x" * 1000
    rows = find([*TRAIN, f"train/{longest}.png"], table(LABELS + f"{longest},{longest}\n")).rows
    assert (rows[-1].id, rows[-1].label) == (longest, longest)


def test_the_names_of_columns_are_shown_without_their_control_characters(caplog):
    caplog.set_level("INFO", "snellen")
    find(TRAIN, table(LABELS.replace("id,label", 'id\x1b[2J,"label\nor kind"')))
    assert r'ids in column "id\x1b[2J", labels in column "label\nor kind"' in caplog.text


def test_a_file_that_was_named_and_fits_nothing_is_refused():
    other = table("id,label\nx,cat\ny,dog\n", "other.csv")
    with pytest.raises(DataError, match="the labels file lists none of the 4 pictures"):
        find(TRAIN + TEST, labels=other)
    with pytest.raises(DataError, match="the sample submission lists none of the 3 pictures") as caught:
        find(TRAIN + TEST, table(LABELS), sample=other)
    assert '"1", "2", "30"' in str(caught.value)
    with pytest.raises(DataError, match="the sample submission has 2 ids, but no pictures were found for it"):
        find(TRAIN, table(LABELS), sample=other)
    for named in ({"labels": table("id,label\n")}, {"sample": table("id,label\n")}):
        with pytest.raises(DataError, match=r"(labels file|sample submission) has no lines below its header"):
            find(TRAIN + TEST, table(LABELS), **named)


def test_a_million_columns_do_not_take_minutes():
    wide = table("id,label" + ",x" * 1_000_000 + "\n1,a" + ",y" * 1_000_000 + "\n")
    assert find_labels([wide], TRAIN).match.column == 0


def test_columns_that_are_not_used_are_said(caplog):
    caplog.set_level("INFO", "snellen")
    find(TRAIN, table("id,label,when\n2,cat,a\n1,dog,b\n10,cat,c\n9,dog,d\n"))
    assert 'ids in column "id", labels in column "label"; columns not used: "when"' in caplog.text


def test_the_column_of_splits_is_reported_as_used(caplog):
    caplog.set_level("INFO", "snellen")
    lines = "".join(f"{n},{'cat' if n % 2 else 'dog'},{'val' if n > 8 else 'train'},7\n" for n in (10, 9, 2, 1))
    rows = find(TRAIN, table("id,label,part,x\n" + lines)).rows
    assert {row.split for row in rows} == {"train", "valid"}
    assert 'labels in column "label", splits in column "part"; columns not used: "x"' in caplog.text
