"""Predictions of many images, in parts. What a prediction is worth is tested in test_evaluate.py."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from made import make_images, noise, small_model
from snellen.cli.commands import main
from snellen.errors import DataError, RecipeError, RunError
from snellen.models.model_file import save_model
from snellen.prediction import parts
from snellen.prediction.evaluate import evaluate
from snellen.prediction.predict import predict
from snellen.prediction.predictions import Predictions
from snellen.serving.export import export
from snellen.system.folders import locked

CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """95 test images, and two models."""
    folder = tmp_path_factory.mktemp("predict")
    make_images(
        folder / "data", noise(100), ["cat", "dog", "owl", "cat", "dog"] + [""] * 95, ["train"] * 5 + ["test"] * 95
    )
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_model(folder / f"model{seed}.safetensors", small_model(CLASSES), recipe={"precision": "float32"})
    return folder


@pytest.fixture
def parts_of_20(monkeypatch):
    monkeypatch.setattr(parts, "PART", 20)


def predicted(folder, out, *models, **more):
    names = [folder / f"{name}.safetensors" for name in models or ["model0"]]
    return predict(names, folder / "data", out=out, device="cpu", **more)


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """Bytes of the files that one model and both make of all images at once."""
    out = tmp_path_factory.mktemp("whole")
    predicted(folder, out / "one.csv")
    predicted(folder, out / "two.csv", "model0", "model1")
    return (out / "one.csv").read_bytes(), (out / "two.csv").read_bytes()


@pytest.mark.parametrize("views", [3, 0, -1])
def test_only_known_numbers_of_views_are_averaged(folder, tmp_path, views):
    for verb in (
        lambda: predicted(folder, tmp_path / "out.csv", views=views),
        lambda: predicted(folder, tmp_path / "out.csv", "model0", "model1", views=views),
        lambda: evaluate(folder / "model0.safetensors", folder / "data", split="train", views=views),
        lambda: export(folder / "model0.safetensors", to="torch", out=tmp_path / "model.pt2", views=views),
    ):
        with pytest.raises(DataError, match=f"{views} views cannot be averaged") as caught:
            verb()
        assert caught.value.expected.startswith("1 (the image), 2 (also mirrored) or 6")
        assert "leave views out" in caught.value.do
    assert not list(tmp_path.iterdir())


def test_precision_can_be_chosen_and_is_checked(folder, tmp_path):
    model, data = folder / "model0.safetensors", folder / "data"  # its recipe has float32
    in_float32 = predict(model, data, device="cpu").probabilities
    assert (predict(model, data, device="cpu", precision="float32").probabilities == in_float32).all()
    in_bfloat16 = predict(model, data, device="cpu", precision="bfloat16").probabilities
    assert 0 < np.abs(in_bfloat16 - in_float32).max() < 0.1
    both = predict([model, model], data, device="cpu", precision="bfloat16").probabilities
    assert both == pytest.approx(in_bfloat16, abs=1e-7)
    scores = [
        evaluate(model, data, split="train", device="cpu", precision=precision)["log_loss"]
        for precision in (None, "float32", "bfloat16")
    ]
    assert scores[0] == scores[1] != scores[2]
    by_command = CliRunner().invoke(
        main, ["predict", str(model), str(data), "--out", str(tmp_path / "p.csv"), "--precision", "bfloat16"]
    )
    assert by_command.exit_code == 0, by_command.output
    assert (Predictions.open(tmp_path / "p.csv").probabilities == in_bfloat16).all()
    for verb in (predict, evaluate):
        with pytest.raises(RecipeError, match="precision=float23: it must be one of auto, float32, bfloat16, float64"):
            verb(model, data, split="train", precision="float23")


def test_parts_are_the_whole_and_leave_nothing_behind(folder, whole, parts_of_20, tmp_path):
    news = []
    guesses = predicted(folder, tmp_path / "p.csv", on_progress=lambda *words: news.append(words))
    assert os.listdir(tmp_path) == ["p.csv"]
    assert (tmp_path / "p.csv").read_bytes() == whole[0]
    assert guesses.probabilities.shape == (95, 3)
    assert guesses.probabilities.sum(axis=1) == pytest.approx(np.ones(95)), "still there, though the file has no name"
    assert news == [("predict", done, 95) for done in (20, 40, 60, 80, 95)]
    predicted(folder, tmp_path / "p.csv", "model0", "model1")
    assert (tmp_path / "p.csv").read_bytes() == whole[1]


STOP_AT = """
import os, signal, sys
from snellen.prediction import parts
from snellen.prediction.predict import predict
parts.PART = 20
def stop(stage, done, total):
    if done == int(sys.argv[1]):
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
predict(sys.argv[5:], sys.argv[3], out=sys.argv[4], device="cpu", on_progress=stop)
"""


def stopped(folder, out, at, *models, how="SIGKILL"):
    names = [str(folder / f"{name}.safetensors") for name in models or ["model0"]]
    words = [sys.executable, "-c", STOP_AT, str(at), how, str(folder / "data"), str(out), *names]
    done = subprocess.run(
        words,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's "&" ignores it
    )
    assert done.returncode == -getattr(signal, how)
    assert not out.exists()


def test_a_killed_prediction_goes_on_to_the_same_bytes(folder, whole, parts_of_20, tmp_path, caplog):
    caplog.set_level("INFO", "snellen")
    out = tmp_path / "p.csv"
    stopped(folder, out, 60)
    (values,) = (tmp_path / ".p.csv.parts").glob("*.float32")
    with open(values, "ab") as file:
        file.write(b"half of a part")
    news = []
    predicted(folder, out, on_progress=lambda *words: news.append(words[1]))
    assert "resuming: 40 of 95 images are classified" in caplog.text
    assert news == [60, 80, 95]
    assert out.read_bytes() == whole[0]
    assert os.listdir(tmp_path) == ["p.csv"]


def test_an_average_goes_on_in_the_model_where_it_was(folder, whole, parts_of_20, tmp_path, caplog):
    caplog.set_level("INFO", "snellen")
    stopped(folder, tmp_path / "p.csv", 95 + 40, "model0", "model1", how="SIGINT")
    predicted(folder, tmp_path / "p.csv", "model0", "model1")
    assert "resuming: 95 of 95 images are classified" in caplog.text
    assert "resuming: 20 of 95 images are classified" in caplog.text
    assert (tmp_path / "p.csv").read_bytes() == whole[1]
    assert os.listdir(tmp_path) == ["p.csv"]


def test_parts_of_anything_else_are_not_used(folder, whole, parts_of_20, tmp_path, caplog):
    caplog.set_level("INFO", "snellen")
    out = tmp_path / "p.csv"
    stopped(folder, out, 60, "model1")
    predicted(folder, out)
    assert out.read_bytes() == whole[0]
    out.unlink()
    stopped(folder, out, 60)
    about = json.loads((folder / "data" / "about.json").read_text())
    try:  # other images of the same shape
        (folder / "data" / "about.json").write_text(json.dumps(about | {"fingerprint": "another"}))
        predicted(folder, out)
    finally:
        (folder / "data" / "about.json").write_text(json.dumps(about))
    out.unlink()
    stopped(folder, out, 60)
    predicted(folder, out, views=2)
    assert "resuming" not in caplog.text
    assert out.read_bytes() != whole[0]


def test_two_that_write_one_file_are_refused(folder, parts_of_20, tmp_path):
    with (
        locked(tmp_path / ".p.csv.parts"),
        pytest.raises(RunError, match="another snellen command is using this folder"),
    ):
        predicted(folder, tmp_path / "p.csv")


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from torch import nn
from snellen.prediction import parts
from snellen.system import memory
from snellen.system.device import choose_runtime
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier
images, runtime = ImageSet.open(sys.argv[1]), choose_runtime("float32", "cpu")
network = nn.Sequential(nn.Sequential(nn.AvgPool2d(16), nn.Flatten()), nn.Linear(3, 1000))
model = Classifier("tiny", network, images.classes, images.size)
parts.PART = 5000
in_use = memory.bytes_in("/proc/self/status", "VmData")
resource.setrlimit(resource.RLIMIT_DATA, (in_use + 250 * 2**20,) * 2)
found = parts.in_parts(model, images, runtime, Path(sys.argv[2]))
print(found.nbytes, sum(int(np.isnan(found[n : n + 5000]).sum()) for n in range(0, len(found), 5000)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
def test_memory_is_bounded_by_a_part(tmp_path):
    num, classes = 100_000, [f"c{n}" for n in range(1000)]
    make_images(tmp_path / "data", noise(1), [""], ["test"], classes=classes)
    np.lib.format.open_memmap(tmp_path / "data" / "images.npy", "w+", np.uint8, (num, 16, 16, 3)).flush()
    rows = "".join(f"{n},test,,{n}.png\n" for n in range(num))
    (tmp_path / "data" / "rows.csv").write_text("id,split,label,path\n" + rows)
    (tmp_path / "parts").mkdir()
    words = [sys.executable, "-c", LITTLE_MEMORY, str(tmp_path / "data"), str(tmp_path / "parts")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "400000000 0\n"
