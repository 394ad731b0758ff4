"""May a command write here? Only to a new place, or over what the same command wrote."""

from pathlib import Path

from snellen.errors import RunError
from snellen.system.contents import KNOWN, Contents, contents_of
from snellen.system.folders import LOCK


def check_folder(folder: Path, wanted: Contents, command: str, *, begun: frozenset[str] = frozenset()) -> None:
    """Raise RunError unless the folder is new or empty.

    wanted, command: what is to be written there and by which command, for the message. begun: files that a start of
    the same command leaves if it is cut short; like locks and half-written files they count as nothing.
    """
    if not folder.exists():
        return
    if folder.is_dir():
        leftovers = {LOCK, *begun, *(path.name for path in folder.glob(".*.partial"))}
        if not {path.name for path in folder.iterdir()} - leftovers:
            return
    found = contents_of(folder)
    raise RunError(
        f'"{folder}" holds {found}.' if found in KNOWN else f'"{folder}" is not empty and does not hold {wanted}.',
        where="--out",
        expected=f"a new folder, or one that `{command}` wrote",
        do="choose another --out",
    )
