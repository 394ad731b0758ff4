"""Pieces: the rows of a batch that a process computes at a time."""

import copy
import itertools
from collections.abc import Iterable

import torch

from snellen.errors import RunError
from snellen.models.classifier import Classifier
from snellen.runs.recipe import Recipe
from snellen.system.processes import part_of, size


def pieces_of(num: int, recipe: Recipe) -> list[tuple[int, int]]:
    """Return (start, stop) of the rows of a batch of `num` images that this process computes, one pair per piece.

    With sync_batchnorm the batch is cut into pieces of piece_size and all processes share each piece, so a piece and
    its batch-norm statistics are the same as with one process. Without it, each process takes one range of the batch
    and cuts that into pieces.
    """
    if recipe.sync_batchnorm:
        pieces = _cut(0, num, recipe.piece_size)
        return [(start + first, start + stop) for start, end in pieces for first, stop in (part_of(end - start),)]
    return _cut(*part_of(num), recipe.piece_size)


def _cut(start: int, stop: int, length: int) -> list[tuple[int, int]]:
    """Cut a range into as few pieces of at most `length` as possible, all of nearly equal size."""
    num = -(-(stop - start) // length) if length else 1
    ends = [start + (stop - start) * piece // num for piece in range(num + 1)]
    return list(itertools.pairwise(ends))


def check_shares(batch_sizes: Iterable[int], recipe: Recipe) -> int:
    """Return the size of the smallest piece that batch norm sees.

    Raises RunError if a process would get no image from a piece.
    """
    found = []
    for num in batch_sizes:
        smallest = min(end - start for start, end in _cut(0, num, recipe.piece_size if recipe.sync_batchnorm else 0))
        if smallest < size():
            raise RunError(
                f"{size()} processes cannot share {smallest} image{'s' * (smallest != 1)}.",
                where=f"batch_size={recipe.batch_size}, piece_size={recipe.piece_size}: some batches have {num} images",
                expected="at least one image per process in each piece",
                do="use fewer processes, a larger batch_size, or another piece_size",
            )
        found += [smallest] if recipe.sync_batchnorm else [end - start for start, end in pieces_of(num, recipe)]
    return min(found)


def check_variance(model: Classifier, smallest_piece: int, recipe: Recipe) -> None:
    """Raise RunError if a batch norm would see only one pixel of one image, which has no variance."""
    if smallest_piece > 1:
        return
    height, width = (recipe.small_size,) * 2 if recipe.small_size else model.size
    trial = copy.deepcopy(model).to("meta").train()  # computes shapes only
    try:
        trial(torch.zeros(1, 3, height, width, device="meta"))
    except ValueError:
        raise RunError(
            f"{recipe.model} cannot train on one image of {width}x{height} pixels at a time: batch norm needs more.",
            where=f"batch_size={recipe.batch_size}, piece_size={recipe.piece_size}",
            expected="pieces of two images or more",
            do="increase batch_size or piece_size; if there is only one training image, add another",
        ) from None
