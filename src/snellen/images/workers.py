"""Decode pictures with several workers, each of which writes its part of one file.

The workers are threads for photographs, because Pillow releases the GIL while decoding. They are processes for small
pictures, where most of the time is spent in Python code and threads gain nothing (lab notes, 2026-11-24). A new process
imports this file, so it imports little.
"""

import contextlib
import errno
import functools
import io
import itertools
import logging
import logging.handlers
import multiprocessing
import os
import queue
import signal
import statistics
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snellen.errors import DataError
from snellen.sources.decode import QUIET, UnreadablePicture, decode
from snellen.sources.resize import CROP, Resize
from snellen.system.shared import Shared, environment

log = logging.getLogger("snellen")

HEADER_BYTES = 128  # of images.npy, whatever the number of images
SMALL = 192 * 192  # pixels: smaller pictures are decoded by processes
WORTH_STARTING = 5000  # small pictures: fewer are decoded by one process before others have started
PART = 250  # pictures that a worker decodes at a time, at most
PART_PIXELS = 2**20  # approximate pixels of a part
PART_BYTES = 8 * 2**20  # file bytes of a part; a few parts per worker wait in memory
BLOCK_BYTES = 2**20  # pixels that a worker writes at a time, roughly

Picture = bytes | Path | UnreadablePicture | np.ndarray  # a file's content, a file, or decoded pixels
RECORDS: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()  # log records of `decode` in a worker process


@dataclass(frozen=True)
class Workers:
    """The workers that decode: `num` processes or threads, each with `part` pictures at a time."""

    num: int
    are_processes: bool
    part: int


@dataclass(frozen=True)
class Decoded:
    """The result of a worker: some pictures of a stream, in order."""

    num: int
    unreadable: dict[int, str]  # reasons, by index
    num_resized: int
    warnings: list[str]  # of a process


class Stopped(Exception):
    """An error while decoding the picture with this index, but not caused by it; with the parts of a DataError."""


def write_at(file: io.FileIO, place: int, data: bytes | bytearray) -> None:
    """Write all of `data` at `place`, or raise OSError."""
    file.seek(place)
    if file.write(data) != len(data):  # a full disk writes only part of the data, without an error
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)


def choose_workers(sizes: Sequence[tuple[int, int]], num_pictures: int, num: int | None = None) -> Workers:
    """Choose threads or processes by the median size, and their number unless `num` is set: one per processor."""
    pixels = statistics.median([width * height for width, height in sizes] or [1])
    are_processes = pixels < SMALL
    if num is None:
        num = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if are_processes and (num_pictures < WORTH_STARTING or _reruns_script()):
            num = 1
    return Workers(num, are_processes, max(1, min(PART, int(PART_PIXELS // pixels))))


def _reruns_script() -> bool:
    """Return whether each new process would import the caller's script, as `multiprocessing` does to find functions.

    It does not do this for `python -c`, `python -m PACKAGE`, notebooks and the `snellen` command.
    """
    main = sys.modules["__main__"]
    if spec := getattr(main, "__spec__", None):
        return not spec.name.endswith("__main__")
    path = getattr(main, "__file__", None)
    return path is not None and Path(path).stem != "snellen"


def decode_all(
    stream: Iterable[tuple[int, Picture]], path: Path, side: int, workers: Workers, resize: Resize = CROP
) -> Generator[Decoded, None, None]:
    """Decode (index, picture) pairs to `side` pixels into the file at `path`, and yield the parts in stream order.

    The file does not depend on the workers. Raises Stopped, and BrokenProcessPool if a process is killed.
    """
    parts = _parts(stream, workers.part)
    if workers.num == 1:
        yield from (_decode_part(part, path, side, resize) for part in parts)
        return
    waiting: deque[Future[Decoded]] = deque()
    with _pool(workers) as pool:
        for part in parts:
            waiting.append(pool.submit(_decode_part, part, path, side, resize))
            if len(waiting) > 2 * workers.num:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextlib.contextmanager
def _pool(workers: Workers) -> Iterator[Executor]:
    """Yield the threads or processes. When the block ends, running parts are finished and waiting parts are dropped."""
    with contextlib.ExitStack() as stack:
        if workers.are_processes:
            stack.enter_context(SAFE_PATH)
            # Not forked: a fork of a process with threads may hold locks forever.
            context = multiprocessing.get_context("spawn")
            pool: Executor = ProcessPoolExecutor(workers.num, context, initializer=_begin_worker)
        else:
            pool = ThreadPoolExecutor(workers.num)
        stack.callback(pool.shutdown, cancel_futures=True)
        yield pool


# New processes import no file of the current folder, such as a pickle.py among the raw files. `python -c`, which starts
# each process, puts that folder first on the path, and only an environment variable prevents it.
SAFE_PATH = Shared(functools.partial(environment, "PYTHONSAFEPATH", "1"))


def _begin_worker() -> None:
    """Prepare a worker process: queue warnings for the main process, ignore Ctrl-C, exit if the main process dies."""
    log.addHandler(logging.handlers.QueueHandler(RECORDS))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # sys.exit would end only this thread


def _parts(stream: Iterable[tuple[int, Picture]], most: int) -> Iterator[list[tuple[int, Picture]]]:
    stream = iter(stream)
    while first := next(stream, None):
        part, num_bytes = [], 0
        for index, picture in itertools.chain([first], stream):
            part.append((index, picture))
            num_bytes += len(picture) if isinstance(picture, bytes) else 0
            if len(part) == most or num_bytes >= PART_BYTES:
                break
        yield part


def _decode_part(part: Sequence[tuple[int, Picture]], path: Path, side: int, resize: Resize) -> Decoded:
    """Write the pixels of each picture at its position in the file. The pixels of unreadable pictures are zero."""
    unreadable, num_resized, stride = {}, 0, side * side * 3
    block, start = bytearray(), part[0][0]  # pixels of consecutive pictures, and the index of the first
    # Not through a writable memory map, which would count as memory of this process.
    with open(path, "r+b", buffering=0) as file, QUIET:
        for index, picture in part:
            if index != start + len(block) // stride or len(block) >= BLOCK_BYTES:
                write_at(file, HEADER_BYTES + start * stride, block)
                block, start = bytearray(), index
            try:
                if isinstance(picture, UnreadablePicture):
                    raise picture
                pixels, is_resized = decode(picture, side, resize)
                block += pixels.data
                num_resized += is_resized
            except UnreadablePicture as problem:
                unreadable[index] = str(problem)
                block += bytes(stride)
            except DataError as problem:
                raise Stopped(index, problem.what, problem.expected, problem.do) from None
        write_at(file, HEADER_BYTES + start * stride, block)
    return Decoded(len(part), unreadable, num_resized, [RECORDS.get().getMessage() for _ in range(RECORDS.qsize())])
