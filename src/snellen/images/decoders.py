"""Pictures to pixels, in several processes.

Threads would not do: of decoding a small picture most is Python's own work, which one thread does at a time. Each
process is this file run by a fresh Python. `multiprocessing` would run the caller's script again in each of them, or
fork a process whose threads hold locks. They are asked over pipes in JSON and plain bytes, and write no files.
"""

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from snellen.errors import DataError
from snellen.sources.archives import Contents
from snellen.sources.decode import UnreadablePicture, decode

Picture = Contents | np.ndarray
CHUNK = 250  # pictures sent at once
CHUNK_BYTES = 8 * 2**20  # of pictures sent at once, or of their pixels; some chunks for each process wait in memory
WORTH_IT = 5000  # pictures from which on starting processes pays


@dataclass(frozen=True, eq=False)
class Decoded:
    """Some pictures of a stream, in its order."""

    index: list[int]  # as the stream gave them
    pixels: np.ndarray  # uint8 (n, side, side, 3), zero where a picture is unreadable
    unreadable: dict[int, str]  # reasons, by index
    num_resized: int


def num_useful(num_pictures: int) -> int:
    """How many processes to decode so many pictures with: one for each processor that this one may use."""
    if num_pictures < WORTH_IT:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_all(stream: Iterable[tuple[int, Picture]], side: int, num_processes: int) -> Generator[Decoded, None, None]:
    """Decode (index, picture) pairs to `side` pixels, some at a time; the order is that of the stream.

    The result does not depend on num_processes; 1 is this process. Raises DataError where a process ends on its own.
    """
    chunks = _chunks(stream, side)
    if num_processes == 1:
        for index, pictures in chunks:
            yield _decoded(index, *_decode(pictures, side), side)
        return
    idle: queue.SimpleQueue[subprocess.Popen] = queue.SimpleQueue()
    started = [_start(side) for _ in range(num_processes)]
    for process in started:
        idle.put(process)
    askers = ThreadPoolExecutor(num_processes)  # each waits for a process

    def ask(index: list[int], pictures: list[Picture]) -> Decoded:
        process = idle.get()
        try:
            return _decoded(index, *_ask(process, pictures, side), side)
        finally:
            idle.put(process)

    waiting: deque[Future[Decoded]] = deque()
    try:
        for chunk in chunks:
            waiting.append(askers.submit(ask, *chunk))
            if len(waiting) > 2 * num_processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for process in started:
            process.kill()  # it holds nothing that could be lost
        askers.shutdown(cancel_futures=True)
        for process in started:
            process.communicate()


def _chunks(stream: Iterable[tuple[int, Picture]], side: int) -> Iterator[tuple[list[int], list[Picture]]]:
    most = max(1, min(CHUNK, CHUNK_BYTES // (side * side * 3)))
    stream = iter(stream)
    while first := next(stream, None):
        index, pictures, num_bytes = [], [], 0
        for number, picture in itertools.chain([first], stream):
            index.append(number)
            pictures.append(picture)
            num_bytes += len(picture) if isinstance(picture, bytes) else 0
            if len(index) == most or num_bytes >= CHUNK_BYTES:
                break
        yield index, pictures


def _decode(pictures: Sequence[Picture], side: int) -> tuple[bytes, dict[int, str], int]:
    """(pixels, reasons by position, num_resized)"""
    found, unreadable, num_resized = bytearray(), {}, 0
    for position, picture in enumerate(pictures):
        try:
            if isinstance(picture, UnreadablePicture):
                raise picture
            pixels, is_resized = decode(picture, side)
            found += pixels.tobytes()
            num_resized += is_resized
        except UnreadablePicture as problem:
            unreadable[position] = str(problem)
            found += bytes(side * side * 3)
    return bytes(found), unreadable, num_resized


def _decoded(index: list[int], pixels: bytes, unreadable: dict[int, str], num_resized: int, side: int) -> Decoded:
    reasons = {index[position]: reason for position, reason in unreadable.items()}
    return Decoded(index, np.frombuffer(pixels, np.uint8).reshape(-1, side, side, 3), reasons, num_resized)


def _start(side: int) -> subprocess.Popen:
    here = str(Path(__file__).parents[2])  # the caller may have found the package in a way of its own
    paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    # -P: a file in the current folder that is called numpy.py is none of ours.
    command = [sys.executable, "-P", "-m", "snellen.images.decoders", str(side)]
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def _ask(process: subprocess.Popen, pictures: Sequence[Picture], side: int) -> tuple[bytes, dict[int, str], int]:
    """What `_decode` says, in that process."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        _send(process.stdin, pictures)
        head = json.loads(process.stdout.readline())
        pixels = process.stdout.read(num_bytes := len(pictures) * side * side * 3)
        if len(pixels) < num_bytes:
            raise EOFError
    except (OSError, ValueError, EOFError):  # a broken pipe, or less than a whole answer
        raise DataError(
            f"a process that decodes pictures ended on its own (exit code {process.wait()}).",
            expected="each to decode until all are done",
            do="free some memory, or find the picture that does it in one process: --processes 1",
        ) from None
    return pixels, {int(position): reason for position, reason in head["unreadable"].items()}, head["num_resized"]


def _send(to: IO[bytes], pictures: Sequence[Picture]) -> None:
    """A line of JSON that says of each picture its path, its pixels' shape, its length, or why it cannot be read."""
    head: list[object] = []
    contents: list[bytes] = []
    for picture in pictures:
        if isinstance(picture, UnreadablePicture):
            head.append({"unreadable": str(picture)})
        elif isinstance(picture, Path):
            head.append(str(picture))  # bytes of a name that are no UTF-8 pass as JSON's escapes
        else:
            head.append(list(picture.shape) if isinstance(picture, np.ndarray) else len(picture))
            contents.append(picture.tobytes() if isinstance(picture, np.ndarray) else picture)
    to.write(json.dumps(head).encode() + b"\n")
    to.writelines(contents)
    to.flush()


def _receive(line: bytes, rest: IO[bytes]) -> Iterator[Picture]:
    for about in json.loads(line):
        if isinstance(about, dict):
            yield UnreadablePicture(about["unreadable"])
        elif isinstance(about, str):
            yield Path(about)
        elif isinstance(about, list):
            height, width, _ = about
            yield np.frombuffer(rest.read(height * width * 3), np.uint8).reshape(height, width, 3)
        else:
            yield rest.read(about)


def main() -> None:
    """Answer on stdout what is asked on stdin, until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one tells the others
    side, asked, answer = int(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer
    with contextlib.suppress(BrokenPipeError):
        while line := asked.readline():
            pixels, unreadable, num_resized = _decode(list(_receive(line, asked)), side)
            answer.write(json.dumps({"unreadable": unreadable, "num_resized": num_resized}).encode() + b"\n")
            answer.write(pixels)
            answer.flush()


if __name__ == "__main__":
    main()
