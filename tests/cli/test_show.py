"""`snellen show` describes whatever snellen wrote, and no name of a stranger reaches the terminal as it is."""

import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from conftest import write_world
from made import small_model
from snellen.cli.commands import main
from snellen.cli.output import plain
from snellen.cli.show import show
from snellen.competition.compete import compete
from snellen.errors import SnellenError
from snellen.images.organize import organize
from snellen.models.model_file import save_model
from snellen.runs.presets import PRESETS
from snellen.runs.run import Run
from snellen.training.cross_validate import cross_validate

SMOKE = PRESETS["smoke"].with_settings(["epochs=1", "precision=float32"])


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("entry")
    return compete(write_world(folder / "raw").folder, folder / "out", recipe=SMOKE, size=16, refit=False)


def test_results_of_compete_are_described_part_by_part(entry):
    out = entry.images.folder.parent
    assert show(str(out)) == f"{out / 'data'}: {entry.images}\n{out / 'run'}: {show(str(out / 'run'))}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("data", "60 images of 16x16 pixels"),
        ("run", "1 of 1 epochs"),
        ("run/model.safetensors", '"classes"'),
        ("run/recipe.json", "epochs"),
        ("predictions.csv", "18 predictions over 3 classes"),
    ],
)
def test_each_thing_has_its_description(entry, name, words):
    assert words in show(str(entry.images.folder.parent / name))


def test_folds_and_unfinished_runs_are_described(entry, tmp_path):
    folds = cross_validate(entry.images, SMOKE, tmp_path / "cv", folds=2)
    assert show(str(folds.folder)) == str(folds)
    run = Run.open(folds.folder / "fold-1")
    run.model.unlink()
    assert show(str(run.folder)).startswith(str(run))


def test_a_study_is_described_by_its_best_recipe(entry, tmp_path):
    (tmp_path / "study.json").write_text("{}")
    entry.run.recipe.save(tmp_path / "best.json")
    assert "the best trial was trained elsewhere" in show(str(tmp_path))
    (tmp_path / "trials").mkdir()
    os.symlink(entry.run.folder, tmp_path / "trials" / "0000", target_is_directory=True)
    assert "best trial: " in show(str(tmp_path))


def test_what_snellen_did_not_write_is_named(entry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "raw").mkdir()
    raw = entry.images.source
    organize(raw, tmp_path / "tree")
    for thing, what in (
        ("a.txt", '"a.txt" was not written by snellen.'),
        ("raw", '"raw" was not written by snellen.'),
        (str(raw), f'"{raw}" was not written by snellen.'),
        ("fats", '"fats" does not exist.'),
        ("tree/train_valid_test", '"tree/train_valid_test" holds class folders written by `snellen organize`.'),
    ):
        with pytest.raises(SnellenError) as caught:
            show(thing)
        assert caught.value.what == what
    assert "a model.safetensors file" in caught.value.expected


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("Käse 猫 \N{ZERO WIDTH JOINER}", "Käse 猫 \N{ZERO WIDTH JOINER}"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\r\x9b31m\x7f", "\\r\\x9b31m\\x7f"),
        ("exe\u202egnp", "exe\\u202egnp"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_spelt_out(text, printed):
    assert plain(text) == printed


def test_no_name_of_a_picture_reaches_the_terminal_as_it_is(tmp_path):
    model = save_model(tmp_path / "m.safetensors", small_model())
    for name in ("a\x1b[31mb.png", "c\nd.png"):
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "e\x1b[0m.png").write_bytes(b"damaged")
    words = ["predict", str(model), *(str(path) for path in tmp_path.glob("*.png"))]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    missing = CliRunner().invoke(main, ["show", "no\x1b[31m"])
    assert 'snellen: "no\\x1b[31m" does not exist.' in missing.stderr


@pytest.mark.skipif(os.name == "nt", reason="names of files are Unicode there")
def test_names_that_are_not_utf8_are_printed_too(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.png"
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", path)
    model = save_model(tmp_path / "m.safetensors", small_model())
    words = [sys.executable, "-m", "snellen", "predict", model, path]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "\\udcff.png: " in done.stdout
