"""Changes to the whole process, such as an environment variable, that several threads may need at once."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator


class Shared:
    """A context that is entered by the first thread and left by the last one.

    Without this, the last thread to leave may restore what another thread had set.
    """

    def __init__(self, make: Callable[[], contextlib.AbstractContextManager[object]]) -> None:
        """make: returns the context to enter, anew each time."""
        self._make, self._lock, self._num_inside = make, threading.Lock(), 0
        self._context = make()

    def __enter__(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._context = self._make()
                self._context.__enter__()
            self._num_inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._context.__exit__(None, None, None)


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable in the block, and restore it afterwards."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
