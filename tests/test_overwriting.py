"""Nothing is overwritten that the same command did not write, whatever --out names."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import write_world
from made import small_model
from snellen.competition.compete import compete
from snellen.competition.submission import write_submission
from snellen.errors import SnellenError
from snellen.images.imageset import SAMPLE
from snellen.images.organize import organize
from snellen.images.prepare import prepare
from snellen.models.import_gluon import import_gluon
from snellen.models.model_file import load_model, save_model
from snellen.prediction.decide import ARGMAX
from snellen.prediction.ensemble import classify_by_all
from snellen.prediction.opening import members
from snellen.prediction.pictures import write_classified
from snellen.prediction.predict import predict
from snellen.reports.check import check
from snellen.reports.compare import compare
from snellen.reports.report import report
from snellen.runs.presets import PRESETS
from snellen.serving.export import export
from snellen.training.train import train

SMOKE = PRESETS["smoke"].with_settings(["epochs=1", "precision=float32"])
GLUON = Path(__file__).parent / "models" / "data" / "gluon" / "cifar_resnet20_v2.params"


class Place:
    """A competition, its prepared images, two runs, and every command that writes a file by itself."""

    def __init__(self, folder):
        self.raw = write_world(folder / "raw").folder
        self.images = prepare(self.raw, folder / "data", size=16)
        self.runs = [train(self.images, SMOKE.with_settings([f"seed={n}"]), folder / f"run{n}") for n in (0, 1)]
        self.guesses = predict(self.runs[0], self.images)
        self.model = members(self.runs[0])

    def submission(self, out):
        write_submission(self.guesses, self.images, out)

    def predict(self, out):
        predict(self.runs[0], self.images, out=out)

    def classify(self, out):
        pictures = [(name, self.raw / "test" / name) for name in ("1.png", "9.png")]
        write_classified(classify_by_all(self.model, pictures, ARGMAX), self.images.classes, out)

    def report(self, out):
        report(self.runs[0], self.images, out=out)

    def compare(self, out):
        compare(self.runs, self.images, out=out)

    def check(self, out):
        check(self.images, out=out)

    def export(self, out):
        export(self.runs[0], out, to={".params": "gluon", ".onnx": "onnx", ".pt2": "torch"}[Path(out).suffix])

    def import_gluon(self, out):
        import_gluon(GLUON, out, model="cifar_resnet20_v2")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("place"))


WRITES = [
    ("submission", "x.csv"),
    ("predict", "x.csv"),
    ("classify", "x.csv"),
    ("classify", "x.json"),
    ("report", "x.html"),
    ("compare", "x.html"),
    ("compare", "x.png"),
    ("compare", "x.json"),
    ("check", "x.html"),
    ("check", "x.json"),
    ("check", "x.txt"),
    ("export", "x.pt2"),
    ("import_gluon", "x.safetensors"),
]
FOREIGN = {
    ".csv": b"id,label\n1,cherry\n",
    ".html": b'<!DOCTYPE html>\n<meta name="generator" content="vim">\nsnellen check 0.1.0, snellen report 0.1.0',
    ".json": b'[\n  {\n    "name": "1"\n  }\n]\n',
    ".txt": b"notes on snellen check 0.1.0\n",
    ".params": b"\x12\x01\0\0\0\0\0\0 foreign",
    ".onnx": b"\x08\x07\x12\x07pytorch",
}


def foreign(folder, suffix):
    path = folder / f"foreign{suffix}"
    if suffix == ".png":
        Image.new("RGB", (4, 4)).save(path)
    elif suffix == ".pt2":
        shutil.make_archive(str(folder / "zip"), "zip", folder)
        shutil.move(folder / "zip.zip", path)
    elif suffix == ".safetensors":
        save_model(path, small_model())
    else:
        path.write_bytes(FOREIGN[suffix])
    return path


def refused(write, path):
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(SnellenError, match=r"already exists and does not hold|is in a folder|is a folder") as caught:
        write(path)
    assert caught.value.do.startswith("choose an")
    assert (path.read_bytes() if path.is_file() else None) == before
    return caught.value


@pytest.mark.parametrize(("command", "name"), WRITES)
def test_a_file_of_somebody_else_is_kept_and_the_commands_own_is_replaced(place, tmp_path, command, name):
    write = getattr(place, command)
    write(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == before
    refused(write, foreign(tmp_path, Path(name).suffix))
    (tmp_path / "folder").mkdir()
    if Path(name).suffix in (".csv", ".safetensors"):  # the others are told apart by their endings
        refused(write, tmp_path / "folder")


@pytest.mark.parametrize(("command", "name"), WRITES)
def test_what_another_command_wrote_is_kept(place, tmp_path, command, name):
    for number, (other, its_name) in enumerate(WRITES):
        if other != command and Path(its_name).suffix == Path(name).suffix:
            path = tmp_path / f"{number}{Path(name).suffix}"
            getattr(place, other)(path)
            refused(getattr(place, command), path)


@pytest.mark.parametrize(("command", "name"), WRITES)
def test_no_file_is_added_to_a_prepared_set_a_source_or_another_run(place, command, name):
    write = getattr(place, command)
    folders = [place.images.folder, place.runs[1].folder]
    if command not in ("classify", "import_gluon", "export"):  # which know no source
        folders.append(place.raw)
    for folder in folders:
        before = sorted(path.name for path in folder.rglob("*"))
        refused(write, folder / name)
        assert sorted(path.name for path in folder.rglob("*")) == before


def test_raw_labels_and_samples_are_never_taken_for_a_submission(place, tmp_path):
    for name in ("trainLabels.csv", "sampleSubmission.csv"):
        refused(place.submission, place.raw / name)
        shutil.copy(place.raw / name, tmp_path / name)
        refused(place.submission, tmp_path / name)
    refused(place.submission, place.images.folder / SAMPLE)
    labels = tmp_path / "labels.csv"  # the header and the first id of the sample, but other ids
    first = (place.images.folder / SAMPLE).read_text().splitlines()[1]
    labels.write_text(f"id,label\n{first}\nmy-own,cherry\n")
    refused(place.submission, labels)


def test_a_run_may_hold_what_is_about_it_but_keeps_its_own_files(place):
    run = place.runs[0].folder
    for command, name in (("predict", "p.csv"), ("report", "r.html"), ("export", "m.params")):
        getattr(place, command)(run / name)
        (run / name).unlink()
    for command, name in (("compare", "c.png"), ("check", "c.html")):  # about more than this run, or not about it
        refused(getattr(place, command), run / name)
    for name in ("model.safetensors", "best.safetensors", "new.safetensors"):
        refused(place.import_gluon, run / name)
    assert load_model(run).about["recipe"]["seed"] == 0


def test_exports_know_their_own_kind(place, tmp_path):
    for suffix in (".params", ".onnx"):
        refused(place.export, foreign(tmp_path, suffix))
    place.export(tmp_path / "x.params")
    place.export(tmp_path / "x.params")  # the same bytes
    load = np.frombuffer((tmp_path / "x.params").read_bytes(), np.uint8).copy()
    load[-1] ^= 1
    (tmp_path / "x.params").write_bytes(load.tobytes())
    refused(place.export, tmp_path / "x.params")


def test_an_onnx_program_of_ours_may_be_replaced(place, tmp_path):
    pytest.importorskip("onnxscript")
    place.export(tmp_path / "x.onnx")
    place.export(tmp_path / "x.onnx")


@pytest.mark.parametrize("out", [".", "raw", "raw/train"])
def test_compete_does_not_mix_its_results_with_other_files(tmp_path, monkeypatch, out):
    write_world(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(SnellenError, match=r"holds the source|is not empty and does not hold"):
        compete("raw", out, recipe=SMOKE)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("verb", [prepare, organize, train])
def test_folders_are_not_written_into_a_prepared_set_or_a_run(place, verb):
    for folder in (place.images.folder, place.runs[0].folder):
        before = sorted(path.name for path in folder.rglob("*"))
        with pytest.raises(SnellenError, match="is in a folder that holds"):
            verb(*((place.images, SMOKE) if verb is train else (place.raw,)), folder / "new")
        assert sorted(path.name for path in folder.rglob("*")) == before


def test_compete_refuses_a_foreign_submission_before_it_trains(tmp_path):
    world = write_world(tmp_path / "raw").folder
    prepare(world, tmp_path / "out" / "data", size=16)
    (tmp_path / "out" / "submission.csv").write_text("id,label\n1,cherry\n")
    with pytest.raises(SnellenError, match="already exists and does not hold a submission"):
        compete(world, tmp_path / "out", recipe=SMOKE, size=16)
    assert not (tmp_path / "out" / "run").exists()
    assert (tmp_path / "out" / "submission.csv").read_text() == "id,label\n1,cherry\n"
