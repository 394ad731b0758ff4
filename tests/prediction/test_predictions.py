import csv
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import some
from snellen.errors import DataError
from snellen.prediction.predictions import Predictions

ODD_CLASSES = ("id", "label", "p_", 'a "quoted" one', "a, b", "p_id", "猫", " space ", "", "-1", "=1+1")


def guesses(num, classes, seed=0):
    rng = np.random.default_rng(seed)
    raw = rng.random((num, classes)) ** 8 + 1e-6
    return (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)


def written(tmp_path, text):
    path = tmp_path / "predictions.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(tmp_path, text):
    with pytest.raises(DataError) as caught:
        Predictions.open(written(tmp_path, text))
    return caught.value


def equal(one, other):
    same_ids = one.ids.tolist() == other.ids.tolist()
    return same_ids and one.classes == other.classes and one.probabilities.tobytes() == other.probabilities.tobytes()


@pytest.mark.parametrize("num", [1, 2, 9_999, 10_000, 10_001, 25_000])
def test_every_bit_comes_back_whatever_the_number_of_rows(tmp_path, num):
    saved = Predictions(np.array([f"{n:x}" for n in range(num)]), guesses(num, 3), ("a", "b", "c"))
    assert equal(Predictions.open(saved.save(tmp_path / "p.csv")), saved)


def test_odd_class_names_come_back_and_none_is_taken_for_another(tmp_path):
    ids = np.array(["id", "label", "1,5", 'x"y', "猫", "0001", "1", " 1", "1e5", "=SUM(A1)", "two\nlines"])
    saved = Predictions(ids, guesses(len(ids), len(ODD_CLASSES)), ODD_CLASSES)
    opened = Predictions.open(saved.save(tmp_path / "p.csv"))
    assert equal(opened, saved)
    for id, row in zip(ids, saved.probabilities, strict=True):
        assert opened.label_of(id) == ODD_CLASSES[row.argmax()]


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@some
@given(
    ids=st.lists(names, min_size=1, max_size=5, unique=True),
    classes=st.lists(names, min_size=2, max_size=5, unique=True),
    seed=st.integers(0, 99),
)
def test_any_names_come_back(ids, classes, seed, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    saved = Predictions(np.array(ids, dtype=str), guesses(len(ids), len(classes), seed), tuple(classes))
    assert equal(Predictions.open(saved.save(path)), saved)


@some
@given(row=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=6).filter(lambda row: sum(row) > 0.1))
def test_extreme_probabilities_come_back_exactly(row, tmp_path_factory):
    row = np.array(row, dtype=np.float32)
    row = row / row.sum()
    saved = Predictions(np.array(["1"]), row[None], tuple("abcdef"[: len(row)]))
    assert equal(Predictions.open(saved.save(tmp_path_factory.getbasetemp() / "extreme.csv")), saved)


def test_the_most_probable_class_is_the_label_and_the_first_of_equals(tmp_path):
    probabilities = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [0, 0, 1]], dtype=np.float32)
    saved = Predictions(np.array(["9", "10", "a7"]), probabilities, ("x", "y", "z"))
    assert saved.labels.tolist() == [1, 0, 2]
    for guess in (saved, Predictions.open(saved.save(tmp_path / "p.csv"))):
        assert [guess.label_of(id) for id in ("a7", "9", "10")] == ["z", "y", "x"]
        with pytest.raises(KeyError):
            guess.label_of("8")


def test_the_file_is_plain_csv_that_a_spreadsheet_reads(tmp_path):
    saved = Predictions(np.array(["b", "a"]), np.array([[0.25, 0.75], [1, 0]], dtype=np.float32), ("cat", "dog, wild"))
    path = saved.save(str(tmp_path / "deep" / "p.csv"))
    assert path.read_bytes() == b'id,label,p_cat,"p_dog, wild"\nb,"dog, wild",0.25,0.75\na,cat,1,0\n'
    with open(path, newline="") as file:
        assert next(csv.DictReader(file))["p_dog, wild"] == "0.75"


def test_crlf_and_a_byte_order_mark_do_no_harm(tmp_path):
    saved = Predictions(np.array(["1", "2"]), guesses(2, 2), ("a", "b"))
    path = saved.save(tmp_path / "p.csv")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert equal(Predictions.open(path), saved)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = Predictions(np.array(["1"]), guesses(1, 2), ("a", "b")).save(tmp_path / "p.csv")
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        Predictions(np.array(["1", "\ud800"]), guesses(2, 2), ("a", "b")).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["p.csv"]


