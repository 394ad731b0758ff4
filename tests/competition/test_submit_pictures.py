"""A submission from a model and any folder or archive of pictures, without the training data."""

import csv

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from conftest import pack_zip, write_csv
from made import small_model, warnings_in
from snellen.cli.commands import main
from snellen.competition.submit_pictures import submit_pictures
from snellen.errors import DataError
from snellen.models.model_file import save_model
from snellen.prediction.opening import runtime_of
from snellen.prediction.pictures import classify
from snellen.task import Task

CLASSES = ("0", "1", "2", "3", "4", "5")
IDS = ["b", "a", "c.png", "10", "9"]


@pytest.fixture
def folder(tmp_path):
    """Pictures in random colours, two more than the sample names, one in a folder of its own."""
    for number, id in enumerate([*IDS, "extra", "more/other"]):
        path = tmp_path / "pictures" / f"{id.removesuffix('.png')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "pictures"


def model_of(form, classes=CLASSES, **more):
    torch.manual_seed(0)
    model = small_model(classes)
    model.task = Task(classes, form=form, **more)
    return model.eval()


def sample(tmp_path, header, *values):
    write_csv(tmp_path / "sample.csv", [tuple(header.split(",")), *((id, *values) for id in IDS)])
    return tmp_path / "sample.csv"


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def expected(model, folder):
    """Probabilities by id, as `snellen predict` has them for single pictures."""
    named = [(id, folder / f"{id.removesuffix('.png')}.png") for id in IDS]
    found = classify(model, named, runtime_of(model, None))
    return {one.name: one.probabilities for one in found}


@pytest.mark.parametrize("form", ["label", "top5", "columns"])
def test_lines_have_the_models_form_and_the_samples_ids_in_its_order(tmp_path, folder, form):
    model = model_of(form)
    header = {"columns": "id," + ",".join(reversed(CLASSES)), "top5": "Image,Id", "label": "id,label"}[form]
    values = {"columns": [1 / 6] * 6, "top5": ["0 1 2 3 4"], "label": ["0"]}[form]
    path = submit_pictures(model, folder, sample(tmp_path, header, *values), tmp_path / "out.csv")
    rows, truth = rows_of(path), expected(model, folder)
    assert rows[0] == header.split(",")
    assert [row[0] for row in rows[1:]] == IDS
    for id, *cells in rows[1:]:
        best = [CLASSES[k] for k in np.argsort(-truth[id])]
        if form == "columns":
            assert np.allclose([float(cell) for cell in cells], truth[id][::-1], atol=1e-6)
        else:
            assert cells == ([" ".join(best[:5])] if form == "top5" else best[:1])


def test_the_probability_of_the_positive_class_comes_from_an_archive_too(tmp_path, folder):
    model = model_of("positive", ("no", "yes"), positive="no")
    file = save_model(tmp_path / "model.safetensors", model)
    archive = pack_zip(folder, tmp_path / "p.zip")
    path = submit_pictures(file, archive, sample(tmp_path, "id,target", 0), tmp_path / "out.csv")
    truth = expected(model, folder)
    assert all(float(value) == pytest.approx(truth[id][0], abs=1e-6) for id, value in rows_of(path)[1:])


def test_labels_follow_the_models_decision_rule(tmp_path, folder):
    model = model_of("label", metric="qwk")
    model.about = {"rule": {"kind": "cut_points", "metric": "qwk", "cuts": [-5.0, -4.0, -3.0, -2.0, -1.0]}}
    path = submit_pictures(model, folder, sample(tmp_path, "id,label", "0"), tmp_path / "out.csv")
    assert {label for _, label in rows_of(path)[1:]} == {"5"}, "the expected class is above every cut"


def test_a_sample_may_ask_for_probabilities_that_the_model_did_not_know_of(tmp_path, folder):
    path = submit_pictures(
        model_of("label", ("no", "yes")), folder, sample(tmp_path, "id,target", 0.5), tmp_path / "o.csv"
    )
    assert all(0 < float(value) < 1 for _, value in rows_of(path)[1:])


def test_the_ids_may_be_in_any_column_of_the_sample(tmp_path, folder):
    model = model_of("label")
    first = submit_pictures(model, folder, sample(tmp_path, "id,label", "0"), tmp_path / "first.csv", device="cpu")
    write_csv(tmp_path / "swapped.csv", [("label", "id"), *(("0", id) for id in IDS)])
    second = submit_pictures(model, folder, tmp_path / "swapped.csv", tmp_path / "second.csv", device="cpu")
    assert rows_of(second) == [row[::-1] for row in rows_of(first)]


def test_a_sample_of_something_else_is_refused(tmp_path, folder):
    with pytest.raises(DataError, match=r"the columns of sample\.csv and the classes do not match"):
        submit_pictures(model_of("label"), folder, sample(tmp_path, "id,cat,dog", 0, 1), tmp_path / "out.csv")
    (folder / "10.png").unlink()
    with pytest.raises(DataError, match='1 of 5 ids in the sample have no picture or more than one, first "10"'):
        submit_pictures(model_of("label"), folder, sample(tmp_path, "id,label", "0"), tmp_path / "out.csv")
    with pytest.raises(DataError, match="does not exist or is not a file"):
        submit_pictures(model_of("label"), folder, tmp_path / "nowhere.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_nothing_but_a_submission_is_replaced(tmp_path, folder):
    model, path = model_of("label"), sample(tmp_path, "id,label", "0")
    before = path.read_bytes()
    (tmp_path / "notes.csv").write_text("mine")
    for out in (path, tmp_path / "notes.csv"):
        with pytest.raises(DataError, match="already exists and does not hold a submission"):
            submit_pictures(model, folder, path, out)
    assert path.read_bytes() == before
    out = submit_pictures(model, folder, path, tmp_path / "out.csv")
    assert submit_pictures(model, folder, path, out).read_bytes() == out.read_bytes()


def test_an_unreadable_picture_gets_a_line_and_a_warning(tmp_path, folder, caplog):
    (folder / "9.png").write_bytes(b"broken")
    path = submit_pictures(
        model_of("columns"), folder, sample(tmp_path, "id," + ",".join(CLASSES), *[0] * 6), tmp_path / "o"
    )
    assert np.allclose([float(cell) for cell in rows_of(path)[-1][1:]], 1 / 6)
    assert ["1 pictures could not be read" in text for text in warnings_in(caplog)] == [True]


def test_the_command_writes_it(tmp_path, folder):
    file = save_model(tmp_path / "model.safetensors", model_of("label"))
    words = ["predict", file, folder, "--sample", sample(tmp_path, "id,label", "0"), "--out", tmp_path / "out.csv"]
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == 0, result.output
    assert len(rows_of(tmp_path / "out.csv")) == 6
    assert CliRunner().invoke(main, list(map(str, words[:-2]))).exit_code == 2
