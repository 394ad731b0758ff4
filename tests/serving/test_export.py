"""Exported programs compute what snellen computes, for any number of raw images, wherever they run."""

import json
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from made import make_images, noise, small_model
from snellen.errors import DataError, RunError, SnellenError
from snellen.models.classifier import Classifier
from snellen.models.model_file import save_model
from snellen.prediction.decide import decide
from snellen.prediction.predict import predict
from snellen.prediction.probabilities import probabilities
from snellen.serving.export import export
from snellen.system.device import choose_runtime
from snellen.task import Task

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

CLASSES = ("cat", "dog", "élan, the")
FLOAT32 = choose_runtime("float32", "cpu")


def decided(model: Classifier) -> Classifier:
    """Give a random model statistics, normalisation and a temperature, so that leaving one out changes its output."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.5, 0.5)
            layer.running_var.uniform_(0.5, 2)
    model.mean.copy_(torch.tensor([0.3, 0.5, 0.6])[:, None, None])
    model.std.copy_(torch.tensor([0.1, 0.2, 0.3])[:, None, None])
    model.temperature.fill_(0.1)
    return model


def network_of_the_zoo(name: str, size=(16, 16)) -> Classifier:
    torch.manual_seed(0)
    return decided(small_model(CLASSES, size, name))


def tiny_network(task: Task | None = None) -> Classifier:
    """Return a convolution whose output depends on borders and sides, so that views differ."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 4, 5, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    network = nn.Sequential(OrderedDict(features=features, output=nn.Linear(64, 3)))
    return decided(Classifier("tiny", network, CLASSES, (16, 16), task))


def run_onnx(path, pixels):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": pixels})[0]


def run_torch(path, pixels):
    with torch.no_grad():
        return torch.export.load(path).module()(torch.from_numpy(pixels))[0].numpy()


