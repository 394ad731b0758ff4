import pytest

from snellen.errors import DataError
from snellen.sources.tables import label_column, read_table


@pytest.mark.parametrize(
    "data",
    [
        b"id,label\n1,cat\n2,dog\n",
        b"id,label\r\n1,cat\r\n2,dog\r\n",
        b"\xef\xbb\xbfid,label\n1,cat\n2,dog",
        b'"id","label"\n"1","cat"\n"2","dog"\n',
        b"id;label\n1;cat\n2;dog\n",
        b"id\tlabel\n1\tcat\n2\tdog\n",
        b" id , label \n 1, cat \n\n2,dog\n,\n",
        b"id,label\r1,cat\r2,dog\r",
    ],
)
def test_every_way_to_write_a_csv_gives_the_same_table(data):
    table = read_table("labels.csv", data)
    assert [row for _, row in table.lines] == [["id", "label"], ["1", "cat"], ["2", "dog"]]


def test_quotes_hold_commas_and_line_breaks_and_lines_are_counted_as_in_the_file():
    table = read_table("labels.csv", b'id,label\n\n1,"cat, big"\n2,"a\nb"\n3,x\n')
    assert table.lines == [(1, ["id", "label"]), (3, ["1", "cat, big"]), (5, ["2", "a\nb"]), (6, ["3", "x"])]


def test_short_lines_have_empty_values():
    assert read_table("labels.csv", b"id,label\n1\n").column(1) == ["label", ""]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"id,label\n1,caf\xe9\n", r"x\.csv is not UTF-8.*line 2"),
        ("id,label\n1,cat\n".encode("utf-16"), r"x\.csv is not UTF-8.*line 1"),
        (b"id,label\n1,c\0at\n", r"x\.csv contains NUL bytes.*line 2"),
        (b"", r"x\.csv is empty"),
        (b"\n \n", r"x\.csv is empty"),
        (b'id,label\n1,"cat\n2,dog\n', r"x\.csv cannot be read: unexpected end of data.*line 3"),
        (b'id,label\n1,"cat"s\n', r"x\.csv cannot be read: .*line 2"),
        (b"id,label\n1," + b"x" * 200_000 + b"\n", r"x\.csv cannot be read: field larger.*line 2"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(data, message):
    with pytest.raises(DataError, match="(?s)" + message) as caught:
        read_table("raw/x.csv", data)
    assert "raw/x.csv" in str(caught.value)
    assert "UTF-8" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,label\n1,a\n", 1),
        ("id,what\n1,a\n", 1),
        ("label,id\na,1\n", 0),
        ("id,source,label\n1,x,a\n2,x,b\n", 2),
        ("id,width,Class\n1,32,a\n2,32,b\n", 2),
        ("id,time,kind,note\n1,10:01,a,\n2,10:02,b,\n3,10:03,a,\n4,10:04,b,\n", 2),
    ],
)
def test_the_label_column_is_known_by_its_name_or_by_few_distinct_values(text, expected):
    table = read_table("labels.csv", text.encode())
    id_column = next(n for n in range(table.width) if table.column_name(n) == "id")
    assert label_column(table, id_column) == expected


def test_a_table_of_one_column_has_no_labels():
    assert label_column(read_table("ids.csv", b"id\n1\n2\n"), 0) is None
