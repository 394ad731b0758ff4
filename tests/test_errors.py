import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import many
from snellen.errors import DataError, RecipeError, RunError, SnellenError, did_you_mean, first_few, shown, some_of


@pytest.mark.parametrize("kind", [DataError, RecipeError, RunError])
def test_a_message_has_its_four_parts_in_order(kind):
    problem = kind("3 images are missing.", where="labels.csv, line 18", expected="00017.png", do="check the folder")
    assert isinstance(problem, SnellenError)
    assert str(problem) == (
        "3 images are missing.\n  in: labels.csv, line 18\n  expected: 00017.png\n  do: check the folder"
    )
    parts = (problem.what, problem.where, problem.expected, problem.do)
    assert parts == ("3 images are missing.", "labels.csv, line 18", "00017.png", "check the folder")


def test_parts_that_are_not_given_leave_no_line():
    assert str(SnellenError("no.")) == "no."
    assert str(SnellenError("no.", do="yes")) == "no.\n  do: yes"


def test_a_near_name_is_offered_and_a_far_one_is_not():
    assert did_you_mean("epoch", ["epochs", "batch_size"], "look") == 'did you mean "epochs"?'
    assert did_you_mean("zzz", ["epochs", "batch_size"], "look") == "look"
    assert did_you_mean("epoch", [], "look") == "look"


@many
@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=5))
def test_the_offered_name_is_always_a_known_one(name, known):
    answer = did_you_mean(name, known, "look")
    assert answer == "look" or answer.removeprefix('did you mean "').removesuffix('"?') in map(shown, known)
    if name in known:
        assert answer == f'did you mean "{shown(name)}"?'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cat", "cat"), ("Käse, 猫", "Käse, 猫"), ("\x1b[31mred", "\\x1b[31mred"), ("a\nb\r", "a\\nb\\r"),
        ("\x9b2J", "\\x9b2J"), ("exe\u202egnp", "exe\\u202egnp"), ("\udcff", "\\udcff"), ("x" * 999, "x" * 200),
    ],
)  # fmt: skip
def test_a_name_is_shown_as_text_that_steers_no_terminal(name, text):
    assert shown(name) == text
    assert first_few([name]) == f'"{text}"'
    assert some_of([name]) == text


@many
@given(st.text(max_size=300))
def test_whatever_a_name_holds_what_is_shown_is_printable(name):
    assert shown(name).isprintable()
    assert len(shown(name)) <= 200


def test_first_few_names_three_and_says_when_there_are_more():
    assert first_few([]) == ""
    assert first_few(["3"]) == '"3"'
    assert first_few(["3", "17", "9"]) == '"3", "17", "9"'
    assert first_few(str(n) for n in range(50_000)) == '"0", "1", "2", ...'
    assert first_few(["a", "b"], most=1) == '"a", ...'


def test_some_of_shows_the_first_and_says_when_there_are_more():
    assert some_of([]) == ""
    assert some_of(["cat", "deer"]) == "cat, deer"
    assert some_of(tuple("abcde")) == "a, b, c, d, e"
    assert some_of(tuple("abcdef")) == "a, b, c, d, e, ..."
    assert some_of("xyz", 1) == "x, ..."
