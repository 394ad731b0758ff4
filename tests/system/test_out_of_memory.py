"""Running out of memory is one kind of error, whoever notices it."""

import errno

import numpy as np
import pytest
import torch

from snellen.errors import OutOfMemoryError
from snellen.system.out_of_memory import memory_errors


def of_the_system():
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


def of_a_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@pytest.mark.parametrize(
    "exhaust",
    [lambda: np.empty(2**59), lambda: torch.empty(2**50), lambda: bytearray(2**62), of_the_system, of_a_gpu],
    ids=["numpy", "torch", "python", "system", "gpu"],
)
def test_memory_that_runs_out_is_one_error_with_what_to_do(exhaust):
    with pytest.raises(OutOfMemoryError, match=r"(?s)the memory ran out.*do: close other programs"), memory_errors():
        exhaust()


def test_the_caller_can_name_the_settings_and_what_to_change():
    with pytest.raises(OutOfMemoryError) as caught, memory_errors(where="batch_size=9", do="less"):
        of_a_gpu()
    assert (caught.value.where, caught.value.do) == ("batch_size=9", "less")


@pytest.mark.parametrize("problem", [RuntimeError("shapes differ"), OSError(errno.ENOENT, "gone"), ValueError("bad")])
def test_other_errors_stay_what_they_are(problem):
    with pytest.raises(type(problem)) as caught, memory_errors():
        raise problem
    assert caught.value is problem
