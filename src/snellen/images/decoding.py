"""The pictures of a source, decoded into one file; what a stopped command has done is not done again."""

import contextlib
import errno
import hashlib
import io
import itertools
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from snellen.images.decoders import Picture, decode_all, num_useful
from snellen.sources.decode import UnreadablePicture, picture_size
from snellen.sources.source import Source
from snellen.system import files
from snellen.system.progress import Progress

log = logging.getLogger("snellen")

DEFAULT_SIZE = 32  # pixels, as in CIFAR
LARGEST_KEPT_SIZE = 96  # pixels, as in STL-10; larger pictures are scaled down to DEFAULT_SIZE unless a size is given
NUM_LOOKED_AT = 64  # pictures whose sizes decide
BYTES_LOOKED_AT = 64 * 2**20  # these pictures wait in memory, so not more than that
HEADER_BYTES = 128  # of images.npy, whatever the number of images
NOTED_EACH, NOTED_SECONDS = 1000, 5.0  # pictures or seconds after which it is noted how far decoding is


def decode_into(
    file: io.FileIO,
    source: Source,
    size: int | None,
    *,
    done: Path,
    processes: int | None = None,
    on_progress: Progress | None = None,
) -> tuple[int, dict[int, str], int]:
    """Write the pixels of each picture at its row's place. Returns the side, reasons by index of unreadable rows, and
    the number of resized pictures.

    done: a file that says how far this is; where it is there for the same rows, decoding goes on from it. All that it
    tells of is on the disk. processes: None for as many as are useful.
    """
    num, stream = len(source.rows), source.read()
    rows = hashlib.sha256("\n".join(row.path for row in source.rows).encode(errors="surrogatepass")).hexdigest()
    state: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        state = json.loads(done.read_bytes())
    if state.get("rows") == rows:
        log.info("going on: %d of %d pictures are decoded", state["pictures"], num)
        stream = itertools.islice(stream, state["pictures"], None)
    else:
        looked_at = list(_first_pictures(stream))
        side = size or _choose_size([picture for _, picture in looked_at])
        state = {"rows": rows, "side": side, "pictures": 0, "unreadable": {}, "resized": 0}
        stream = itertools.chain(looked_at, stream)
        file.truncate(0)  # what may be there is of no use
    side = state["side"]
    if size:
        log.info("size: %dx%d pixels, as asked for", side, side)
    stride = side * side * 3
    noted, noted_at = state["pictures"], time.monotonic()
    with contextlib.closing(decode_all(stream, side, processes or num_useful(num - noted))) as parts:
        for part in parts:
            for index, pixels in zip(part.index, part.pixels, strict=True):
                # Not through a writable memory map: what is written there would count as memory of this process.
                write_at(file, HEADER_BYTES + index * stride, pixels.tobytes())
            state["pictures"] += len(part.index)
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
    os.fsync(file.fileno())  # first: after a power cut the note must not tell of more than there is
    files.write_json(done, state)


def _first_pictures(stream: Iterator[tuple[int, Picture]]) -> Iterator[tuple[int, Picture]]:
    """The pictures whose sizes decide; labelled ones, where the source can be read in any order."""
    in_memory = 0
    for index, picture in itertools.islice(stream, NUM_LOOKED_AT):
        yield index, picture
        in_memory += len(picture) if isinstance(picture, bytes) else 0
        if in_memory > BYTES_LOOKED_AT:
            return


def _choose_size(pictures: Sequence[Picture]) -> int:
    sizes = set()
    for picture in pictures:
        with contextlib.suppress(UnreadablePicture):  # counted and named where it is decoded
            if not isinstance(picture, UnreadablePicture):
                sizes.add(picture_size(picture))
    width, height = min(sizes, default=(0, 0))
    if len(sizes) == 1 and width == height and 4 <= width <= LARGEST_KEPT_SIZE:
        log.info("size: %dx%d pixels, as the first %d pictures have", width, height, len(pictures))
        return width
    found = "different sizes" if len(sizes) > 1 else f"{width}x{height} pixels"
    side = DEFAULT_SIZE
    log.info("size: %dx%d pixels (the first %d pictures have %s); see --size", side, side, len(pictures), found)
    return side


def write_at(file: io.FileIO, place: int, data: bytes) -> None:
    """Write all of it, or raise OSError."""
    file.seek(place)
    if file.write(data) != len(data):  # the last bytes that a full disk takes are no error to the system
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
