"""Several processes do what one does: real processes, joined by gloo, on the same tiny images."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import made
from snellen.errors import RunError
from snellen.images.imageset import ImageSet
from snellen.models.model_file import load_model
from snellen.prediction.evaluate import evaluate
from snellen.prediction.predictions import Predictions
from snellen.prediction.probabilities import probabilities
from snellen.runs.cross_validation import CrossValidation
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe
from snellen.runs.run import Run
from snellen.system import processes
from snellen.system.device import choose_runtime
from snellen.system.folders import locked
from snellen.system.launch import count_devices
from snellen.system.randomness import seed_torch
from snellen.training.cross_validate import cross_validate
from snellen.training.loader import Batches
from snellen.training.pieces import pieces_of
from snellen.training.synchronize import same_start
from snellen.training.train import train

# In float64 what several processes do differs from what one does by roundings of 1e-16; in float32 one that moves a
# value across the kink of a ReLU changes a gradient by more than itself, and a mistake could hide behind that.
SMOKE = Recipe(model="cifar_resnet8_v2", epochs=2, batch_size=20, peak_lr=0.05, flip="off", precision="float64")
RECIPES = {
    "sgd": SMOKE.with_settings(["flip=random", "cutout=4"]),
    "record": SMOKE.with_settings(["model=whitened_cnn", "peak_lr=20", "head_lr=20", "optimizer=muon", "muon_lr=0.2"]),
    "float32": SMOKE.with_settings(["precision=float32"]),
    "muon": SMOKE.with_settings(["optimizer=muon", "muon_lr=0.02", "flip=alternating", "piece_size=8"]),
    "mixed": SMOKE.with_settings(["mixup=1", "ema=0.5"]),
    "averaged": SMOKE.with_settings(["average_last=2"]),
    "photo": PRESETS["photo"].with_settings(["epochs=2", "batch_size=20", "small_size=24", "precision=float64"]),
    "own_norms": SMOKE.with_settings(["sync_batchnorm=false", "piece_size=4"]),
}
WORKER = Path(__file__).with_name("several_processes.py")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> ImageSet:
    names = [("cat", "dog", "owl")[number % 3] for number in range(58)]
    # 41 images in 3 batches of 13 or 14, 17 to validate on: neither 2 nor 3 divide them.
    return made.make_images(
        tmp_path_factory.mktemp("some") / "data", made.noise(58), names, ["train"] * 41 + ["valid"] * 17
    )


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory) -> dict[str, Run]:
    """Each recipe trained by one process."""
    out = tmp_path_factory.mktemp("alone")
    return {name: train(images, recipe, out / name) for name, recipe in RECIPES.items()}


@pytest.fixture(scope="module", params=[2, 3])
def together(request, images, tmp_path_factory) -> Path:
    """A folder in which so many processes have trained each recipe and written down what each of them saw."""
    out = tmp_path_factory.mktemp("together")
    for name, recipe in RECIPES.items():
        recipe.save(out / f"{name}.json")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": str(request.param), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", WORKER, images.folder, out, *RECIPES],
            env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(request.param)
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * request.param, "\n".join(said)
    return out


def seen(folder: Path) -> list[dict]:
    """What each process wrote down."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("seen-*.json"))]


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if name not in ("own_norms", "float32")])
def test_several_processes_learn_what_one_learns(together, alone, name):
    mine, one = load_model(together / name).state_dict(), load_model(alone[name]).state_dict()
    for key, values in one.items():
        if key.startswith("network."):  # in the file rounded to float32: to the same value or the next
            torch.testing.assert_close(mine[key], values, rtol=2**-23, atol=2**-26, msg=key)
    for row, expected in zip(Run.open(together / name).metrics, alone[name].metrics, strict=True):
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-12)
        assert row["train_accuracy"] == expected["train_accuracy"]
        assert row["valid_loss"] == pytest.approx(expected["valid_loss"], rel=1e-6)  # probabilities are float32
        assert row["valid_accuracy"] == expected["valid_accuracy"]
        assert row["step"] == expected["step"]


def test_in_float32_they_drift_apart_as_roundings_grow(together, alone):
    rows = zip(Run.open(together / "float32").metrics, alone["float32"].metrics, strict=True)
    for (row, expected), bound in zip(rows, (1e-4, 1e-2), strict=True):
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=bound)


