import pytest

from snellen.errors import DataError
from snellen.sources.tables import read_table


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


@pytest.mark.parametrize("text", ["id,label\n1,bear, brown\n2,cat\n", "id,label\n1,cat\n2,0,5\n"])
def test_lines_with_more_values_than_the_header_are_refused(text):
    with pytest.raises(DataError, match=r"1 of 3 lines have more values than the first line, first") as caught:
        read_table("labels.csv", text.encode()).check_width()
    assert "labels.csv, line " in caught.value.where
    assert '1,"bear, brown"' in caught.value.do


def test_empty_values_at_the_end_of_lines_are_no_values():
    read_table("labels.csv", b"id,label\n1,cat,\n2,dog,,\n").check_width()


def test_columns_are_found_by_name_in_any_case_or_by_number():
    table = read_table("labels.csv", b"Id,label,7\n1,cat,x\n")
    assert [table.find_column(name) for name in ("id", "LABEL", "7", "2", "9", "x")] == [0, 1, 2, 1, None, None]
