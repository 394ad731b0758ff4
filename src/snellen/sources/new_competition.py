"""Write a drawn competition atomically: a new folder of pictures and tables."""

import csv
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from snellen.errors import DataError
from snellen.system.progress import Progress

log = logging.getLogger("snellen")


@contextmanager
def new_folder(folder: str | Path, name: str) -> Iterator[Path]:
    """Yield an empty folder that becomes `folder` at the end of the block.

    Raises DataError if `folder` already holds something or cannot be written. name: of the competition, for messages.
    """
    folder = Path(folder).resolve()
    unfinished = None
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(
                f"the {name} competition would be mixed with other files.",
                where=str(folder),
                expected="a new or empty folder",
                do="choose another folder, or empty this one",
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".partial"))
        whole = unfinished / folder.name  # mkdtemp makes a private folder; one inside it has the usual permissions
        whole.mkdir()
        yield whole
        if folder.exists():
            folder.rmdir()
        os.rename(whole, folder)
    except OSError as problem:
        raise DataError(
            f"the {name} competition cannot be written: {problem.strerror or problem}.",
            where=str(folder),
            expected="a writable folder, with 20 MB free",
            do="choose another folder, or free some space",
        ) from None
    finally:
        if unfinished:
            shutil.rmtree(unfinished, ignore_errors=True)


def write_pictures(
    folder: Path, pictures: Mapping[str, Callable[[], np.ndarray]], on_progress: Progress | None
) -> None:
    """Draw pictures, uint8 (H, W, 3), into PNG files of these names."""
    log.info("drawing %s pictures", f"{len(pictures):,}")  # 3,600 of them take a few seconds
    for done, (name, draw) in enumerate(pictures.items(), start=1):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw()).save(path)
        if on_progress:
            on_progress("draw", done, len(pictures))


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a CSV file."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