RUN = {"onnx": run_onnx, "torch": run_torch}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the tiny network exported to ONNX and as a torch program, with six views each."""
    folder = tmp_path_factory.mktemp("written")
    return {to: export(tiny_network(), folder / f"model.{to}", to=to, views=6) for to in RUN}


@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_exported_program_computes_what_predict_computes(written, to):
    assert written[to].difference < 1e-5
    pixels = noise(9, seed=5)
    wanted = probabilities(tiny_network(), pixels, FLOAT32, views=6)
    plain = probabilities(tiny_network(), pixels, FLOAT32, views=1)
    assert np.ptp(wanted, axis=0).max() > 0.1, "the images are told apart, or nothing is tested"
    assert np.abs(wanted - plain).max() > 0.01, "views matter, or nothing is tested"
    for start, stop in ((0, 1), (1, 3), (3, 9)):
        assert RUN[to](written[to].path, pixels[start:stop]) == pytest.approx(wanted[start:stop], abs=1e-5)


def test_onnx_file_holds_classes_and_preprocessing(written):
    session = onnxruntime.InferenceSession(written["onnx"].path, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == list(CLASSES)
    assert json.loads(facts["size"]) == [16, 16]
    assert facts["views"] == "6"
    assert "uint8" in facts["preprocessing"]
    (images,), (found, labels) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["N", 16, 16, 3])
    assert (found.name, found.type, found.shape) == ("probabilities", "tensor(float)", ["N", 3])
    assert (labels.name, labels.type, labels.shape) == ("labels", "tensor(int64)", ["N"])


CUTS = {"kind": "cut_points", "metric": "qwk", "cuts": [0.6, 1.1]}


@pytest.mark.parametrize("rule", [None, CUTS])
@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_exported_labels_are_those_of_predict_under_its_rule(tmp_path, to, rule):
    model = tiny_network()
    model.about = {} if rule is None else {"rule": rule}
    pixels = noise(64, seed=5)
    images = make_images(tmp_path / "data", pixels, [""] * 64, ["test"] * 64, classes=CLASSES)
    guesses = predict(model, images, precision="float32", views=2)
    path = export(model, tmp_path / f"model.{to}", to=to, views=2).path
    if to == "onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        labels = session.run(["labels"], {"images": pixels})[0]
        stored = json.loads(session.get_modelmeta().custom_metadata_map["rule"])
    else:
        extra = {"snellen.json": ""}
        program = torch.export.load(path, extra_files=extra).module()
        with torch.no_grad():
            labels, stored = program(torch.from_numpy(pixels))[1].numpy(), json.loads(extra["snellen.json"])["rule"]
    assert labels.dtype == np.int64
    assert labels.tolist() == guesses.labels.tolist()
    assert stored == (rule or {"kind": "argmax"})
    assert (guesses.labels != guesses.probabilities.argmax(axis=1)).any() == (rule is not None), "the rule matters"


@pytest.mark.parametrize("allows_none", [False, True])
def test_exported_labels_of_several_are_those_of_the_thresholds(tmp_path, allows_none):
    model = tiny_network(Task(CLASSES, "multi", "labels", "f1_samples", allows_none=allows_none))
    rule = {
        "kind": "thresholds",
        "metric": "f1_samples",
        "thresholds": [0.3, 0.6, 0.8],
        "at_least_one": not allows_none,
    }
    model.about = {"rule": rule}
    pixels = noise(64, seed=5)
    path = export(model, tmp_path / "model.onnx", views=2).path
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found, labels = session.run(["probabilities", "labels"], {"images": pixels})
    assert found == pytest.approx(probabilities(model, pixels, FLOAT32, views=2), abs=1e-5)
    assert labels.tolist() == decide(found, rule).tolist()
    assert labels.any(axis=1).all() == (not allows_none)


def test_a_rule_that_is_unknown_is_refused(tmp_path):
    model = tiny_network()
    model.about = {"rule": {"kind": "votes"}}
    with pytest.raises(RunError, match="cannot decide between 3 classes"):
        export(model, tmp_path / "model.pt2", to="torch")
    assert not (tmp_path / "model.pt2").exists()


def test_torch_file_holds_classes_and_preprocessing(written):
    extra = {"snellen.json": ""}
    torch.export.load(written["torch"].path, extra_files=extra)
    facts = json.loads(extra["snellen.json"])
    assert facts["classes"] == list(CLASSES)
    assert facts["temperature"] == pytest.approx(0.1)


@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_files_hold_no_path_of_this_machine(written, to):
    parts = [written[to].path.read_bytes()]
    if to == "torch":
        with zipfile.ZipFile(written[to].path) as archive:
            parts += [archive.read(name) for name in archive.namelist()]
    here = str(Path(__file__).parents[2]).encode()
    assert not any(here in part or b"site-packages" in part or b".py" in part for part in parts)


def test_the_same_model_gives_the_same_bytes(written, tmp_path):
    again = export(tiny_network(), tmp_path / "model.pt2", to="torch", views=6)
    assert again.path.read_bytes() == written["torch"].path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_the_same_model_gives_the_same_bytes_in_other_processes(tmp_path, to):
    save_model(tmp_path / "model.safetensors", network_of_the_zoo("cifar_resnet8_v1"))
    code = "import sys; from snellen.serving.export import export; export(sys.argv[1], sys.argv[2], to=sys.argv[3])"
    for name in ("first", "second"):
        subprocess.run([sys.executable, "-c", code, tmp_path, tmp_path / name, to], check=True, capture_output=True)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize("name", ["whitened_cnn", "cifar_resnext11_2x8d"])
def test_every_kind_of_network_can_be_exported(tmp_path, name):
    model = network_of_the_zoo(name, size=(18, 20)).train()
    assert export(model, tmp_path / "model.pt2", to="torch").difference < 1e-5
    assert model.training, "the caller's model is left as it was"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "whitened_cnn", "cifar_resnet20_v1", "cifar_wideresnet16_10"])
def test_every_kind_of_network_can_be_exported_to_onnx(tmp_path, name):
    assert export(network_of_the_zoo(name, size=(32, 32)), tmp_path / "model.onnx", views=6).difference < 1e-5


def test_it_is_compared_on_the_images_given(tmp_path, caplog):
    images = make_images(
        tmp_path / "data", noise(5), [CLASSES[n % 3] for n in range(5)], ["train"] * 5, classes=CLASSES
    )
    seen = []
    with caplog.at_level("INFO", logger="snellen"):
        written = export(
            tiny_network(), tmp_path / "m.pt2", to="torch", images=images.folder, on_progress=lambda *p: seen.append(p)
        )
    assert written.num_images == 5
    assert str(written) in caplog.text
    assert seen == [("export", 0, 5), ("export", 5, 5)]
    other = make_images(tmp_path / "other", noise(2), ["a", "b"], ["train"] * 2)
    with pytest.raises(DataError, match="the images' classes are a, b"):
        export(tiny_network(), tmp_path / "n.pt2", to="torch", images=other)
    assert not (tmp_path / "n.pt2").exists()


def undecided(precision: str) -> Classifier:
    """Return the tiny network with classes so close that the precision decides between them."""
    model = tiny_network()
    model.network.output.weight.data[1:] = model.network.output.weight.data[0]
    model.network.output.weight.data += 1e-3 * torch.randn(3, 64)
    model.network.output.bias.data.zero_()
    model.about = {"recipe": {"precision": precision}}
    return model


def test_it_reports_how_many_labels_predict_gives_otherwise_and_float32_makes_them_equal(tmp_path):
    model = undecided("bfloat16")
    images = make_images(tmp_path / "data", noise(100), ["cat"] * 100, ["train"] * 100, classes=CLASSES)
    exported = export(model, tmp_path / "m.pt2", to="torch", images=images)
    labels = run_torch(exported.path, images.pixels()).argmax(axis=1)
    num_other = int((predict(model, images, split="train", device="cpu").labels != labels).sum())
    assert (exported.num_other_labels, exported.precision) == (num_other, "bfloat16")
    assert num_other > 0, "nothing is tested"
    assert exported.difference < 1e-5
    assert f"{num_other} labels differ from `snellen predict`, which computes in bfloat16 here" in str(exported)
    assert str(exported).endswith("unless you add --precision float32")
    equal = predict(model, images, split="train", device="cpu", precision="float32")
    assert (equal.labels == labels).all()


def test_no_label_differs_if_predict_computes_in_float32(tmp_path):
    exported = export(undecided("float32"), tmp_path / "m.pt2", to="torch")
    assert (exported.num_other_labels, exported.precision) == (0, "float32")
    assert str(exported).endswith("no label differs from `snellen predict`")


class Forgetful(nn.Module):
    """Computes something else when it is exported, as a network with a bug might."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.register_buffer("turn", torch.zeros(()))

    def forward(self, x):
        if not torch.compiler.is_exporting():
            x = x + 1
        return self.network(x)


