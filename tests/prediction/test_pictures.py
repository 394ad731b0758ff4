"""Any picture through the command line and Python: names, order, problems, and the warning of strange ones."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from conftest import CLASSES, write_world
from snellen.cli.commands import main
from snellen.errors import DataError
from snellen.images.prepare import prepare
from snellen.models.model_file import load_model
from snellen.prediction.evaluate import evaluate
from snellen.prediction.pictures import CHUNK, Classified, classify, find_pictures, write_classified
from snellen.prediction.predict import predict
from snellen.runs.presets import PRESETS
from snellen.serving.export import export
from snellen.sources.resize import Resize
from snellen.system.device import choose_runtime
from snellen.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that tells the world's colours apart."""
    folder = tmp_path_factory.mktemp("pictures")
    images = prepare(write_world(folder / "world").folder, folder / "data", size=16)
    return train(images, PRESETS["smoke"].with_settings(["epochs=8"]), folder / "run")


@pytest.fixture
def folder(tmp_path):
    """Pictures of every class in other sizes, modes and formats; one that is none."""
    for number, label in enumerate(CLASSES):
        colour = [40, 40, 40]
        colour[number] = 200
        Image.new("RGB", (50, 37), tuple(colour)).save(tmp_path / f"{number + 1}-{label}.jpg", quality=95)
        Image.new("RGBA", (16, 90), (*colour, 255)).save(tmp_path / f"{number + 10}-{label}.png")
    (tmp_path / "2-broken.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("left aside")
    return tmp_path


def test_every_picture_gets_its_own_answer_in_natural_order(run, folder):
    model = load_model(run.folder)
    found = classify(model, find_pictures([folder]), choose_runtime(device="cpu"))
    names = [picture.name.rpartition("/")[2] for picture in found]
    assert names == [
        "1-cherry.jpg",
        "2-broken.png",
        "2-leaf.jpg",
        "3-sky.jpg",
        "10-cherry.png",
        "11-leaf.png",
        "12-sky.png",
    ]
    for name, picture in zip(names, found, strict=True):
        if "broken" in name:
            assert "not a picture of a known format" in picture.problem
            assert picture.probabilities is None
        else:
            assert name.partition("-")[2].partition(".")[0] == picture.top(model.classes, 1)[0][0]
            assert picture.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_more_pictures_than_one_chunk_keep_their_order(run):
    model = load_model(run.folder)
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 3, CHUNK + 7)
    pixels = np.full((len(numbers), 16, 16, 3), 60, dtype=np.uint8)
    pixels[np.arange(len(numbers)), :, :, numbers] = 180
    found = classify(model, list(zip(map(str, range(len(numbers))), pixels, strict=True)), choose_runtime(device="cpu"))
    assert [picture.top(CLASSES, 1)[0][0] for picture in found] == [CLASSES[number] for number in numbers]


def test_familiar_pictures_are_seldom_strange_and_others_often(run, world):
    model = load_model(run.folder)
    runtime = choose_runtime(device="cpu")
    known = [(id, pixels) for (split, id), pixels in world.pixels.items() if split == "train"]
    strange = [picture.is_strange for picture in classify(model, known, runtime)]
    assert np.mean(strange) < 0.3
    assert np.isfinite([picture.strangeness for picture in classify(model, known, runtime)]).all()


