"""Nothing is lost: commands are killed and disturbed, and run again. The long campaign is benchmarks/faults.py."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import snellen
from made import make_images, noise
from snellen import PRESETS
from snellen.errors import DataError, RunError
from snellen.system.folders import locked
from snellen.training.record import start_run

ROOT = Path(__file__).parents[1]
SMOKE = PRESETS["smoke"].with_settings(["precision=float32"])


def disturb(*options: str) -> list[dict]:
    """Run the campaign and return its totals."""
    environment = os.environ | {"PYTHONPATH": str(Path(snellen.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, ROOT / "benchmarks" / "faults.py", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def images(tmp_path):
    splits = ["train"] * 20 + ["valid"] * 4
    return make_images(tmp_path / "data", noise(24), ["cat", "dog"] * 12, splits)


def run_python(code: str, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the campaign forks")
def test_killed_commands_end_in_the_bytes_of_undisturbed_ones():
    for total in disturb("--rounds", "4", "--verbs", "prepare,refit,train"):
        assert total["lost"] == 0
        assert sum(total["faults"].values()) >= 2, "it was killed too late to test anything"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the campaign forks")
def test_two_at_once_and_jumping_clocks_do_no_harm():
    for total in disturb("--rounds", "2", "--verbs", "prepare,refit", "--how", "twice,jump"):
        assert total["faults"] == {"twice": 1, "jump": 1}


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_disk_that_fills_loses_nothing():
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    for total in disturb("--rounds", "3", "--verbs", "refit", "--how", "full"):
        assert total["faults"]["full"] >= 1


FULL = """
import errno, os, resource, signal, sys
from snellen.cli.commands import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
main()
"""


def test_a_full_disk_is_a_message_with_the_file_and_what_to_do(images, tmp_path):
    done = run_python(FULL, 100_000, "train", images.folder, "--out", tmp_path / "run", "--recipe", "smoke")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "a file cannot be written: File too large." in done.stderr
    assert f"in: {tmp_path / 'run'}" in done.stderr
    assert "free some space, then run the same command again" in done.stderr
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert snellen.train(images, PRESETS["smoke"], tmp_path / "run").finished


def test_a_study_whose_start_was_killed_is_begun_again(images, tmp_path):
    pytest.importorskip("optuna")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".study.json.x.partial").write_text("{")
    study = snellen.tune(images, tmp_path / "study", trials=1, recipe=SMOKE, space=["peak_lr=1,2"])
    assert study.count("complete") == 1
    assert not list((tmp_path / "study").glob(".*.partial"))


def test_compete_cleans_up_after_a_prepare_that_was_killed(world, tmp_path):
    leftover = tmp_path / "out" / ".data.x.partial"
    leftover.mkdir(parents=True)
    (leftover / "images.npy").write_bytes(b"half")
    snellen.compete(world.folder, tmp_path / "out", recipe=SMOKE, size=16)
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_two_recipes_that_begin_in_one_folder_never_mix(images, tmp_path):
    run = start_run(tmp_path / "run", SMOKE, {"fingerprint": "x", "on": "train"})
    with locked(run.folder), pytest.raises(RunError, match="peak_lr was 20"):
        start_run(tmp_path / "run", SMOKE.with_settings(["peak_lr=3"]), {"fingerprint": "x", "on": "train"})
    (tmp_path / "run" / "about.json").unlink()
    with locked(run.folder), pytest.raises(RunError, match="another snellen command is using this folder"):
        start_run(tmp_path / "run", SMOKE.with_settings(["peak_lr=3"]), {"fingerprint": "x", "on": "train"})
    assert snellen.Recipe.open(tmp_path / "run" / "recipe.json") == SMOKE


VANISH = """
import os, sys
from snellen.cli.commands import main
first, gone = sys.argv.pop(1), sys.argv.pop(1)
def see(event, arguments):
    if event == "open" and first in str(arguments[0]) and os.path.exists(gone):
        os.unlink(gone)
sys.addaudithook(see)
main()
"""


def test_a_picture_that_vanishes_is_named(world, tmp_path):
    gone = world.folder / "test" / "200.png"
    done = run_python(VANISH, "train/10.png", gone, "prepare", world.folder, "--out", tmp_path / "data")
    assert done.returncode == 1
    assert '1 of 60 pictures cannot be read, first "test/200.png (No such file or directory)"' in done.stderr
    assert not gone.exists()
    assert os.listdir(tmp_path) == ["world"]


def test_images_that_vanish_from_under_a_training_are_named_and_it_goes_on_when_they_are_back(images, tmp_path):
    whole = snellen.train(images, PRESETS["smoke"].with_settings(["epochs=3"]), tmp_path / "whole")
    copy = shutil.copytree(images.folder, tmp_path / "copy")
    words = ["train", copy, "--out", tmp_path / "run", "--recipe", "smoke", "--set", "epochs=3"]
    done = run_python(VANISH, ".metrics.jsonl", copy / "images.npy", *words)
    assert done.returncode == 1
    assert "images.npy cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(DataError, match=r"images\.npy"):
        snellen.ImageSet.open(copy)
    shutil.copy(images.folder / "images.npy", copy)
    run = snellen.train(copy, PRESETS["smoke"].with_settings(["epochs=3"]), tmp_path / "run")
    assert run.model.read_bytes() == whole.model.read_bytes()


def test_a_model_that_vanishes_is_named(images, tmp_path):
    run = snellen.train(images, SMOKE, tmp_path / "run")
    run.model.unlink()
    with pytest.raises(RunError, match="model"):
        snellen.evaluate(run, images)