def test_program_that_computes_something_else_is_not_written(tmp_path):
    model = tiny_network()
    model.network[0] = Forgetful(model.network[0])
    with pytest.raises(RunError, match=r"probabilities differ from snellen's in float32 by [0-9.e-]+\."):
        export(model, tmp_path / "model.pt2", to="torch")
    assert list(tmp_path.iterdir()) == []


def test_unknown_format_is_refused_and_nothing_written(tmp_path):
    with pytest.raises(SnellenError, match=r'"onxx" is not a known format[\s\S]*did you mean "onnx"'):
        export(tiny_network(), tmp_path / "m", to="onxx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_its_packages_it_names_the_command_that_installs_them(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SnellenError, match=rf"not installed: {package}\.[\s\S]*pip install 'snellen\[export\]'"):
        export(tiny_network(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_beside_a_run_by_default(tmp_path):
    (tmp_path / "run").mkdir()
    save_model(tmp_path / "run" / "model.safetensors", network_of_the_zoo("cifar_resnet8_v1"))
    assert export(tmp_path / "run", to="torch").path == tmp_path / "run" / "model.pt2"
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["model.pt2", "model.safetensors"]


def test_other_input_than_raw_images_is_refused(written):
    with pytest.raises(Exception, match="Unexpected input data type"):
        run_onnx(written["onnx"].path, noise(1).astype(np.float32))
    with pytest.raises(Exception, match="Got invalid dimensions"):
        run_onnx(written["onnx"].path, noise(1, size=17))
