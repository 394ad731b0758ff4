"""The rows of a batch that a process computes at a time."""

import itertools
from collections.abc import Iterable

from snellen.errors import RunError
from snellen.runs.recipe import Recipe
from snellen.system.processes import part_of, size


def pieces_of(num: int, recipe: Recipe) -> list[tuple[int, int]]:
    """(start, stop) of the rows of a batch of `num` images that this process computes, one pair per piece.

    With sync_batchnorm the batch is cut into pieces of piece_size and all processes share each piece, so that a piece
    and its batch-norm statistics are what they are with one process. Without, each takes one range of the batch and
    cuts that into pieces.
    """
    if recipe.sync_batchnorm:
        pieces = _cut(0, num, recipe.piece_size)
        return [(start + first, start + stop) for start, end in pieces for first, stop in (part_of(end - start),)]
    return _cut(*part_of(num), recipe.piece_size)


def _cut(start: int, stop: int, length: int) -> list[tuple[int, int]]:
    """As few pieces of at most `length` as there can be, as equal as they can be: none of a single image by chance."""
    num = -(-(stop - start) // length) if length else 1
    ends = [start + (stop - start) * piece // num for piece in range(num + 1)]
    return list(itertools.pairwise(ends))


def check_shares(batch_sizes: Iterable[int], recipe: Recipe) -> int:
    """The images of the smallest piece that batch norm sees. Raises RunError where a process would get none of one."""
    found = []
    for num in batch_sizes:
        smallest = min(end - start for start, end in _cut(0, num, recipe.piece_size if recipe.sync_batchnorm else 0))
        if smallest < size():
            raise RunError(
                f"{size()} processes cannot share {smallest} image{'s' * (smallest != 1)}.",
                where=f"batch_size={recipe.batch_size}, piece_size={recipe.piece_size}: "
                f"there are batches of {num} images",
                expected="at least one image of each piece for each process",
                do="take fewer processes, a larger batch_size, or another piece_size",
            )
        found += [smallest] if recipe.sync_batchnorm else [end - start for start, end in pieces_of(num, recipe)]
    return min(found)
