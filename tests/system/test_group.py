"""What the environment says of several processes: read, or refused with what is missing."""

import os
import subprocess
import sys

import pytest

from made import make_images, noise
from snellen.errors import RunError
from snellen.system.group import Member, member

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}


def without(*names):
    return {name: value for name, value in TORCHRUN.items() if name not in names}


def test_torchruns_variables_are_read():
    assert member(TORCHRUN) == Member(rank=3, local_rank=1, size=4)


ALONE = [{}, {"LOCAL_RANK": "1"}, {"RANK": "0", "WORLD_SIZE": "1"}, {"WORLD_SIZE": "1"}]


@pytest.mark.parametrize("environment", ALONE)
def test_a_process_without_others_works_alone(environment):
    assert member(environment) is None


@pytest.mark.parametrize("name", ["SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"])
def test_a_job_managers_number_on_the_machine_stands_in_for_torchruns(name):
    assert member(without("LOCAL_RANK") | {name: "2"}) == Member(rank=3, local_rank=2, size=4)
    assert member(TORCHRUN | {name: "2"}) == Member(rank=3, local_rank=1, size=4)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"RANK": "1"}, "RANK is set in the environment, but WORLD_SIZE, MASTER_ADDR, MASTER_PORT, LOCAL_RANK are not"),
        (without("LOCAL_RANK"), "RANK and WORLD_SIZE are set in the environment, but LOCAL_RANK is not"),
        (without("RANK"), "WORLD_SIZE is set in the environment, but RANK is not"),
        (without("MASTER_PORT"), "but MASTER_PORT is not"),
        (without("MASTER_PORT") | {"MASTER_PORT": ""}, "but MASTER_PORT is not"),
        (TORCHRUN | {"RANK": "4"}, "an impossible group of processes"),
        (TORCHRUN | {"RANK": "-1"}, "an impossible group of processes"),
        (TORCHRUN | {"WORLD_SIZE": "four"}, "an impossible group of processes"),
        (TORCHRUN | {"LOCAL_RANK": "1.5"}, "an impossible group of processes"),
    ],
)
def test_what_is_missing_or_impossible_is_named(environment, words):
    with pytest.raises(RunError, match=words) as caught:
        member(environment)
    assert "torchrun" in caught.value.do


@pytest.mark.parametrize("more", [[], ["--devices", "2"]])
def test_half_a_group_is_a_message_on_the_command_line(tmp_path, more):
    make_images(tmp_path / "data", noise(6), ["cat", "dog"] * 3, ["train"] * 4 + ["valid"] * 2)
    command = [sys.executable, "-m", "snellen", "train", tmp_path / "data", "--out", tmp_path / "run", *more]
    kept = {name: value for name, value in os.environ.items() if name not in TORCHRUN}
    done = subprocess.run(command, env=kept | {"RANK": "1"}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "\nsnellen: RANK is set in the environment, but WORLD_SIZE," in f"\n{done.stderr}"
    assert not (tmp_path / "run").exists()


def test_a_command_that_needs_no_group_prints_beside_half_of_one():
    command = [sys.executable, "-m", "snellen", "show", "smoke"]
    done = subprocess.run(command, env=os.environ | {"RANK": "1"}, capture_output=True, text=True)
    assert done.returncode == 0
    assert "whitened_cnn" in done.stdout
