"""Randomness as a function of a key, (seed, epoch, step) for example: there is no stream to save or to replay."""

import numpy as np
import torch

# The purpose of a random draw: a part of its key, so that no two draws share numbers.
ORDER, CHANGES, FIRST_FLIP = 1, 2, 3
INITIAL_WEIGHTS, WHITENING_SAMPLE = 11, 12
STEP_NOISE = 21


def random(*key: int) -> np.random.Generator:
    """Return random numbers as a function of `key`.

    Each number of the key is below 2**32: numpy splits larger ones, and two keys could then be the same.
    """
    return np.random.default_rng(key)


def seed_torch(*key: int) -> None:
    """Make torch's own random numbers (initial weights, dropout) a function of `key`."""
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1)))