def test_command_prints_a_line_for_each_and_writes_csv_and_json(run, folder, tmp_path):
    table, listing = tmp_path / "out.csv", tmp_path / "out.json"
    words = ["predict", str(run.folder), str(folder / "1-cherry.jpg"), str(folder / "2-broken.png"), "--top", "2"]
    done = CliRunner().invoke(main, [*words, "--out", str(table)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{folder / '1-cherry.jpg'}: cherry ")
    assert lines[0].count("%") == 2
    assert lines[1].startswith(f"{folder / '2-broken.png'}: cannot be read: ")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["label"] for row in rows] == ["cherry", ""]
    assert sum(float(rows[0][f"p_{name}"]) for name in CLASSES) == pytest.approx(1, abs=1e-5)
    assert rows[1]["problem"]
    assert CliRunner().invoke(main, [*words, "--out", str(listing)]).exit_code == 0
    entries = json.loads(listing.read_text())
    assert entries[0]["label"] == "cherry"
    assert list(entries[0]["classes"]) == list(CLASSES)
    assert "classes" not in entries[1]


def test_without_one_readable_picture_the_exit_code_is_1_and_the_file_is_written(run, folder, tmp_path):
    words = ["predict", str(run.folder), str(folder / "2-broken.png")]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out.json")])
    assert done.exit_code == 1
    assert "2-broken.png: cannot be read: " in done.stdout
    assert len(json.loads((tmp_path / "out.json").read_text())) == 1
    assert CliRunner().invoke(main, [*words, str(folder / "3-sky.jpg")]).exit_code == 0


def test_a_picture_that_is_named_twice_is_found_once(folder):
    first = folder / "3-sky.jpg"
    names = [name for name, _ in find_pictures([first, folder, folder / "." / "3-sky.jpg"])]
    assert names[0] == str(first)
    assert len(names) == len(set(names)) == 7


def test_what_holds_no_pictures_is_named(tmp_path):
    with pytest.raises(DataError, match="contains no pictures"):
        find_pictures([tmp_path])
    with pytest.raises(DataError, match="does not exist"):
        find_pictures([tmp_path / "photo.jpg"])


def test_class_names_with_commas_and_quotes_survive(tmp_path):
    classes = ('a "quoted", name', "id")
    found = [Classified("x,y.png", probabilities=np.array([0.25, 0.75], dtype=np.float32), strangeness=2.0)]
    row = next(csv.DictReader(write_classified(found, classes, tmp_path / "o.csv").read_text().splitlines()))
    assert row["name"] == "x,y.png"
    assert row["label"] == "id"
    assert row['p_a "quoted", name'] == "0.25"
    assert row["strangeness"] == "2.0"


def test_the_packaged_model_works_by_name_without_any_file_of_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (300, 200), 90).save("grey.png")
    done = CliRunner().invoke(main, ["predict", "cifar10-resnet20", "grey.png", "--top", "10"])
    assert done.exit_code == 0, done.output
    assert done.stdout.count("%") == 10
    assert "unlike anything" in done.stdout, "a flat grey picture is none of the ten classes"
    model = load_model("cifar10-resnet20")
    assert model.about["normalisation"]["mean"] == model.mean.flatten().tolist()
    assert model.about["evaluation"]["images"] == 5000
    assert 0.88 < model.about["evaluation"]["low"] < model.about["evaluation"]["high"] < 0.91


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no such device here")
def test_what_is_neither_file_nor_folder_holds_no_pictures(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match='"/dev/null" contains no pictures'):
        find_pictures([tmp_path / "a.png", "/dev/null"])


def test_the_class_decided_on_comes_first_and_the_others_follow_by_probability():
    probabilities = np.array([0.2, 0.5, 0.3], dtype=np.float32)
    plain = Classified("p.png", probabilities=probabilities)
    assert [name for name, _ in plain.top("abc", 3)] == ["b", "c", "a"]
    decided = Classified("p.png", probabilities=probabilities, decided=2)
    assert [name for name, _ in decided.top("abc", 3)] == ["c", "b", "a"]
    assert decided.top("abc", 1) == [("c", pytest.approx(0.3))]


def test_pictures_are_padded_for_a_model_of_padded_images(tmp_path):
    world = write_world(tmp_path / "world")
    for path in world.folder.rglob("*.png"):
        Image.open(path).resize((24, 12)).save(path)
    images = prepare(world.folder, tmp_path / "data", size=16, resize="pad")
    run = train(images, PRESETS["smoke"].with_settings(["epochs=1"]), tmp_path / "run")
    model = load_model(run.folder)
    assert model.resize == images.resize == Resize("pad")
    test = images.select("test")
    guesses = predict(run, images, split="test", device="cpu")
    named = [(id, world.folder / path) for id, path in zip(test.ids.tolist(), test.paths.tolist(), strict=True)]
    for one, row in zip(classify(model, named, choose_runtime(device="cpu")), guesses.probabilities, strict=True):
        assert one.probabilities == pytest.approx(row, abs=1e-6)
    cropped = prepare(world.folder, tmp_path / "cropped", size=16)
    with pytest.raises(DataError, match="prepared with --resize crop, those of the model with --resize pad"):
        evaluate(run, cropped)
    assert "add a border on both sides in the colour 124, 116, 104 to get 16x16 pixels" in export(
        run, tmp_path / "model.pt2", to="torch"
    ).path.read_bytes().decode("latin-1")
