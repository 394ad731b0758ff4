"""Decode the pictures of a source into one file with several workers. A stopped command resumes.

The workers are threads for photographs, because Pillow releases the GIL while decoding. They are processes for small
pictures, where most of the time is spent in Python code and threads gain nothing (lab notes, 2026-11-24).
"""

import contextlib
import errno
import hashlib
import io
import itertools
import json
import logging
import logging.handlers
import multiprocessing
import os
import queue
import signal
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snellen.errors import DataError
from snellen.sources.archives import Contents
from snellen.sources.decode import UnreadablePicture, decode, picture_size
from snellen.sources.source import Source
from snellen.system import files
from snellen.system.progress import Progress

log = logging.getLogger("snellen")

DEFAULT_SIZE = 32  # pixels, as in CIFAR
LARGEST_KEPT_SIZE = 96  # pixels, as in STL-10; larger pictures are resized to DEFAULT_SIZE by default
NUM_PROBED = 64  # pictures whose sizes decide the default size
PROBED_BYTES = 64 * 2**20  # limit on these pictures, which wait in memory
HEADER_BYTES = 128  # of images.npy, whatever the number of images
NOTED_EACH, NOTED_SECONDS = 1000, 5.0  # pictures or seconds between two records of progress

SMALL = 192 * 192  # pixels: smaller pictures are decoded by processes
WORTH_STARTING = 5000  # small pictures: fewer are decoded by one process before others have started
PART = 250  # pictures that a worker decodes at a time, at most
PART_PIXELS = 2**20  # approximate pixels of a part
PART_BYTES = 8 * 2**20  # file bytes of a part; a few parts per worker wait in memory

Picture = Contents | np.ndarray
RECORDS: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()  # log records of `decode` in a worker process


@dataclass(frozen=True)
class Workers:
    """The workers that decode: `num` processes or threads, `part` pictures at a time."""

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


def decode_into(
    file: io.FileIO,
    source: Source,
    size: int | None,
    *,
    done: Path,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> tuple[int, dict[int, str], int]:
    """Write the pixels of each picture at the position of its row.

    Returns the side, the errors of unreadable rows by index, and the number of resized pictures.
    done: the progress file, which counts only pictures on disk. If it exists for the same rows, decoding resumes.
    workers: None for as many as useful. Raises DataError if memory runs out or a process is killed.
    """
    num, stream = len(source.rows), source.read()
    rows = hashlib.sha256("\n".join(row.path for row in source.rows).encode(errors="surrogatepass")).hexdigest()
    state: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        state = json.loads(done.read_bytes())
    if is_resumed := state.get("rows") == rows:
        log.info("resuming: %d of %d pictures are decoded", state["pictures"], num)
        stream = itertools.islice(stream, state["pictures"], None)
    probed = list(_probe(stream))
    stream = itertools.chain(probed, stream)
    sizes = _sizes_of([picture for _, picture in probed])
    if not is_resumed:
        state = {"rows": rows, "side": size or _choose_side(sizes), "pictures": 0, "unreadable": {}, "resized": 0}
        file.truncate(0)  # leftovers of an earlier command are useless
    side = state["side"]
    if size:
        log.info("size: %dx%d pixels, as requested", side, side)
    noted, noted_at, warned = state["pictures"], time.monotonic(), set[str]()
    workers_chosen = choose_workers(sizes, num - noted, workers)
    with contextlib.closing(decode_all(stream, Path(file.name), side, workers_chosen)) as parts:
        for part in _explained(parts, source):
            for warning in {*part.warnings} - warned:
                log.warning("%s", warning)
            warned |= {*part.warnings}
            state["pictures"] += part.num
            state["unreadable"] |= {str(index): reason for index, reason in part.unreadable.items()}
            state["resized"] += part.num_resized
            if state["pictures"] - noted >= NOTED_EACH or time.monotonic() - noted_at > NOTED_SECONDS:
                _note(done, state, file)
                noted, noted_at = state["pictures"], time.monotonic()
            if on_progress:
                on_progress("decode", state["pictures"], num)
    _note(done, state, file)
    if state["resized"]:
        log.info("%d of %d pictures are resized to %dx%d", state["resized"], num, side, side)
    return side, {int(index): reason for index, reason in state["unreadable"].items()}, state["resized"]


def _note(done: Path, state: dict[str, Any], file: io.FileIO) -> None:
    os.fsync(file.fileno())  # first: after a power cut the progress file must not count more pictures than exist
    files.write_json(done, state)


def write_at(file: io.FileIO, place: int, data: bytes) -> None:
    """Write all of `data` at `place`, or raise OSError."""
    file.seek(place)
    if file.write(data) != len(data):  # a full disk writes only part of the data, without an error
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)


