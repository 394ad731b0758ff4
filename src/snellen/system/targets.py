"""Checks that a command writes only to a new path or over its own earlier results."""

from collections.abc import Callable, Collection, Set
from pathlib import Path

from snellen.errors import DataError, RunError, SnellenError
from snellen.system.contents import Contents, contents_of, folder_contents, starts_with
from snellen.system.folders import LOCK

# Folders to which only the commands that wrote them may add files.
CLOSED = {Contents.IMAGES, Contents.RUN, Contents.UNFINISHED_RUN, Contents.ORGANIZED}
# The files that these commands write there. Others, such as reports and exports, may be added to a run or folds.
THEIR_OWN = {"recipe.json", "about.json", "metrics.jsonl", "history.png", "folds.json", "out_of_fold.csv"}


def check_file(
    path: str | Path,
    what: str,
    is_ours: Callable[[Path], bool] | bytes,
    *,
    source: Path | None = None,
    owners: Collection[Path] = (),
) -> None:
    """Raise DataError unless `path` is new, empty, or written by the same command.

    what: the content, for messages. is_ours: a test whether the same command wrote a file, or the first bytes of its
    files. source: the folder of raw files, to which nothing may be added except inside results of `compete`.
    owners: the runs that the file is about, whose folders may contain it.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(
            f'"{path}" is a folder.', where="--out", expected=f"a file for {what}", do="choose another --out"
        )
    check_place(path, CLOSED | {Contents.FOLDS, Contents.STUDY}, source=source, owners=owners)
    if not path.exists() or not path.stat().st_size:
        return
    if starts_with(path, is_ours) if isinstance(is_ours, bytes) else is_ours(path):
        return
    raise DataError(
        f'"{path}" already exists and does not hold {what}.',
        where="--out",
        expected="a new file, or one that this command wrote",
        do="choose another --out",
    )


def check_folder(
    folder: Path,
    wanted: Contents,
    command: str,
    *,
    begun: frozenset[str] = frozenset(),
    error: type[SnellenError] = RunError,
) -> None:
    """Raise `error` unless the folder is new or empty, DataError if it would lie inside other results.

    wanted, command: the content to write and the command that writes it, for the message. begun: files left by an
    interrupted start of the same command; like locks and partial files, they are ignored.
    """
    check_place(folder)
    if not folder.exists():
        return
    if folder.is_dir():
        leftovers = {LOCK, *begun, *(path.name for path in folder.glob(".*.partial"))}
        if not {path.name for path in folder.iterdir()} - leftovers:
            return
    found = contents_of(folder)
    what = f"holds {found}" if found.is_ours else f"is not empty and does not hold {wanted}"
    raise error(
        f'"{folder}" {what if folder.is_dir() else "is a file"}.',
        where="--out",
        expected=f"a new folder, or one that `{command}` wrote",
        do="choose another --out",
    )


def check_place(
    path: Path, closed: Set[Contents] = CLOSED, *, source: Path | None = None, owners: Collection[Path] = ()
) -> None:
    """Raise DataError if `path` is inside the source, or inside a `closed` folder that is not one of the owners."""
    own = {owner.resolve() for owner in owners} if not _is_their_own(path) else set()
    for folder in path.resolve().parents:
        found = folder_contents(folder) if folder.is_dir() else Contents.NOTHING
        if found is Contents.ENTRY or folder in own:
            return
        if found in closed or (source and folder == source.resolve()):
            raise DataError(
                f'"{path}" is in a folder that holds {found if found in closed else "the raw files"}.',
                where="--out",
                expected="a path outside this folder, to which nothing may be added",
                do=f"choose an --out outside {folder}",
            )


def _is_their_own(path: Path) -> bool:
    return path.name in THEIR_OWN or path.suffix == ".safetensors"
