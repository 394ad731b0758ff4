"""images.npy: its header, a copy without unreadable pictures, its fingerprint, and the mean and std of its pixels."""

import hashlib
import io
import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from snellen.images.workers import HEADER_BYTES


def header(num_images: int, side: int) -> bytes:
    """Return the header of images.npy."""
    header = io.BytesIO()
    shape = (num_images, side, side, 3)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    assert header.tell() == HEADER_BYTES, "numpy pads the header of these arrays to 128 bytes"
    return header.getvalue()


def copy_readable(decoded: Path, out: Path, num_rows: int, unreadable: Collection[int], side: int) -> None:
    """Write images.npy without the entries of unreadable pictures."""
    stride = side * side * 3
    with open(decoded, "rb") as file, open(out, "wb") as copy:
        copy.write(header(num_rows - len(unreadable), side))
        file.seek(HEADER_BYTES)
        for index in range(num_rows):
            image = file.read(stride)
            if index not in unreadable:
                copy.write(image)
        copy.flush()
        os.fsync(copy.fileno())


def measure(
    file: BinaryIO, side: int, is_train: Sequence[bool], rows_csv: bytes
) -> tuple[str, list[float], list[float]]:
    """Return the fingerprint, and mean and std of each channel over the train split (0 to 1), in one pass.

    The std is over all pixels, not the mean over images. Sums are whole numbers and therefore exact: float64 for one
    part, Python integers for the total.
    """
    digest = hashlib.sha256(rows_csv)
    sums, squares, num_pixels = [0, 0, 0], [0, 0, 0], 0
    stride = side * side * 3
    at_once = max(1, 2**20 // stride)
    mask = np.array(is_train, dtype=bool)
    file.seek(HEADER_BYTES)
    for start in range(0, len(is_train), at_once):
        data = file.read(stride * min(at_once, len(is_train) - start))
        digest.update(data)
        images = np.frombuffer(data, dtype=np.uint8).reshape(-1, side * side, 3)[mask[start : start + at_once]]
        pixels = images.reshape(-1, 3).astype(np.float64)
        num_pixels += len(pixels)
        for channel in range(3):
            sums[channel] += int(pixels[:, channel].sum())
            squares[channel] += int(pixels[:, channel] @ pixels[:, channel])
    total = max(num_pixels, 1)
    mean = [s / (255 * total) for s in sums]
    std = [math.sqrt(total * q - s * s) / (255 * total) for s, q in zip(sums, squares, strict=True)]
    return digest.hexdigest(), mean, std
