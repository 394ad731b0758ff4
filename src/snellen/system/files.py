"""Write files atomically: under a temporary name, then renamed. A crash leaves either the old file or the new one."""

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
except ImportError:  # Windows: hidden partial files of killed processes are not removed
    fcntl = None  # type: ignore[assignment]

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Disk errors, which a user can fix. Network errors have other numbers or none.
OF_DISKS = FULL | {errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
OF_DISKS |= {errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE, errno.EMFILE}


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes `path` if the block succeeds and is deleted if it fails.

    The bytes are flushed to the disk (fsync) before renaming, so even a power cut leaves no empty file. Partial
    versions of the same file, left by killed processes, are removed first. Raises DataError if writing fails.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, of=path.name)
        handle, name = _new_partial(path)
        try:
            os.chmod(name, 0o666 & ~umask())  # mkstemp makes private files; give this one the usual permissions
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if fcntl is not None:
                    os.replace(name, path)  # still locked, so that no process takes it for a leftover first
            if fcntl is None:
                os.replace(name, path)  # Windows cannot rename an open file
        except BaseException:
            with contextlib.suppress(OSError):  # already gone, or the disk has become read-only
                os.unlink(name)
            raise


def _new_partial(path: Path) -> tuple[int, str]:
    """Return a new open file beside `path` and its name. Its lock distinguishes it from a leftover."""
    while True:
        # The dot hides the unfinished file from commands that list images or runs.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        if fcntl is not None:
            with contextlib.suppress(OSError):  # if this file system has no locks, no process can get one
                fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):
            return handle, name
        os.close(handle)  # another process removed it as a leftover before it was locked


def remove_leftovers(folder: Path, *, of: str = "") -> None:
    """Remove partial files of killed processes from a folder, except those in use. of: only those of this file."""
    prefix = f".{of}." if of else "."
    for entry in os.scandir(folder) if fcntl else ():
        if entry.name.startswith(prefix) and entry.name.endswith(".partial") and entry.is_file():
            with contextlib.suppress(OSError), open(entry.path, "rb") as file:  # in use, gone, or owned by another user
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn disk errors in the block into a DataError that names the file, or else `path`."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in OF_DISKS:
            raise
        is_full = problem.errno in FULL
        raise DataError(
            f"a file cannot be {'written' if is_full or problem.errno == errno.EROFS else 'used'}: {problem.strerror}.",
            where=str(problem.filename or path),
            do=("free some space" if is_full else "check the path and its permissions")
            + ", then run the same command again: finished work is kept",
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically. Bytes of file names that are not UTF-8 become escapes that JSON restores."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically. Raises ValueError for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, error: type[SnellenError], do: str) -> Any:
    """Return the JSON in `path`. A missing or damaged file raises `error` with the advice `do`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(f"{path.name} cannot be read: {problem.strerror}.", where=str(path), do=do) from None
    except (ValueError, RecursionError) as problem:
        raise error(
            f"{path.name} is damaged: {problem}.", where=str(path), expected="JSON written by snellen", do=do
        ) from None


def umask() -> int:
    """Return the umask of this process: the permissions withheld from new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
