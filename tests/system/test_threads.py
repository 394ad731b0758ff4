"""As many threads as idle processors; a resumed run keeps its number."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import snellen
from snellen import prepare
from snellen.system.threads import threads_for


@pytest.mark.parametrize(("idle", "num"), [(0.0, 1), (0.9, 1), (1.6, 1), (1.8, 2), (2.0, 2), (7.3, 7), (8.0, 8)])
def test_one_thread_for_each_idle_processor(idle, num):
    assert threads_for(idle) == num


def python(code: str, **environment: str) -> str:
    """Run the code in a process whose number of threads nobody has chosen, and return what it prints."""
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    inherited |= {"PYTHONPATH": str(Path(snellen.__file__).parents[1])} | environment
    done = subprocess.run([sys.executable, "-c", code], env=inherited, capture_output=True, text=True, check=True)
    return done.stdout.strip()


CHOOSE = """
import torch
from snellen.system.threads import choose_threads
print(choose_threads({}), torch.get_num_threads())
"""


def test_the_number_is_set_in_torch_and_never_above_the_processors():
    chosen, used = map(int, python(CHOOSE.format("")).split())
    assert chosen == used
    assert 1 <= chosen <= len(os.sched_getaffinity(0))


def test_a_resumed_run_keeps_its_number():
    assert python(CHOOSE.format(3)) == "3 3"


def test_the_users_choice_is_kept():
    assert python(CHOOSE.format(3), OMP_NUM_THREADS="2") == "2 2"
    assert python("import torch, snellen.system.threads; torch.set_num_threads(5)" + CHOOSE.format(3)) == "5 5"


def test_a_stopped_training_run_is_resumed_with_its_threads(world, tmp_path):
    images, run = prepare(world.folder, tmp_path / "data", size=32), tmp_path / "run"
    code = f"""
import torch
from snellen import PRESETS, train
THREADS

def stop(row):
    raise KeyboardInterrupt

try:
    train({str(images.folder)!r}, PRESETS["smoke"].with_settings(["epochs=2"]), {str(run)!r}, on_epoch=STOP)
except KeyboardInterrupt:
    pass
print(torch.get_num_threads())
"""
    first = code.replace("STOP", "stop").replace("THREADS", "import snellen.system.threads; torch.set_num_threads(3)")
    assert python(first) == "3"
    assert python(code.replace("STOP", "None").replace("THREADS", "")) == "3"
    about = json.loads((run / "about.json").read_text())
    assert about["versions"]["threads"] == 3
    assert "continued" not in about, "the environment is the same"