def _probe(stream: Iterator[tuple[int, Picture]]) -> Iterator[tuple[int, Picture]]:
    """Yield the next pictures to choose a size; labelled ones first, if the source can be read in any order."""
    in_memory = 0
    for index, picture in itertools.islice(stream, NUM_PROBED):
        yield index, picture
        in_memory += len(picture) if isinstance(picture, bytes) else 0
        if in_memory > PROBED_BYTES:
            return


def _sizes_of(pictures: Sequence[Picture]) -> list[tuple[int, int]]:
    """Return (width, height) of each readable picture."""
    sizes = []
    for picture in pictures:
        with contextlib.suppress(UnreadablePicture):  # reported when it is decoded
            if not isinstance(picture, UnreadablePicture):
                sizes.append(picture_size(picture))
    return sizes


def _choose_side(sizes: Sequence[tuple[int, int]]) -> int:
    width, height = min(sizes, default=(0, 0))
    if len({*sizes}) == 1 and width == height and 4 <= width <= LARGEST_KEPT_SIZE:
        log.info("size: %dx%d pixels, as in the first %d pictures", width, height, len(sizes))
        return width
    found = "different sizes" if len({*sizes}) > 1 else f"{width}x{height} pixels"
    side = DEFAULT_SIZE
    log.info("size: %dx%d pixels (the first %d pictures have %s); see --size", side, side, len(sizes), found)
    return side


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
    stream: Iterable[tuple[int, Picture]], path: Path, side: int, workers: Workers
) -> Generator[Decoded, None, None]:
    """Decode (index, picture) pairs to `side` pixels into the file at `path`, and yield the parts in stream order.

    The file does not depend on the workers. Raises Stopped, and BrokenProcessPool if a process is killed.
    """
    parts = _parts(stream, workers.part)
    if workers.num == 1:
        yield from (_decode_part(part, path, side) for part in parts)
        return
    waiting: deque[Future[Decoded]] = deque()
    with _pool(workers) as pool:
        for part in parts:
            waiting.append(pool.submit(_decode_part, part, path, side))
            if len(waiting) > 2 * workers.num:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextlib.contextmanager
def _pool(workers: Workers) -> Iterator[Executor]:
    """Yield the threads or processes. When the block ends, running parts are finished and waiting parts are dropped."""
    with contextlib.ExitStack() as stack:
        if workers.are_processes:
            stack.enter_context(_safe_path())
            # Not forked: a fork of a process with threads may hold locks forever.
            context = multiprocessing.get_context("spawn")
            pool: Executor = ProcessPoolExecutor(workers.num, context, initializer=_begin_worker)
        else:
            pool = ThreadPoolExecutor(workers.num)
        stack.callback(pool.shutdown, cancel_futures=True)
        yield pool


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Keep new processes from importing files in the current folder, such as a pickle.py among the raw files."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTHONSAFEPATH"]
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


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


def _decode_part(part: Sequence[tuple[int, Picture]], path: Path, side: int) -> Decoded:
    """Write the pixels of each picture at its position in the file. Unreadable pictures are all zero."""
    unreadable, num_resized, stride = {}, 0, side * side * 3
    with open(path, "r+b", buffering=0) as file:
        for index, picture in part:
            pixels = bytes(stride)
            try:
                if isinstance(picture, UnreadablePicture):
                    raise picture
                decoded, is_resized = decode(picture, side)
                pixels = decoded.tobytes()
                num_resized += is_resized
            except UnreadablePicture as problem:
                unreadable[index] = str(problem)
            except DataError as problem:
                raise Stopped(index, problem.what, problem.expected, problem.do) from None
            # Not through a writable memory map, which would count as memory of this process.
            write_at(file, HEADER_BYTES + index * stride, pixels)
    return Decoded(len(part), unreadable, num_resized, [RECORDS.get().getMessage() for _ in range(RECORDS.qsize())])


def _explained(parts: Iterator[Decoded], source: Source) -> Iterator[Decoded]:
    """Yield the parts. Raises DataError if the workers are stopped."""
    try:
        yield from parts
    except Stopped as stop:
        index, what, expected, do = stop.args
        raise DataError(
            what, where=source.rows[index].path, expected=expected, do=f"{do}, or pass --workers 1"
        ) from None
    except BrokenProcessPool:
        raise DataError(
            "a process that decodes pictures was killed or could not start.",
            expected="all processes running until every picture is decoded",
            do="free some memory, or decode in this process: --workers 1. In your own script, call prepare below "
            '`if __name__ == "__main__":`, because each process imports the script',
        ) from None
