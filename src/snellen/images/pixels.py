"""Decode the pictures of a source into one file, at a common size. A stopped command resumes."""

import contextlib
import hashlib
import io
import itertools
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from snellen.errors import DataError
from snellen.images.sizes import check_space, choose_side, warn_of_crop
from snellen.images.workers import Decoded, Picture, Stopped, choose_workers, decode_all
from snellen.sources.decode import UnreadablePicture, picture_size
from snellen.sources.resize import CROP, Resize
from snellen.sources.source import Source
from snellen.system import files
from snellen.system.progress import Progress

log = logging.getLogger("snellen")

NUM_PROBED = 64  # pictures whose sizes decide the default size
PROBED_BYTES = 64 * 2**20  # limit on these pictures, which wait in memory
NOTED_EACH, NOTED_SECONDS = 1000, 5.0  # pictures or seconds between two records of progress


def decode_into(
    file: io.FileIO,
    source: Source,
    size: int | None,
    resize: Resize = CROP,
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
        state = {"rows": rows, "side": size or choose_side(sizes), "pictures": 0, "unreadable": {}, "resized": 0}
        file.truncate(0)  # the data of an earlier command is useless
    side = state["side"]
    if size:
        log.info("size: %dx%d pixels, as requested", side, side)
    if resize == CROP:
        warn_of_crop(sizes)
    check_space(done.parent, num * side * side * 3 - os.fstat(file.fileno()).st_size)
    noted, noted_at, warned = state["pictures"], time.monotonic(), set[str]()
    workers_chosen = choose_workers(sizes, num - noted, workers)
    with contextlib.closing(decode_all(stream, Path(file.name), side, workers_chosen, resize)) as parts:
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
        log.info("%s of %s pictures are resized to %dx%d", f"{state['resized']:,}", f"{num:,}", side, side)
    return side, {int(index): reason for index, reason in state["unreadable"].items()}, state["resized"]


def _note(done: Path, state: dict[str, Any], file: io.FileIO) -> None:
    os.fsync(file.fileno())  # first: after a power cut the progress file must not count more pictures than exist
    files.write_json(done, state)


def _probe(stream: Iterator[tuple[int, Picture]]) -> Iterator[tuple[int, Picture]]:
    """Yield the pictures from which the size is chosen; labelled ones first, if the source can be read in any order."""
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
