"""Serving and exporting a model of several labels per image."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from made import LIGHTS, lights, small_model
from run_server import running
from snellen.models.classifier import Classifier
from snellen.models.model_file import load_model, save_model
from snellen.prediction.pictures import Classified
from snellen.prediction.probabilities import probabilities
from snellen.serving.export import export
from snellen.system.device import choose_runtime
from snellen.task import Task

RULE = {"kind": "thresholds", "metric": "f1_macro", "thresholds": [0.3, 0.5, 0.6], "at_least_one": False}


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    task = Task(LIGHTS, "multi", "labels", "f1_macro", allows_none=True)
    model = Classifier("whitened_cnn", small_model(LIGHTS, (16, 16)).network, LIGHTS, (16, 16), task).eval()
    model.temperature.copy_(torch.tensor([0.5, 1.0, 2.0]))
    model.shift.copy_(torch.tensor([0.5, -1.0, 0.0]))
    return save_model(tmp_path / "model.safetensors", model, rule=RULE, recipe={"precision": "float32", "views": 1})


@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_an_exported_program_computes_the_sigmoids(model, to, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pixels = lights(9)[0]
    found = export(model, tmp_path / {"onnx": "out.onnx", "torch": "out.pt2"}[to], to=to)
    if to == "onnx":
        session = onnxruntime.InferenceSession(found.path, providers=["CPUExecutionProvider"])
        outputs, labels = session.run(None, {"images": pixels})
        facts = session.get_modelmeta().custom_metadata_map
        assert json.loads(facts["rule"])["thresholds"] == RULE["thresholds"]
    else:
        both = torch.export.load(found.path).module()(torch.from_numpy(pixels))
        outputs, labels = (value.detach().numpy() for value in both)
    expected = probabilities(load_model(model), pixels, choose_runtime("float32", "cpu"))
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert (labels == (outputs >= RULE["thresholds"])).all()
    assert found.num_other_labels == 0


def test_a_picture_has_all_labels_above_their_thresholds():
    picture = Classified("a", probabilities=np.array([0.4, 0.1, 0.9]), decided=np.array([True, False, True]))
    assert picture.labels(LIGHTS) == ["blue", "red"]
    assert [name for name, _ in picture.top(LIGHTS, 3)] == ["red", "blue", "green"]
    assert picture.has_several
    none = Classified("b", probabilities=np.array([0.1, 0.1, 0.2]), decided=np.zeros(3, dtype=bool))
    assert none.labels(LIGHTS) == []


def test_the_api_names_all_of_them(model, tmp_path):
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    file = io.BytesIO()
    Image.fromarray(lights(1)[0][0]).save(file, "PNG")
    with running(model, tmp_path / "cwd") as server:
        assert server.ask("GET", "/api/model")[2]["kind"] == "multi"
        answer = server.ask("POST", "/api/classify?top=3", file.getvalue())[2]
    chances = {one["name"]: one["probability"] for one in answer["classes"]}
    above = {name for name, least in zip(LIGHTS, RULE["thresholds"], strict=True) if chances[name] >= least}
    assert {*answer["labels"]} == above
