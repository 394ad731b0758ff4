"""Write beside the final name, then move into place: a crash leaves the old file or the new one, never half of one."""

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from snellen.errors import DataError, SnellenError

try:
    import fcntl
except ImportError:  # Windows: what a killed process left half-written stays there, hidden
    fcntl = None  # type: ignore[assignment]

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What a disk says that a user can mend. Errors of the network have other numbers, or none.
OF_DISKS = FULL | {errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
OF_DISKS |= {errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE, errno.EMFILE}


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends well and disappears when it does not.

    The bytes are on the disk before the name is (fsync), so a power cut cannot leave an empty file either. What a
    killed process left of the same file goes. Raises DataError where the disk refuses.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, of=path.name)
        handle, name = _new_partial(path)
        try:
            os.chmod(name, 0o666 & ~_umask())  # mkstemp makes private files; ours are as readable as any other
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if fcntl is not None:
                    os.replace(name, path)  # still locked, so that nobody takes it for a leftover before it is moved
            if fcntl is None:
                os.replace(name, path)  # Windows moves no open file
        except BaseException:
            with contextlib.suppress(OSError):  # gone, or on a disk that takes no changes any more
                os.unlink(name)
            raise


def _new_partial(path: Path) -> tuple[int, str]:
    """An open file beside `path`, and its name. It is locked, which tells it from one that was left behind."""
    while True:
        # A dot first: whoever lists the folder for images or runs does not meet the unfinished file.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        if fcntl is not None:
            with contextlib.suppress(OSError):  # where the file system has no locks, nobody else gets one either
                fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):
            return handle, name
        os.close(handle)  # taken for a leftover before it was locked


def remove_leftovers(folder: Path, *, of: str = "") -> None:
    """Remove what killed processes left half-written in a folder, of the file `of` or of any; not what is in use."""
    prefix = f".{of}." if of else "."
    for entry in os.scandir(folder) if fcntl else ():
        if entry.name.startswith(prefix) and entry.name.endswith(".partial") and entry.is_file():
            with contextlib.suppress(OSError), open(entry.path, "rb") as file:  # in use, gone, or not ours
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what a disk refuses in the block into a DataError that names the file, or `path`."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in OF_DISKS:
            raise
        is_full = problem.errno in FULL
        raise DataError(
            f"a file cannot be {'written' if is_full or problem.errno == errno.EROFS else 'used'}: {problem.strerror}.",
            where=str(problem.filename or path),
            do=("free some space" if is_full else "check that the place is there and that you may write to it")
            + ", then run the same command again: what is done is kept",
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8. Bytes of file names that are not UTF-8 become escapes, which JSON reads back."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, error: type[SnellenError], do: str) -> Any:
    """The JSON in `path`; a missing or damaged file raises `error` that names it and says what to `do`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(f"{path.name} cannot be read: {problem.strerror}.", where=str(path), do=do) from None
    except (ValueError, RecursionError) as problem:
        raise error(
            f"{path.name} is damaged: {problem}.", where=str(path), expected="JSON as snellen wrote it", do=do
        ) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
