import sys

import pytest
import torch

from snellen.errors import RunError
from snellen.system.device import BFLOAT16, choose_runtime, processor_features


def test_the_processor_and_the_asked_for_precision_are_taken_with_the_reason():
    runtime = choose_runtime("float32", "cpu")
    assert (runtime.device.type, runtime.dtype) == ("cpu", torch.float32)
    assert "cpu (as requested" in runtime.why
    assert "float32 (as requested)" in runtime.why
    threads = torch.get_num_threads()
    assert f"{threads} thread{'s' if threads > 1 else ''})" in runtime.why
    runtime = choose_runtime("bfloat16", "cpu")
    assert runtime.dtype == torch.bfloat16
    assert "bfloat16 (as requested" in runtime.why


def test_auto_says_what_it_chose_and_why():
    runtime = choose_runtime()
    name = str(runtime.dtype).removeprefix("torch.")
    assert runtime.dtype in (torch.float32, torch.bfloat16)
    assert f"{name} (" in runtime.why
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert "cpu (no GPU was found" in runtime.why


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
    assert processor_features(tmp_path / "cpuinfo") & BFLOAT16.keys() == features


def test_linux_and_torch_agree_on_bfloat16():
    """Torch's detection stands in on systems without /proc; on this one both can be read."""
    if not hasattr(torch.cpu, "get_capabilities") or sys.platform != "linux":
        pytest.skip("only one of the two is here")
    detected = {name for name, value in torch.cpu.get_capabilities().items() if value is True}
    assert processor_features() & BFLOAT16.keys() == detected & BFLOAT16.keys()


@pytest.mark.parametrize(
    "device", ["nonsense", "", "cpu:x", "CPU", "meta", "cuda:99", "vulkan", "hpu", "xla", "opengl", "privateuseone"]
)
def test_a_device_that_cannot_be_used_is_refused_by_name(device):
    with pytest.raises(RunError) as caught:
        choose_runtime("auto", device)
    assert f'the device "{device}" cannot be used: ' in caught.value.what
    assert "\n" not in caught.value.what
    assert "cpu" in caught.value.expected
    assert "--device" in caught.value.do or "did you mean" in caught.value.do


@pytest.mark.parametrize(("device", "meant"), [("gpu", "cuda"), ("GPU:0", "cuda"), ("cudda", "cuda"), ("CPU", "cpu")])
def test_a_device_by_another_name_is_told_torchs(device, meant):
    with pytest.raises(RunError, match="torch does not know this device") as caught:
        choose_runtime("auto", device)
    assert caught.value.expected == "cpu, cuda, cuda:1, mps, ..."
    assert caught.value.do == f'did you mean "{meant}"?'


def test_autocast_runs_products_in_the_chosen_precision_and_leaves_float32_alone():
    x = torch.rand(4, 4)
    for precision in ("float32", "bfloat16", "float64"):
        runtime = choose_runtime(precision, "cpu")
        with runtime.autocast():
            assert (x.to(runtime.weights) @ x.to(runtime.weights)).dtype == runtime.dtype
