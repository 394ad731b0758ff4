"""A kit writes the same submission as the package it was made from, without network."""

import base64
import csv
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import snellen
from made import small_model
from snellen import PRESETS, cross_validate, pack, prepare, submit_pictures, train
from snellen.cli.commands import main
from snellen.errors import SnellenError
from snellen.models.model_file import save_model

RECIPE = PRESETS["smoke"].with_settings(["epochs=1"])


@pytest.fixture
def images(world, tmp_path):
    return prepare(world.folder, tmp_path / "data", size=32, valid_share=0.3)


def unpacked(kit: Path) -> Path:
    with zipfile.ZipFile(kit) as archive:
        archive.extractall(kit.with_suffix(""))
    return kit.with_suffix("")


def classified(kit: Path, *arguments: Path, script: list[str] | None = None) -> Path:
    """Run the kit's script in an empty folder; return the submission. pip installs into a folder of its own."""
    target, here = kit / "installed", kit / "work"
    here.mkdir()
    environment = os.environ | {
        "PIP_TARGET": str(target),
        "PYTHONPATH": str(target),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    words = [*(script or [str(kit / "classify.py")]), *map(str, arguments)]
    done = subprocess.run([sys.executable, *words], cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(here / "submission.csv")
    where = subprocess.run(
        [sys.executable, "-c", "import snellen; print(snellen.__file__)"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(target)), "the script used the package in the kit"
    return here / "submission.csv"


def test_a_runs_kit_writes_the_submission_that_the_run_would(world, images, tmp_path):
    run = train(images, RECIPE, tmp_path / "run")
    expected = submit_pictures(
        run.folder, world.folder / "test", world.folder / "sampleSubmission.csv", tmp_path / "expected.csv"
    )
    kit = unpacked(pack(run.folder, tmp_path / "kit.zip"))
    assert {path.name for path in kit.iterdir()} >= {"classify.py", "classify.ipynb", "model"}
    assert classified(kit, world.folder).read_bytes() == expected.read_bytes()


def test_the_kit_of_folds_averages_all_of_them(world, images, tmp_path):
    folds = cross_validate(images, RECIPE, tmp_path / "folds", 2)
    expected = submit_pictures(
        folds, world.folder / "test", world.folder / "sampleSubmission.csv", tmp_path / "expected.csv"
    )
    kit = unpacked(pack(folds.folder, tmp_path / "kit.zip"))
    assert (
        submit_pictures(
            str(kit / "model"), world.folder / "test", world.folder / "sampleSubmission.csv", tmp_path / "again.csv"
        ).read_bytes()
        == expected.read_bytes()
    )


def test_the_notebook_has_the_code_of_the_script_and_the_named_folder(tmp_path):
    model = save_model(tmp_path / "model.safetensors", small_model(("a", "b")))
    kit = unpacked(pack(model, tmp_path / "kit.zip", pictures="test_images"))
    notebook = json.loads((kit / "classify.ipynb").read_text())
    assert notebook["cells"][0]["source"] == (kit / "classify.py").read_text()
    assert 'PICTURES = "test_images"' in notebook["cells"][0]["source"]
    assert (kit / "model.safetensors").read_bytes() == model.read_bytes()


def test_a_folder_without_a_sample_is_named(tmp_path):
    model = save_model(tmp_path / "model.safetensors", small_model(("a", "b")))
    kit = unpacked(pack(model, tmp_path / "kit.zip"))
    done = subprocess.run([sys.executable, kit / "classify.py", tmp_path], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"There is no *ample*ubmission*.csv in {tmp_path}: name the competition's folder, or change SAMPLE."
    )


def test_every_file_of_the_wheel_is_in_its_record_with_its_digest(tmp_path):
    model = save_model(tmp_path / "model.safetensors", small_model(("a", "b")))
    (path,) = unpacked(pack(model, tmp_path / "kit.zip")).glob("snellen-*-py3-none-any.whl")
    assert path.name == f"snellen-{snellen.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as wheel:
        assert all(entry.external_attr >> 16 == 0o644 for entry in wheel.infolist()), "readable by every user"
        names = set(wheel.namelist())
        (record,) = (name for name in names if name.endswith("/RECORD"))
        rows = {name: digest for name, digest, _ in csv.reader(wheel.read(record).decode().splitlines())}
        assert set(rows) == names
        for name in names - {record}:
            digest = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(name)).digest()).decode().rstrip("=")
            assert rows[name] == f"sha256={digest}", name
    source = Path(snellen.__file__).parent
    assert {f"snellen/{path.relative_to(source).as_posix()}" for path in source.rglob("*.py")} <= names


def test_equal_models_give_equal_kits(tmp_path):
    model = save_model(tmp_path / "model.safetensors", small_model(("a", "b")))
    assert pack(model, tmp_path / "a.zip").read_bytes() == pack(model, tmp_path / "b.zip").read_bytes()


def test_only_a_kit_is_replaced_and_an_unfinished_run_is_refused(images, tmp_path):
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("letter.txt", "mine")
    before = other.read_bytes()
    model = save_model(tmp_path / "model.safetensors", small_model(("a", "b")))
    with pytest.raises(SnellenError, match="already exists and does not hold a kit"):
        pack(model, other)
    assert other.read_bytes() == before

    def stop(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(images, RECIPE.with_settings(["epochs=2"]), tmp_path / "run", on_epoch=stop)
    with pytest.raises(SnellenError, match="unfinished"):
        pack(tmp_path / "run", tmp_path / "kit.zip")
    assert not (tmp_path / "kit.zip").exists()


def test_the_command_prints_the_file(tmp_path):
    save_model(tmp_path / "model.safetensors", small_model(("a", "b")))
    done = CliRunner().invoke(main, ["pack", str(tmp_path / "model.safetensors"), "--out", str(tmp_path / "kit.zip")])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "kit.zip")
