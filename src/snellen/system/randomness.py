"""Random numbers as a function of a key, such as (seed, epoch, step): there is no stream to save or replay."""

import numpy as np
import torch

# The purpose of a random draw is part of its key, so that no two draws share numbers.
ORDER, CHANGES, FIRST_FLIP = 1, 2, 3
INITIAL_WEIGHTS, WHITENING_SAMPLE = 11, 12
STEP_NOISE = 21


def random(*key: int) -> np.random.Generator:
    """Return a random number generator seeded by `key`.

    Each number in the key must be below 2**32: numpy splits larger ones, so two keys could coincide.
    """
    return np.random.default_rng(key)


def seed_torch(*key: int) -> None:
    """Seed torch's random numbers (initial weights, dropout) with `key`."""
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1)))
