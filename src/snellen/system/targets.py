"""May a command write here? Only to a new place, or over what the same command wrote."""

from collections.abc import Callable, Collection, Set
from pathlib import Path

from snellen.errors import DataError, RunError, SnellenError
from snellen.system.contents import Contents, contents_of, folder_contents, starts_with
from snellen.system.folders import LOCK

# Folders that only the commands add to that wrote them.
CLOSED = {Contents.IMAGES, Contents.RUN, Contents.UNFINISHED_RUN, Contents.ORGANIZED}
# What these commands write there. Reports, predictions and exports beside it belong to the run or the folds.
THEIR_OWN = {"recipe.json", "about.json", "metrics.jsonl", "history.png", "folds.json", "out_of_fold.csv"}


def check_file(
    path: str | Path,
    what: str,
    is_ours: Callable[[Path], bool] | bytes,
    *,
    source: Path | None = None,
    owners: Collection[Path] = (),
) -> None:
    """Raise DataError unless `path` is a new file, an empty one, or one that `is_ours`.

    what: the content, for messages. is_ours: whether a file is of the same command, or how every such file begins.
    source: the folder of raw files that the command works on; nothing is added to it, except below results of
    `compete`. owners: the runs that the file is about, which may hold it.
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

    wanted, command: what is to be written there and by which command, for the message. begun: files that a start of
    the same command leaves if it is cut short; like locks and half-written files they count as nothing.
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
    """Raise DataError if `path` lies in the source or in a `closed` folder that is none of the owners."""
    own = {owner.resolve() for owner in owners} if not _is_their_own(path) else set()
    for folder in path.resolve().parents:
        found = folder_contents(folder) if folder.is_dir() else Contents.NOTHING
        if found is Contents.ENTRY or folder in own:
            return
        if found in closed or (source and folder == source.resolve()):
            raise DataError(
                f'"{path}" lies in a folder that holds {found if found in closed else "the raw files"}.',
                where="--out",
                expected="a place outside of it: nothing is added there",
                do=f"choose an --out outside of {folder}",
            )


def _is_their_own(path: Path) -> bool:
    return path.name in THEIR_OWN or path.suffix == ".safetensors"
