import subprocess
import sys

import numpy as np
import torch

from snellen.system import randomness


def test_random_numbers_are_a_function_of_their_key_alone():
    first = randomness.random(5, 1, 2).random(4).tolist()
    np.random.default_rng(0).random(9)
    randomness.random(5, 1, 3).random(9)
    assert randomness.random(5, 1, 2).random(4).tolist() == first


def test_another_key_gives_other_numbers():
    keys = [(0,), (1,), (0, 1), (1, 0, 1), (1, 1), (2, 1), (1, 1, 1), (1, 1, 2), (1, 2, 1), (2**32 - 1, 1, 1)]
    assert len({randomness.random(*key).random() for key in keys}) == len(keys)


def test_random_numbers_are_the_same_in_every_process():
    code = "from snellen.system import randomness; print(randomness.random(7, 1, 3).permutation(1000).tolist())"
    elsewhere = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert elsewhere == f"{randomness.random(7, 1, 3).permutation(1000).tolist()}\n"


def test_torchs_own_numbers_become_a_function_of_the_key():
    def drawn(*key):
        randomness.seed_torch(*key)
        return torch.rand(3).tolist()

    first = drawn(0, 21, 5)
    torch.rand(100)
    assert drawn(0, 21, 5) == first
    assert len({tuple(drawn(seed, 21, step)) for seed in range(5) for step in range(5)}) == 25
