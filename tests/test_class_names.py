"""--class-names gives numbered classes names for people; predictions and submissions keep the numbers."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from conftest import write_csv
from read_page import read_page
from run_server import running
from snellen.cli.commands import main
from snellen.images.prepare import prepare
from snellen.reports.check import check
from snellen.runs.presets import PRESETS
from snellen.training.train import train

NAMES = {"0": "blight", "1": "rust", "2": "healthy"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with prepared images of three numbered classes in data/, and a run on them."""
    folder = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    labels = {f"train{n}": str(n % 3) for n in range(60)} | {f"test{n}": str(n % 3) for n in range(6)}
    for id, label in labels.items():
        pixels = rng.integers(0, 100, (16, 16, 3), dtype=np.uint8)
        pixels[..., int(label)] += 150
        path = folder / "raw" / id.rstrip("0123456789") / f"{id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    train_labels = [(id, label) for id, label in labels.items() if id.startswith("train")]
    write_csv(folder / "raw" / "train.csv", [("id", "label"), *train_labels])
    (folder / "names.json").write_text(json.dumps(NAMES))
    images = prepare(folder / "raw", folder / "data", class_names=folder / "names.json", valid_share=0.3)
    train(images, PRESETS["smoke"].with_settings(["epochs=2", "precision=float32"]), folder / "run")
    return folder


def snellen(*words):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_commands_print_the_names(place):
    assert "3 classes: blight, rust, healthy" in snellen("show", place / "data")
    printed = snellen("predict", place / "run", place / "raw" / "test" / "test0.png")
    assert {word for word in NAMES.values() if f"{word} " in printed} == {*NAMES.values()}
    assert "  blight" in snellen("evaluate", place / "run", place / "data")


def test_scores_for_programs_keep_the_classes_and_add_the_names(place):
    scores = json.loads(snellen("evaluate", place / "run", place / "data", "--json"))
    assert {label: figures["name"] for label, figures in scores["classes"].items()} == NAMES


def test_pages_show_the_names(place):
    snellen("report", place / "run", "--data", place / "data", "--out", place / "report.html")
    page = read_page(place / "report.html")
    assert all(name in page.text for name in NAMES.values())
    findings = check(place / "data")
    assert [*findings.counts] == list(NAMES.values())


def test_predictions_and_submissions_keep_the_classes(place):
    out = place / "predictions.csv"
    snellen("predict", place / "run", place / "data", "--split", "test", "--out", out)
    assert out.read_text().splitlines()[0] == "id,label,p_0,p_1,p_2"
    snellen("submission", out, place / "data", "--out", place / "submission.csv")
    with open(place / "submission.csv", newline="") as file:
        assert {row[1] for row in list(csv.reader(file))[1:]} <= {*NAMES}


def test_the_web_service_answers_with_the_names(place, tmp_path):
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    with running(place / "run", tmp_path / "cwd") as server:
        assert server.ask("GET", "/api/model")[2]["classes"] == list(NAMES.values())
        picture = (place / "raw" / "test" / "test0.png").read_bytes()
        answer = server.ask("POST", "/api/classify", picture)[2]
    assert {one["name"] for one in answer["classes"]} == {*NAMES.values()}
