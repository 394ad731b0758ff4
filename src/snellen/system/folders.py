"""Write folders atomically, by renaming a finished one, and lock a folder for one process at a time."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from snellen.errors import DataError, RunError, SnellenError
from snellen.system import files

LOCK = ".lock"


def acquired(path: Path, busy: SnellenError) -> FileLock:
    """Lock a file and return the lock. The system releases it even if the process is killed.

    Raises `busy` if another process holds the lock, OSError if the file cannot be opened.
    """
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise busy from None
    return lock


def waited_for(path: Path) -> contextlib.AbstractContextManager:
    """Return a lock on a file, for `with`: it waits until other processes have released it. It may be nested."""
    return FileLock(path)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder for this process, and create it if necessary.

    Partial files left by killed processes are removed. Raises RunError if another process holds the lock, DataError if
    the folder cannot be written.
    """
    busy = RunError(
        "another snellen command is using this folder.", where=str(folder), do="wait for it, or choose another --out"
    )
    with files.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = acquired(folder / LOCK, busy)
    try:
        files.remove_leftovers(folder)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def replacing_folder(out: Path, *, old_goes: bool = False, kept_for: str = "") -> Iterator[Path]:
    """Yield a hidden folder that becomes `out` if the block succeeds and is deleted if it fails.

    Partial folders left by a killed command are removed first. old_goes: replace an `out` that is not empty.
    kept_for: a description of the work; after a kill or an interrupt, the same description gets the same folder again.
    Raises DataError if another command is writing `out` or if it cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if kept_for:
            work = out.parent / f".{out.name}.{hashlib.sha256(kept_for.encode()).hexdigest()[:16]}.partial"
            _remove_leftovers(out, but=work)
            work.mkdir(exist_ok=True)
        else:
            _remove_leftovers(out)
            work = _new_partial(out)
        lock = acquired(work / LOCK, _busy(out))
    except OSError as problem:
        raise _refused(out, problem) from None
    try:
        try:
            yield work
        finally:
            lock.release()
        (work / LOCK).unlink(missing_ok=True)
        os.chmod(work, 0o777 & ~files.umask())  # mkdtemp makes private folders; give this one the usual permissions
        if old_goes and out.exists():
            old = _new_partial(out)
            os.replace(out, old)
            os.replace(work, out)
            shutil.rmtree(old)
        else:
            os.replace(work, out)
    except OSError as problem:
        # Two commands started at the same moment, and one removed the other's folder as a leftover: the other gives up.
        is_taken = not work.exists()
        shutil.rmtree(work, ignore_errors=True)
        raise _busy(out) if is_taken else _refused(out, problem) from None
    except BaseException as problem:
        if not (kept_for and isinstance(problem, KeyboardInterrupt)):
            shutil.rmtree(work, ignore_errors=True)
        raise


def _new_partial(out: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".partial"))


def _remove_leftovers(out: Path, *, but: Path | None = None) -> None:
    for left in out.parent.iterdir():
        if left.name.startswith(f".{out.name}.") and left.name.endswith(".partial") and left.is_dir():
            acquired(left / LOCK, _busy(out)).release()
            if left != but:
                shutil.rmtree(left)


def _busy(out: Path) -> DataError:
    return DataError(
        "another command is writing this folder.", where=str(out), do="wait for it, or choose another --out"
    )


def _refused(out: Path, problem: OSError) -> DataError:
    if problem.errno == errno.ENOTEMPTY:
        return DataError(
            "files have been added to this folder in the meantime.",
            where=str(out),
            expected="a new or empty folder",
            do="run the same command again: it uses these files if they fit, or reports what differs",
        )
    return DataError(
        f"the folder cannot be written: {problem.strerror or problem}.",
        where=str(problem.filename or out),
        do="free some space, or choose another --out",
    )
