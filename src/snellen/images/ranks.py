"""A pseudorandom order of ids that depends neither on the order of files nor on the machine."""

import hashlib


def rank(id: str, seed: int) -> bytes:
    """Return the pseudorandom sort key of an id: SHA-256 of "seed:id"."""
    return hashlib.sha256(f"{seed}:{id}".encode()).digest()
