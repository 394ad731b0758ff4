"""Write beside the final name, then move into place: a crash leaves the old file or the new one, never half of one."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from saccade.errors import SaccadeError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends well and disappears when it does not.

    The bytes are on the disk before the name is (fsync), so a power cut cannot leave an empty file either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A dot first: whoever lists the folder for images or runs does not meet the unfinished file.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes private files; ours are as readable as any other
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def write_text(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, error: type[SaccadeError], do: str) -> Any:
    """The JSON in `path`; a missing or damaged file raises `error` that names it and says what to `do`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(f"{path.name} cannot be read: {problem.strerror}.", where=str(path), do=do) from None
    except (ValueError, RecursionError) as problem:
        raise error(
            f"{path.name} is damaged: {problem}.", where=str(path), expected="JSON as saccade wrote it", do=do
        ) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