@pytest.mark.parametrize(
    "text",
    ["", "\n", "id\n", "id,label\n1,a\n", "id,label,p_a\n1,a,1\n", "id,label,a,b\n1,a,1,0\n", "label,id,p_a,p_b\n",
     "id,label,a,p_b\n1,a,1,0\n", "1,a,1,0\n", "\0\0\0", "ID,label,p_a,p_b\n1,a,1,0\n", '"id',
     b"PK\x03\x04\x14\0\x08\0"],
)  # fmt: skip
def test_another_kind_of_file_is_refused(tmp_path, text):
    problem = refused(tmp_path, text)
    assert "this is not a predictions file" in problem.what
    assert "predictions.csv" in problem.where
    assert "snellen predict" in problem.do


@pytest.mark.parametrize("text", [b"id,label,p_a,p_b\n1,a,1,0\n\xff\xfe,a,1,0\n", "x" * 200_000])
def test_bytes_that_are_no_text_are_refused(tmp_path, text):
    assert "this is not a predictions file" in refused(tmp_path, text).what


@pytest.mark.parametrize(
    "row",
    [
        "", "2", "2,a", "2,a,1", "2,a,1,0,0", "2,B,1,0", "2,,1,0", "2,c,1,0", "2,a,one,0", "2,a,,1", "2,a,0.5,0.4",
        "2,a,nan,0", "2,a,inf,0", "2,a,nan,nan", "2,a,1,1", "2,a,0,0", "2,a,-1,0", "2,a,1.5,-0.5", "2,a,1 0", "2;a;1;0",
    ],
)  # fmt: skip
def test_a_damaged_line_is_named(tmp_path, row):
    problem = refused(tmp_path, f"id,label,p_a,p_b\n1,a,0.75,0.25\n{row}\n3,b,0,1\n")
    assert problem.where.endswith("predictions.csv, line 3")
    assert "is damaged" in problem.what
    assert "2 probabilities that sum to 1" in problem.expected


def test_the_line_number_counts_lines_of_the_file_not_rows(tmp_path):
    problem = refused(tmp_path, 'id,label,p_a,p_b\n"two\nlines",a,0.75,0.25\n2,c,1,0\n')
    assert problem.where.endswith("line 4")


def test_repeated_ids_are_counted_and_named(tmp_path):
    rows = "".join(f"{id},a,1,0\n" for id in ("7", "8", "7", "9", "8", "7"))
    problem = refused(tmp_path, "id,label,p_a,p_b\n" + rows)
    assert problem.what == '2 ids are repeated, first "7", "8".'
    assert problem.expected == "each id once"


def test_ids_that_only_look_alike_are_different(tmp_path):
    opened = Predictions.open(written(tmp_path, "id,label,p_a,p_b\n1,a,1,0\n01,b,0,1\n1.0,a,1,0\n"))
    assert [opened.label_of(id) for id in ("1", "01", "1.0")] == ["a", "b", "a"]


def test_two_classes_of_one_name_are_refused(tmp_path):
    assert "p_a" in str(refused(tmp_path, "id,label,p_a,p_a\n1,a,1,0\n"))


def test_a_file_without_rows_is_refused(tmp_path):
    assert "has no rows" in refused(tmp_path, "id,label,p_a,p_b\n").what


def test_a_path_that_cannot_be_read_is_said_to_be_so(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            Predictions.open(path)


def test_damage_anywhere_is_an_error_of_ours_or_harmless(tmp_path):
    saved = Predictions(np.array(["1", "b,c", "3"]), guesses(3, 3), ("x", 'y"', "z"))
    whole = saved.save(tmp_path / "p.csv").read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:stop] for stop in range(len(whole))]
    for _ in range(300):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] = rng.integers(256)
        damaged.append(bytes(changed))
    refusals = 0
    for content in damaged:
        try:
            opened = Predictions.open(written(tmp_path, content))
        except DataError:
            refusals += 1
        else:
            assert (opened.probabilities >= 0).all()
            assert np.allclose(opened.probabilities.sum(axis=1), 1, atol=2e-3)
    assert refusals > len(damaged) / 2


def test_it_says_how_much_it_is():
    saved = Predictions(np.array([str(n) for n in range(1200)]), guesses(1200, 3), ("a", "b", "c"))
    assert str(saved) == "1,200 predictions over 3 classes"
    assert len(saved) == 1200
    assert "1,200" in repr(saved)


def test_the_label_column_holds_the_decision_and_not_the_most_probable_class(tmp_path):
    probabilities = np.array([[0.4, 0.3, 0.3], [0.6, 0.2, 0.2]], dtype=np.float32)
    decided = Predictions(np.array(["1", "2"]), probabilities, ("0", "1", "2"), np.array([1, 0]))
    path = decided.save(tmp_path / "p.csv")
    assert [line.split(",")[1] for line in path.read_text().splitlines()[1:]] == ["1", "0"]
    opened = Predictions.open(path)
    assert opened.labels.tolist() == [1, 0]
    assert opened.label_of("1") == "1"
    assert opened.save(tmp_path / "again.csv").read_bytes() == path.read_bytes()