def test_processes_hold_the_same_weights_with_either_batch_norm(together):
    for name in RECIPES:
        assert len({process["weights"][name] for process in seen(together)}) == 1, name


def test_first_process_alone_is_told(together):
    first, *others = seen(together)
    assert first["epochs"] == 2 * len(RECIPES)
    assert first["steps"] > 0
    assert {(process["epochs"], process["steps"]) for process in others} == {(0, 0)}


def test_evaluation_counts_every_image_once(together, images):
    expected = evaluate(together / "sgd", images)
    for process in seen(together):
        assert process["scores"]["images"] == 17
        assert process["scores"]["right"] == expected["right"]
        assert process["scores"]["classes"] == expected["classes"]
        assert process["scores"]["log_loss"] == pytest.approx(expected["log_loss"], rel=1e-5)
    guesses = probabilities(load_model(together / "sgd"), images.select("train"), choose_runtime("float32", "cpu"))
    for path in together.glob("guesses-*.npy"):
        np.testing.assert_allclose(np.load(path), guesses, rtol=1e-4, atol=1e-6)


def test_shared_batch_norm_is_batch_norm_of_the_whole_batch(together):
    for process in seen(together):
        assert process["norm_errors"]
        assert max(process["norm_errors"].values()) < 1e-5, process["norm_errors"]


def test_rows_of_all_processes_are_the_batch(together, images):
    """Also when it is mixed with partners in another process's rows, and with piece_size."""
    for name, recipe in RECIPES.items():
        batches = Batches(images.select("train"), recipe, torch.device("cpu"))
        for step, batch in enumerate(batches.epoch(0)):
            parts = [np.load(path) for path in sorted(together.glob(f"rows-{name}-{step}-*.npy"))]
            num = len(batch.x)
            assert sum(map(len, parts)) == num
            order = [tuple(row) for row in np.concatenate(parts).reshape(num, -1)[:, :50].round(5).tolist()]
            expected = [tuple(row) for row in batch.x.numpy().reshape(num, -1)[:, :50].round(5).tolist()]
            assert sorted(order) == sorted(expected)


def test_refusal_names_the_batch_that_is_too_small(together):
    for process in seen(together):
        assert "processes cannot share 1 image." in process["refusal"]


def test_a_part_is_the_whole_where_nobody_shares():
    assert processes.part_of(7) == (0, 7)
    assert pieces_of(7, Recipe(piece_size=3)) == [(0, 2), (2, 4), (4, 7)]
    assert pieces_of(7, Recipe()) == [(0, 7)]
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    same_start(model, Recipe())
    assert type(model[1]) is nn.BatchNorm2d


def test_first_process_draws_the_noise_that_one_process_draws():
    seed_torch(5, 21, 3)
    one = torch.rand(4)
    seed_torch(5, 21, 3, 0)
    assert torch.equal(one, torch.rand(4))
    seed_torch(5, 21, 3, 1)
    assert not torch.equal(one, torch.rand(4))


def test_each_process_has_a_device_of_its_own_and_a_backend_for_it():
    for device in (None, "cuda"):
        assert [processes.device_of(rank, device, 2) for rank in (0, 1)] == ["cuda:0", "cuda:1"]
    assert processes.device_of(1, "cpu", 2) == processes.device_of(1, None, 0) == "cpu"
    assert processes.backend_of("cpu") == "gloo"
    assert processes.backend_of("cuda:1") == "cpu:gloo,cuda:nccl"
    for device, num_gpus, words in (
        ("cuda:0", 2, 'cannot share the device "cuda:0"'),
        ("mps", 0, 'cannot share the device "mps"'),
        (None, 1, "process 2 on this machine has no GPU: there are 1"),
        ("cuda", 0, "has no GPU: there are 0"),
    ):
        with pytest.raises(RunError, match=words):
            processes.device_of(1, device, num_gpus)
    assert processes.device_here("mps") == "mps", "alone it may take any"


def test_a_budget_is_not_planned_by_several(images, tmp_path, monkeypatch):
    group = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in group.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match="planned by a single process"):
        train(images, SMOKE, tmp_path / "run", budget=30.0)
    assert not (tmp_path / "run").exists()


def test_devices_are_a_number_or_all():
    assert count_devices("3", "cpu") == 3
    assert count_devices("all", "cpu") == 1
    for wrong in ("0", "-1", "two", "1.5", "²"):
        with pytest.raises(RunError, match="is not a possible number of devices"):
            count_devices(wrong, "cpu")


