"""Every figure of the README's tables can be made again with one command."""

import re
import sys
from pathlib import Path

import pytest

from conftest import write_world
from snellen.images.prepare import prepare
from test_docs import parse

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import readme_figures  # noqa: E402


def tables(text):
    """The tables of a page: each a list of rows, the heading first, each row a list of cells."""
    for block in re.findall(r"(?:^\|.*\|$\n?)+", text, re.M):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        yield [rows[0], *rows[2:]]


def missing(text):
    """What of the tables with figures has no entry: names of rows, headings of columns."""
    found = []
    for heading, *rows in tables(text):
        if any(re.fullmatch(r"[\d.,]+ ?(%|s|images/s).*", cell) for row in rows for cell in row):
            names = {row[0].partition("`")[2].partition("`")[0] for row in rows}
            found += sorted(names - readme_figures.FIGURES.keys())
            found += [column for column in heading[1:] if column not in readme_figures.COLUMNS]
    return found


def test_every_figure_of_the_readme_has_the_commands_that_make_it():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sum(any("%" in cell for row in rows for cell in row) for rows in tables(text)) >= 1
    assert missing(text) == []


def test_a_figure_without_commands_is_found():
    table = "| recipe | plain | luck |\n|---|---|---|\n| `fast` (it) | 90.0% | 3 |\n| `new` | 91.0% | 4 |\n"
    assert missing(table) == ["new", "luck"]


def test_the_commands_parse():
    for figure in readme_figures.FIGURES.values():
        for line in figure.commands(Path("data"), Path("my figures")):
            parse(line)


def test_a_row_is_made(tmp_path, monkeypatch, capsys):
    data = tmp_path / "data"
    prepare(write_world(tmp_path / "world").folder, data, size=16)
    figure = readme_figures.Figure("smoke", seeds=(0, 1), settings=("epochs=2",))
    monkeypatch.setitem(readme_figures.FIGURES, "smoke", figure)
    row = readme_figures.make("smoke", data, tmp_path / "out")
    assert re.fullmatch(r"\| `smoke` (\| \d+\.\d\d% \+- \d+\.\d\d ){3}\| [\d,]+ s \|", row)
    assert "--set seed=1 --set epochs=2" in capsys.readouterr().out
    assert readme_figures.make("smoke", data, tmp_path / "out") == row, "nothing is trained twice"


@pytest.mark.parametrize("name", readme_figures.FIGURES)
def test_every_row_is_a_named_recipe(name):
    from snellen import PRESETS

    assert readme_figures.FIGURES[name].recipe in PRESETS
