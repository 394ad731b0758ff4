"""Read rows of memory-mapped images from the disk, faster than through page faults."""

import contextlib
import os

import numpy as np

from snellen.errors import DataError

# Windows and macOS each lack one of these; there, rows are copied from the memory map.
CAN_READ_AT = hasattr(os, "preadv") and hasattr(os, "posix_fadvise")


def read_rows(stored: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return these rows of the memory-mapped images, in this order, in memory, uint8 (n, H, W, 3).

    The file is read once in ascending order, with neighbouring rows in one read, and all reads are announced to the
    operating system first. Compared with page faults this is 3.7 times as fast from disk and 1.7 times from the page
    cache (lab-notes 2026-11-20). The page cache does not count as memory of this process.
    """
    if not CAN_READ_AT or not isinstance(stored, np.memmap):
        return np.array(stored[rows])
    order = np.argsort(rows, kind="stable")
    found = np.empty((len(rows), *stored.shape[1:]), dtype=np.uint8)
    again = "run `snellen prepare` again into an empty folder"
    try:
        is_whole = _read_runs(stored, *_runs(rows[order]), found)
    except OSError as problem:
        what = f"images.npy cannot be read: {problem.strerror}."
        raise DataError(what, where=str(stored.filename), do=again) from None
    if not is_whole:
        raise DataError("images.npy is shorter than when it was opened.", where=str(stored.filename), do=again)
    if (np.diff(order) == 1).all():
        return found
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return found[back]


def announce(stored: np.ndarray, rows: np.ndarray) -> None:
    """Tell the operating system that these rows will be read soon, if it accepts such hints."""
    if CAN_READ_AT and len(rows):
        with contextlib.suppress(OSError), open(stored.filename, "rb", buffering=0) as file:  # type: ignore[attr-defined]
            _announce(file.fileno(), stored, *_runs(np.sort(rows)))


def _read_runs(stored: np.memmap, starts: np.ndarray, lengths: np.ndarray, found: np.ndarray) -> bool:
    """Fill `found` with these runs of rows, one after another. Returns False if the file is too short."""
    stride = stored[:1].nbytes
    into, place = found.reshape(-1).data, 0
    with open(stored.filename, "rb", buffering=0) as file:  # type: ignore[arg-type]
        _announce(file.fileno(), stored, starts, lengths)
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            at, stop = stored.offset + start * stride, place + length * stride
            while place < stop:  # one call reads 2 GiB at most
                got = os.preadv(file.fileno(), [into[place:stop]], at)
                if not got:
                    return False
                place, at = place + got, at + got
    return True


def _runs(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (first row, number of rows) of each run of consecutive rows."""
    ends = np.flatnonzero(np.diff(rows, append=-1) != 1) + 1
    return rows[np.append(0, ends[:-1])] if len(rows) else rows, np.diff(ends, prepend=0)


def _announce(file: int, stored: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
    stride, offset = stored[:1].nbytes, stored.offset  # type: ignore[attr-defined]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        os.posix_fadvise(file, offset + start * stride, length * stride, os.POSIX_FADV_WILLNEED)
