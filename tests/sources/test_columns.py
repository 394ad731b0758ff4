import pytest

from snellen.errors import DataError
from snellen.sources.columns import TwoReadings, label_columns
from snellen.sources.lookup import Lookup, match_ids
from snellen.sources.tables import read_table

SAMPLE = "sample_submission.csv"


def matched(text, name="train.csv", folder="train", id=None):
    table = read_table(name, text.encode())
    column = next(n for n in range(table.width) if table.column_name(n).lower() == (id or "id"))
    ids = table.column(column)[1:]
    return match_ids(table, Lookup([f"{folder}/{id}.png" for id in ids]), len(ids), id=id)


def chosen(text, sample=None, tests=(), label=None):
    match = matched(text)
    found = label_columns(
        match,
        sample=matched(sample, SAMPLE, "test") if sample else None,
        tests=[read_table("test.csv", test.encode()) for test in tests],
        wanted=label,
    )
    return found and [match.header(column) for column in found.columns]


FULL = "id,source,diagnosis,sex\n1,a,x,m\n2,b,y,m\n3,a,y,f\n4,b,x,f\n"


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("id,diagnosis\n9,x\n", ["diagnosis"]),
        ("id,SEX\n9,m\n", ["sex"]),
        ("id,x,y\n9,0.5,0.5\n", ["diagnosis"]),
        ("id,predicted\n9,a\n", ["source"]),
    ],
)
def test_the_sample_decides_by_its_header_or_by_the_classes_it_names(sample, expected):
    assert chosen(FULL, sample) == expected


def test_what_the_test_table_lacks_is_the_label():
    assert chosen(FULL, "id,predicted\n9,0\n", ["id,source,sex\n9,a,m\n"]) == ["diagnosis"]
    with_target = FULL.replace("sex\n", "target\n")
    assert chosen(with_target, tests=["id,source\n9,a\n"]) == ["target"], "of two, the one with a usual name"


def test_two_columns_that_could_be_labels_are_refused_and_listed():
    with pytest.raises(
        TwoReadings, match=r'3 columns of train.csv could be the labels: "source" \(2 values: a, b'
    ) as e:
        chosen(FULL)
    assert "--label source" in e.value.do
    with pytest.raises(TwoReadings, match=r"2 columns of train\.csv could be the labels"):
        chosen("id,class,category\n1,a,x\n2,b,x\n3,a,y\n4,b,y\n".replace("class", "my class").replace("cat", "a cat"))


def test_a_person_decides_by_name_or_number():
    assert chosen(FULL, label="diagnosis") == chosen(FULL, label="3") == ["diagnosis"]
    assert chosen(FULL, label="nothing") is None
    with pytest.raises(DataError, match=r'the column "id" of train\.csv contains the ids'):
        chosen(FULL, label="id")


ONE_HOT = "id,cat,dog,owl\n1,1,0,0\n2,0,1,0\n3,0,0,1\n4,1,0,0\n"


def test_columns_of_0_and_1_are_labels_only_if_the_sample_or_a_person_names_them():
    assert chosen(ONE_HOT, "id,owl,cat,dog\n9,0.3,0.3,0.4\n") == ["owl", "cat", "dog"]
    assert chosen(ONE_HOT, label="cat, dog,owl") == ["cat", "dog", "owl"]
    with pytest.raises(TwoReadings) as caught:
        chosen(ONE_HOT)
    assert "--label cat,dog,owl" in caught.value.do


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,label\n1,a\n", "label"),
        ("id,what\n1,a\n", "what"),
        ("label,id\na,1\n", "label"),
        ("id,source,label\n1,x,a\n2,x,b\n", "label"),
        ("id,width,Class\n1,32,a\n2,32,b\n", "Class"),
        ("id,time,kind,note\n1,10:01,a,\n2,10:02,b,\n3,10:03,a,\n4,10:04,b,\n", "kind"),
        ("id,class_id,class_name\n1,0,a\n2,1,b\n3,0,a\n", "class_name"),
        ("id,split,kind\n1,train,a\n2,train,b\n3,val,a\n", "kind"),
        ("id,fold,kind\n1,0,a\n2,1,b\n3,2,a\n", "kind"),
    ],
)
def test_without_a_sample_usual_names_or_the_only_column_left_decide(text, expected):
    assert chosen(text) == [expected]


def test_row_numbers_are_no_ids_if_a_column_has_file_names():
    text = ",filename,label\n0,2.png,a\n1,0.png,b\n2,1.png,a\n"
    table = read_table("train.csv", text.encode())
    match = match_ids(table, Lookup(["0.png", "1.png", "2.png"]), 3)
    assert match.header(match.column) == "filename"


def test_two_columns_that_mean_different_pictures_are_refused():
    table = read_table("train.csv", b"first,second,label\n1,3,a\n2,1,b\n3,2,a\n")
    pictures = Lookup(["1.png", "2.png", "3.png"])
    with pytest.raises(DataError, match=r'two columns of train\.csv could be the ids: "first", "second"') as caught:
        match_ids(table, pictures, 3)
    assert "--id first or --id second" in caught.value.do
    assert match_ids(table, pictures, 3, id="second").where[0] == ["3.png"]
