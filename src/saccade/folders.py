"""Write a folder beside its final name, then move it into place: a crash leaves the old folder or the new one."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from saccade.errors import DataError


@contextlib.contextmanager
def replacing_folder(out: Path, *, old_goes: bool = False) -> Iterator[Path]:
    """A hidden folder that becomes `out` when the block ends well and disappears when it does not.

    What a killed command left half-written is removed first. old_goes: an `out` that holds files is replaced.
    Raises DataError where another command writes `out` now, and where the disk refuses.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(out)
        work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".partial"))
    except OSError as problem:
        raise _refused(out, problem) from None
    try:
        # The lock says that this folder is being written: the system lets go of it however the process ends.
        with FileLock(work / ".lock", timeout=0):
            yield work
        (work / ".lock").unlink(missing_ok=True)
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
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _remove_leftovers(out: Path) -> None:
    for left in out.parent.iterdir():
        if left.name.startswith(f".{out.name}.") and left.name.endswith(".partial") and left.is_dir():
            try:
                with FileLock(left / ".lock", timeout=0):
                    pass
            except Timeout:
                raise _busy(out) from None
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
