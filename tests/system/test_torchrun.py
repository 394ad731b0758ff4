"""Torchrun's commands as docs/several-machines.md has them: processes that die and are replaced, and two hosts."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import made
from snellen.images.imageset import ImageSet
from snellen.models.model_file import load_model
from snellen.runs.recipe import Recipe
from snellen.runs.run import Run
from snellen.training.train import train

# In float64: what several processes learn is then what one learns, to the last bits of the model file.
RECIPE = Recipe(model="cifar_resnet8_v2", epochs=10, batch_size=15, peak_lr=0.05, precision="float64")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend", "c10d"]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> ImageSet:
    names = [("cat", "dog", "owl")[number % 3] for number in range(58)]
    folder = tmp_path_factory.mktemp("some") / "data"
    return made.make_images(folder, made.noise(58), names, ["train"] * 41 + ["valid"] * 17)


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory) -> Run:
    """The training of one process."""
    return train(images, RECIPE, tmp_path_factory.mktemp("alone") / "run")


def training(data: Path, out: Path) -> list[str]:
    recipe = out.parent / f"{out.name}.json"
    RECIPE.save(recipe)
    words = ["-m", "snellen", "train", data, "--out", out, "--recipe", recipe, "--device", "cpu"]
    return [str(word) for word in words]


def start(words: list[str], **more: str) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | more
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def assert_same_training(folder: Path, alone: Run) -> None:
    run = Run.open(folder)
    assert run.finished
    assert [row["step"] for row in run.metrics] == [row["step"] for row in alone.metrics]
    losses = [row["train_loss"] for row in alone.metrics]
    assert [row["train_loss"] for row in run.metrics] == pytest.approx(losses, rel=1e-9)
    mine, one = load_model(folder).state_dict(), load_model(alone).state_dict()
    for name in one:
        if name.startswith("network."):
            torch.testing.assert_close(mine[name], one[name], rtol=2**-22, atol=2**-22, msg=name)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the process to kill in Linux's /proc")
def test_torchrun_replaces_a_killed_process_and_training_goes_on_to_the_same_model(images, alone, tmp_path):
    out = tmp_path / "run"
    here = ["--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1", "--nnodes", "1", "--nproc-per-node", "2"]
    launcher = start([*TORCHRUN, *here, "--max-restarts", "1", *training(images.folder, out)])
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.safetensors").exists() and launcher.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    victim = process_of(rank=1, parent=launcher.pid)
    os.kill(victim, signal.SIGKILL)
    said, _ = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, said
    assert "resuming after step" in said
    assert_same_training(out, alone)


def process_of(rank: int, parent: int) -> int:
    for task in Path(f"/proc/{parent}/task").iterdir():
        for pid in (task / "children").read_text().split():
            if f"\0RANK={rank}\0" in "\0" + Path(f"/proc/{pid}/environ").read_text():
                return int(pid)
    raise AssertionError(f"there is no process of rank {rank}")


@pytest.fixture
def hosts():
    """Two network namespaces with a cable between them: (words that run a command there, its address) each."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs the ip command and root")

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    names = [f"sacc{os.getpid() % 100_000}{end}" for end in "ab"]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", names[0], "netns", names[0], "type", "veth", "peer", "name", names[1], "netns", names[1])
            for number, name in enumerate(names, start=1):
                ip("-n", name, "address", "add", f"10.99.7.{number}/24", "dev", name)
                ip("-n", name, "link", "set", name, "up")
                ip("-n", name, "link", "set", "lo", "up")
                ip("netns", "exec", name, "true")
        except subprocess.CalledProcessError as problem:
            pytest.skip(f"no network namespaces here: {problem.stderr.decode().strip()}")
        yield [(["ip", "netns", "exec", name], f"10.99.7.{number}", name) for number, name in enumerate(names, start=1)]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def test_two_hosts_learn_what_one_process_learns(hosts, images, alone, tmp_path):
    """Each with a copy of the images and a disk of its own."""
    processes, outs = [], []
    for number, (inside, address, interface) in enumerate(hosts):
        home = tmp_path / f"host{number}"
        shutil.copytree(images.folder, home / "data")
        outs.append(home / "run")
        there = ["--rdzv-endpoint", f"{hosts[0][1]}:29400", "--rdzv-id", "flowers", "--local-addr", address]
        there += ["--rdzv-conf", f"is_host={int(number == 0)}", "--nnodes", "2", "--nproc-per-node", "1"]
        words = [*inside, *TORCHRUN, *there, *training(home / "data", outs[-1])]
        processes.append(start(words, GLOO_SOCKET_IFNAME=interface))
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    written = [out for out in outs if out.exists()]
    assert len(written) == 1, "one process writes"
    assert_same_training(written[0], alone)
