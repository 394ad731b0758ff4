"""Write a folder beside its final name, then move it into place: a crash leaves the old folder or the new one."""

import contextlib
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
        shutil.rmtree(work, ignore_errors=True)
        raise _refused(out, problem) from None
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
                raise DataError(
                    "another command is writing this folder.", where=str(out), do="wait for it, or choose another --out"
                ) from None
            shutil.rmtree(left)


def _refused(out: Path, problem: OSError) -> DataError:
    return DataError(
        f"the folder cannot be written: {problem.strerror or problem}.",
        where=str(problem.filename or out),
        do="free some space, or choose another --out",
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
