"""Write a folder beside its final name, then move it into place: a crash leaves the old folder or the new one."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from snellen.errors import DataError, RunError
from snellen.system import files

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, and create it if need be; the system unlocks it however the process ends.

    What killed processes left half-written in the folder is removed. Raises RunError if another process holds it,
    DataError if the disk refuses.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        with files.disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout:
        raise RunError(
            "another snellen command works in this folder.",
            where=str(folder),
            do="wait for it, or choose another --out",
        ) from None
    try:
        files.remove_leftovers(folder)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def replacing_folder(out: Path, *, old_goes: bool = False, kept_for: str = "") -> Iterator[Path]:
    """A hidden folder that becomes `out` when the block ends well and disappears when it does not.

    What a killed command left half-written is removed first. old_goes: an `out` that holds files is replaced.
    kept_for: says what the work is; after a kill or an interrupt the folder is there again for who says the same.
    Raises DataError where another command writes `out` now, and where the disk refuses.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if kept_for:
            work = out.parent / f".{out.name}.{hashlib.sha256(kept_for.encode()).hexdigest()[:16]}.partial"
            _remove_leftovers(out, but=work)
            work.mkdir(exist_ok=True)
        else:
            _remove_leftovers(out)
            work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".partial"))
        lock = _locked(work, out)
    except OSError as problem:
        raise _refused(out, problem) from None
    try:
        try:
            yield work
        finally:
            lock.release()
        (work / LOCK).unlink(missing_ok=True)
        os.chmod(work, 0o777 & ~_umask())  # mkdtemp makes private folders; this one is as readable as any other
        if old_goes and out.exists():
            old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".partial"))
            os.replace(out, old)
            os.replace(work, out)
            shutil.rmtree(old)
        else:
            os.replace(work, out)
    except OSError as problem:
        # Two commands that begin in the same moment: one takes the other's folder for a leftover. The other gives way.
        is_taken = isinstance(problem, Timeout) or not work.exists()
        shutil.rmtree(work, ignore_errors=True)
        raise _busy(out) if is_taken else _refused(out, problem) from None
    except BaseException as problem:
        if not (kept_for and isinstance(problem, KeyboardInterrupt)):
            shutil.rmtree(work, ignore_errors=True)
        raise


def _locked(work: Path, out: Path) -> FileLock:
    """Say that this folder is being written: the system lets go of the lock however the process ends."""
    lock = FileLock(work / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise _busy(out) from None
    return lock


def _remove_leftovers(out: Path, *, but: Path | None = None) -> None:
    for left in out.parent.iterdir():
        if left.name.startswith(f".{out.name}.") and left.name.endswith(".partial") and left.is_dir():
            _locked(left, out).release()
            if left != but:
                shutil.rmtree(left)


def _busy(out: Path) -> DataError:
    return DataError(
        "another command is writing this folder.", where=str(out), do="wait for it, or choose another --out"
    )


def _refused(out: Path, problem: OSError) -> DataError:
    if problem.errno == errno.ENOTEMPTY:
        return DataError(
            "files have come into this folder meanwhile.",
            where=str(out),
            expected="a new or empty folder",
            do="run the same command again: it opens what another one made, or says what differs",
        )
    return DataError(
        f"the folder cannot be written: {problem.strerror or problem}.",
        where=str(problem.filename or out),
        do="free some space, or choose another --out",
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
