"""Memory that runs out, as one kind of error. Torch is not imported for it."""

import contextlib
import errno
from collections.abc import Iterator

from snellen.errors import OutOfMemoryError

# Parts of the messages of torch's allocators, in lower case: they raise RuntimeError for almost everything.
SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "alloc_failed")


@contextlib.contextmanager
def memory_errors(
    *,
    where: str = "",
    do: str = "close other programs, or use less memory: smaller pieces or batches (--set piece_size=50, "
    "--set batch_size=64), smaller images (--size), fewer processes",
) -> Iterator[None]:
    """Turn running out of memory, in Python, numpy, torch or the system, into an OutOfMemoryError."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as problem:
        if not is_out_of_memory(problem):
            raise
        reason = " ".join(str(problem).split())[:200]
        raise OutOfMemoryError("the memory ran out." + (f" ({reason})" if reason else ""), where=where, do=do) from None


def is_out_of_memory(problem: BaseException) -> bool:
    if isinstance(problem, OSError):
        return problem.errno == errno.ENOMEM
    is_torch = isinstance(problem, RuntimeError) and any(sign in str(problem).lower() for sign in SIGNS)
    return is_torch or isinstance(problem, MemoryError)
