import errno
import os

import numpy as np
import pytest
import torch

from snellen.errors import OutOfMemoryError
from snellen.system import memory


def test_images_that_take_half_of_the_free_memory_are_held(monkeypatch):
    cpu = torch.device("cpu")
    free = memory.available_memory(cpu)
    if free is None:
        pytest.skip("this system does not say how much memory is free")
    assert 2**28 < free < 2**44
    assert memory.holds(1000, cpu)[0]
    held, why = memory.holds(3 * 10**6, cpu)
    assert held
    assert why.startswith("3.0 MB of images are held in memory (")
    held, why = memory.holds(2**44, cpu)
    assert not held
    assert why.startswith("17,592.2 GB of images are read from disk as needed (")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")  # each process has its own copy
    held, why = memory.holds(free // 100, cpu)
    assert not held
    assert "in each of 1000 processes" in why


MEMINFO = "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"
OF_VERSION_2 = {"memory.max": "5000", "memory.current": "2000", "memory.stat": "anon 7\ninactive_file 300\n"}
OF_VERSION_1 = {
    "memory.limit_in_bytes": "5000",
    "memory.usage_in_bytes": "2000",
    "memory.stat": "inactive_file 1\ntotal_inactive_file 300\n",
}


@pytest.mark.parametrize(
    ("group", "folder", "written", "free"),
    [
        ("0::/\n", "", {}, 8_192_000),
        ("0::/\n", "", OF_VERSION_2, 3300),
        ("0::/a/b\n", "a/b", OF_VERSION_2, 3300),
        ("0::/a/b\n", "a/b", OF_VERSION_2 | {"memory.max": "max"}, 8_192_000),
        ("0::/a/b\n", "a/b", OF_VERSION_2 | {"memory.current": "9000"}, 0),
        ("3:memory:/docker/x\n2:cpu:/\n", "memory", OF_VERSION_1, 3300),  # in a container, its group is the top
        ("3:memory:/docker/x\n0::/\n", "memory/docker/x", OF_VERSION_1, 3300),
        ("3:memory:/\n", "memory", OF_VERSION_1 | {"memory.limit_in_bytes": "9223372036854771712"}, 8_192_000),
    ],
)
def test_free_memory_is_what_the_machine_and_the_group_of_processes_leave(tmp_path, group, folder, written, free):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(MEMINFO)
    (tmp_path / "proc" / "self" / "cgroup").write_text(group)
    (tmp_path / "sys" / "fs" / "cgroup" / folder).mkdir(parents=True)
    for name, text in written.items():
        (tmp_path / "sys" / "fs" / "cgroup" / folder / name).write_text(text)
    assert memory.free_memory(tmp_path) == free


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="Windows does not say")
def test_a_system_without_proc_has_the_memory_of_the_machine(tmp_path, monkeypatch):
    in_all = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 2**28 < in_all < 2**44
    assert memory.free_memory(tmp_path) == in_all
    monkeypatch.delattr(os, "sysconf")
    assert memory.free_memory(tmp_path) is None


CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "problem",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.8 GB)"),
    ],
)
def test_running_out_of_memory_is_one_error_with_what_to_do(problem):
    for device, words in ((CPU, "the machine ran out"), (torch.device("cuda:1"), "the device cuda:1 ran out")):
        with (
            pytest.raises(OutOfMemoryError, match=words) as caught,
            memory.memory_errors(device, where="batch_size=9", do="less"),
        ):
            raise problem
        assert (caught.value.where, caught.value.do) == ("batch_size=9", "less")


def of_the_system():
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


@pytest.mark.parametrize(
    "exhaust",
    [lambda: np.empty(2**59), lambda: torch.empty(2**50), lambda: bytearray(2**62), of_the_system],
    ids=["numpy", "torch", "python", "system"],
)
def test_whatever_runs_out_of_memory_is_recognised(exhaust):
    with pytest.raises(OutOfMemoryError, match="the machine ran out of memory") as caught, memory.memory_errors():
        exhaust()
    assert "close other programs" in caught.value.do


@pytest.mark.parametrize("problem", [RuntimeError("shapes do not fit"), OSError(errno.ENOENT, "x"), ValueError("x")])
def test_other_errors_stay_what_they_are(problem):
    with pytest.raises(type(problem)) as caught, memory.memory_errors(CPU, where="", do=""):
        raise problem
    assert caught.value is problem
