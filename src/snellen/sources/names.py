"""Names that strangers gave, of files above all: which are refused, which are ignored, how they are spelt and shown."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn, TypeVar

from snellen.errors import DataError, shown

MAX_MEMBERS = 5_000_000
SYSTEM_FOLDERS = {"__macosx", "$recycle.bin", "system volume information", "lost+found"}
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
MAX_LETTERS = 1000  # of a name, an id, a label: an array of strings gives each of them the room of the longest
T = TypeVar("T")


def checked_members(archive: Path, entries: Iterable[tuple[str, T, bool]]) -> dict[str, T]:
    """Return what belongs to each name, in the given order; junk is left out.

    entries: (name as the archive spells it, anything, whether it is a link or another special file).
    Raises DataError for a name that is unsafe or comes twice, a special file, too many members or none.
    """
    members: dict[str, T] = {}
    for number, (spelt, member, is_special) in enumerate(entries, start=1):
        name = checked_name(spelt, archive)
        if not name:
            refuse(archive, spelt, "says nothing")
        if is_special:
            refuse(archive, name, "is a link or a special file")
        if is_junk(name):
            continue
        if name in members:
            refuse(archive, name, "is in the archive twice")
        if number > MAX_MEMBERS:
            raise DataError(f"{archive.name} holds more than {MAX_MEMBERS:,} files.", where=str(archive))
        members[name] = member
    if not members:
        raise DataError(
            f"{archive.name} is empty: there are no files in it.", where=str(archive), do="download or pack it again"
        )
    return members


def checked_name(spelt: str, archive: Path) -> str:
    """The name with forward slashes and no "./". Raises DataError where it could lead out of a folder or confuse."""
    parts = [part for part in spelt.replace("\\", "/").split("/") if part != "."]
    if (spelt and parts[:1] == [""]) or re.match("[A-Za-z]:", spelt):
        refuse(archive, spelt, "is an absolute path")
    if ".." in parts:
        refuse(archive, spelt, 'leads out of its folder by ".."')
    if len(spelt) > MAX_LETTERS:
        refuse(archive, spelt, f"is longer than {MAX_LETTERS:,} letters")
    if CONTROL.search(spelt):
        refuse(archive, spelt, "contains control characters")
    if not spelt.isascii() and any("\ud800" <= letter <= "\udfff" for letter in spelt):
        refuse(archive, spelt, "is not UTF-8")
    return "/".join(part for part in parts if part)


def is_junk(name: str) -> bool:
    """Hidden files and what operating systems leave in folders and archives."""
    parts = name.split("/")
    return any(part.startswith(".") or part.lower() in SYSTEM_FOLDERS for part in parts) or parts[-1].lower() in (
        "thumbs.db",
        "desktop.ini",
    )


def refuse(archive: Path, name: str, why: str) -> NoReturn:
    raise DataError(
        f'the file name "{shown(name)}" {why}.',
        where=str(archive),
        expected="plain relative names, such as train/1.png",
        do="do not trust this archive; get it from its author again, or pack the pictures yourself",
    )


def raise_damaged(archive: Path, problem: BaseException | str) -> NoReturn:
    raise DataError(
        f"{archive.name} is damaged or incomplete: {shown(str(problem)) or type(problem).__name__}.",
        where=str(archive),
        expected="a whole archive",
        do="download it again",
    ) from None


def raise_encrypted(archive: Path) -> NoReturn:
    raise DataError(
        f"{archive.name} is encrypted.",
        where=str(archive),
        do="unpack it with its password and give the folder as SOURCE",
    ) from None
