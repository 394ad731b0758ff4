import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from snellen.errors import RunError
from snellen.system import runtime


def test_random_numbers_are_a_function_of_their_key_alone():
    first = runtime.random(5, 1, 2).random(4).tolist()
    np.random.default_rng(0).random(9)
    runtime.random(5, 1, 3).random(9)
    assert runtime.random(5, 1, 2).random(4).tolist() == first


def test_another_key_gives_other_numbers():
    keys = [(0,), (1,), (0, 1), (1, 0, 1), (1, 1), (2, 1), (1, 1, 1), (1, 1, 2), (1, 2, 1), (2**32 - 1, 1, 1)]
    assert len({runtime.random(*key).random() for key in keys}) == len(keys)


def test_random_numbers_are_the_same_in_every_process():
    code = "from snellen.system import runtime; print(runtime.random(7, 1, 3).permutation(1000).tolist())"
    elsewhere = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert elsewhere == f"{runtime.random(7, 1, 3).permutation(1000).tolist()}\n"


def test_torchs_own_numbers_become_a_function_of_the_key():
    def drawn(*key):
        runtime.seed_torch(*key)
        return torch.rand(3).tolist()

    first = drawn(0, 21, 5)
    torch.rand(100)
    assert drawn(0, 21, 5) == first
    assert len({tuple(drawn(seed, 21, step)) for seed in range(5) for step in range(5)}) == 25


def test_the_processor_and_the_asked_for_precision_are_taken_with_the_reason():
    place = runtime.choose("float32", "cpu")
    assert (place.device.type, place.dtype) == ("cpu", torch.float32)
    assert "cpu (as asked" in place.why
    assert "float32 (as asked)" in place.why
    assert "threads" in place.why
    place = runtime.choose("bfloat16", "cpu")
    assert place.dtype == torch.bfloat16
    assert "bfloat16 (as asked" in place.why


def test_auto_says_what_it_chose_and_why():
    place = runtime.choose()
    name = str(place.dtype).removeprefix("torch.")
    assert place.dtype in (torch.float32, torch.bfloat16)
    assert f"{name} (" in place.why
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert "cpu (no GPU was found" in place.why


@pytest.mark.parametrize(
    ("cpuinfo", "features"),
    [
        (
            "processor: 0\nflags\t\t: fpu sse2 avx512_bf16\n\nprocessor: 1\nflags\t\t: fpu sse2 avx512_bf16\n",
            {"avx512_bf16"},
        ),
        ("flags : fpu amx_bf16 amx_tile\n", {"amx_tile"}),
        ("Features\t: fp asimd i8mm bf16\nCPU part: 0xd40\n", {"bf16"}),
        ("flags : fpu sse2\nbugs : bf16\n", set()),
    ],
)
def test_bfloat16_is_known_from_the_processors_features(tmp_path, cpuinfo, features):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert runtime.processor_features(tmp_path / "cpuinfo") & runtime.BFLOAT16.keys() == features


def test_linux_and_torch_agree_on_bfloat16():
    """Torch's detection stands in on systems without /proc; on this one both can be read."""
    if not hasattr(torch.cpu, "get_capabilities") or sys.platform != "linux":
        pytest.skip("only one of the two is here")
    detected = {name for name, value in torch.cpu.get_capabilities().items() if value is True}
    assert runtime.processor_features() & runtime.BFLOAT16.keys() == detected & runtime.BFLOAT16.keys()


@pytest.mark.parametrize(
    "device", ["nonsense", "", "cpu:x", "CPU", "meta", "cuda:99", "vulkan", "hpu", "xla", "opengl", "privateuseone"]
)
def test_a_device_that_cannot_be_used_is_refused_by_name(device):
    with pytest.raises(RunError) as caught:
        runtime.choose("auto", device)
    assert f'the device "{device}" cannot be used: ' in caught.value.what
    assert "\n" not in caught.value.what
    assert "cpu" in caught.value.expected
    assert "--device" in caught.value.do or "did you mean" in caught.value.do


@pytest.mark.parametrize(("device", "meant"), [("gpu", "cuda"), ("GPU:0", "cuda"), ("cudda", "cuda"), ("CPU", "cpu")])
def test_a_device_by_another_name_is_told_torchs(device, meant):
    with pytest.raises(RunError, match="it is none that torch knows") as caught:
        runtime.choose("auto", device)
    assert caught.value.expected == "cpu, cuda, cuda:1, mps, ..."
    assert caught.value.do == f'did you mean "{meant}"?'


def test_autocast_runs_products_in_the_chosen_precision_and_leaves_float32_alone():
    x = torch.rand(4, 4)
    for precision in ("float32", "bfloat16", "float64"):
        place = runtime.choose(precision, "cpu")
        with place.autocast():
            assert (x.to(place.weights) @ x.to(place.weights)).dtype == place.dtype


def test_the_description_is_json_and_names_the_versions():
    facts = runtime.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["torch"] == torch.__version__
    assert facts["numpy"] == np.__version__
    assert facts["threads"] == torch.get_num_threads()
    assert all(facts.values())


def test_images_that_take_half_of_the_free_memory_are_held(monkeypatch):
    cpu = torch.device("cpu")
    free = runtime.available_memory(cpu)
    if free is None:
        pytest.skip("this system does not say how much memory is free")
    assert 2**28 < free < 2**44
    assert runtime.holds(1000, cpu)[0]
    held, why = runtime.holds(3 * 10**6, cpu)
    assert held
    assert why.startswith("3 MB of images are held in memory (")
    held, why = runtime.holds(2**44, cpu)
    assert not held
    assert why.startswith("17,592.2 GB of images are read from the disk as they are needed (")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")  # each process has its own copy
    held, why = runtime.holds(free // 100, cpu)
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
    assert runtime.free_memory(tmp_path) == free


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="Windows does not say")
def test_a_system_without_proc_has_the_memory_of_the_machine(tmp_path, monkeypatch):
    in_all = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 2**28 < in_all < 2**44
    assert runtime.free_memory(tmp_path) == in_all
    monkeypatch.delattr(os, "sysconf")
    assert runtime.free_memory(tmp_path) is None