def command(images: ImageSet, out: Path, recipe: Recipe, *more: str) -> list[str]:
    recipe.save(out.with_suffix(".json"))
    words = ["train", images.folder, "--out", out, "--recipe", out.with_suffix(".json"), "--device", "cpu", *more]
    return [sys.executable, "-m", "snellen", *map(str, words)]


def test_processes_share_folds_too(images, tmp_path):
    recipe = SMOKE.with_settings(["epochs=1"])
    done = subprocess.run(
        command(images, tmp_path / "cv", recipe, "--devices", "2", "--folds", "2"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    alone = cross_validate(images, recipe, tmp_path / "alone", 2)
    together = CrossValidation.open(tmp_path / "cv")
    assert together.scores["accuracy"] == alone.scores["accuracy"]
    mine, one = (Predictions.open(folds.predictions) for folds in (together, alone))
    assert mine.ids.tolist() == one.ids.tolist()
    np.testing.assert_allclose(mine.probabilities, one.probabilities, rtol=1e-5)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the process to kill in Linux's /proc")
def test_killed_process_stops_all_and_one_process_goes_on(images, tmp_path):
    recipe = RECIPES["sgd"].with_settings(["epochs=40"])
    launcher = subprocess.Popen(
        command(images, tmp_path / "run", recipe, "--devices", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(tmp_path / "run" / "checkpoint.safetensors", launcher)
    workers = workers_of(launcher.pid)
    assert sorted(workers) == [0, 1]
    os.kill(workers[1], signal.SIGKILL)
    _, said = launcher.communicate(timeout=120)
    assert launcher.returncode == 1, said
    assert "snellen: process 1 of 2 was killed (SIGKILL), so all were stopped." in said
    assert "Traceback" not in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers.values())
    done = len(Run.open(tmp_path / "run").metrics)
    assert 1 <= done < 40
    resumed_at = []
    run = train(images, recipe, tmp_path / "run", on_epoch=lambda row: resumed_at.append(row["epoch"]))
    assert resumed_at[0] in (done, done + 1)  # the metrics are written just before the checkpoint
    assert [row["step"] for row in run.metrics] == [3 * epoch for epoch in range(1, 41)]


def workers_of(launcher: int) -> dict[int, int]:
    """Rank to process id."""
    found = {}
    for task in Path(f"/proc/{launcher}/task").iterdir():
        for pid in (task / "children").read_text().split():
            facts = dict(line.partition("=")[::2] for line in Path(f"/proc/{pid}/environ").read_text().split("\0"))
            if "RANK" in facts:
                found[int(facts["RANK"])] = int(pid)
    return found


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Wait until the file is there."""
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes in Linux's /proc")
def test_processes_end_when_their_launcher_is_killed(images, tmp_path):
    recipe = RECIPES["sgd"].with_settings(["epochs=4000"])
    words = command(images, tmp_path / "run", recipe, "--devices", "2")
    launcher = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(tmp_path / "run" / "checkpoint.safetensors", launcher)
    workers = workers_of(launcher.pid)
    assert sorted(workers) == [0, 1]
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 60
    while any(is_running(pid) for pid in workers.values()) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [pid for pid in workers.values() if is_running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
    with locked(tmp_path / "run"):
        pass  # the folder is free


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie, which nobody may collect in a container."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_launcher_tells_a_mistake_once_and_nothing_from_the_current_folder_is_run(images, tmp_path):
    for name in ("numpy", "torch"):
        (tmp_path / f"{name}.py").write_text(f"open('{name} was run', 'w')")
    words = command(images, tmp_path / "run", SMOKE, "--devices", "2")
    words[words.index("--out") + 1] = str(tmp_path)
    words.insert(1, "-P")  # the launcher's own path is its user's choice
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert result.stderr.count("is not empty and does not hold a run") == 1
    assert result.stderr.count("do: choose another --out") == 1
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("* was run"))


def test_the_launcher_tells_a_diverging_training_once(images, tmp_path):
    recipe = SMOKE.with_settings(["peak_lr=1e6", "weight_decay=1", "decay_all=true"])
    words = command(images, tmp_path / "run", recipe, "--devices", "2")
    result = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert result.stderr.count("infinite or not a number in epoch") == 1
    assert "lower the learning rate" in result.stderr
    for word in ("Traceback", "File ", "DivergedError"):
        assert word not in result.stderr
