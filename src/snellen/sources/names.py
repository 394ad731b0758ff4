"""Check untrusted file names: refuse unsafe ones, ignore junk, normalize the spelling."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn, TypeVar

from snellen.errors import DataError, shown

MAX_MEMBERS = 5_000_000
SYSTEM_FOLDERS = {"__macosx", "$recycle.bin", "system volume information", "lost+found"}
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
MAX_LETTERS = 1000  # of a name, an id, a label: in an array of strings each takes as much memory as the longest
T = TypeVar("T")


def checked_members(archive: Path, entries: Iterable[tuple[str, T, bool]]) -> dict[str, T]:
    """Return the values by checked name, in the same order, without junk.

    entries: (name in the archive, value, whether it is a link or another special file).
    Raises DataError for unsafe or repeated names, special files, too many members, or an empty archive.
    """
    members: dict[str, T] = {}
    for number, (spelt, member, is_special) in enumerate(entries, start=1):
        name = checked_name(spelt, archive)
        if not name:
            refuse(archive, spelt, "is empty")
        if is_special:
            refuse(archive, name, "is a link or a special file")
        if is_junk(name):
            continue
        if name in members:
            refuse(archive, name, "is in the archive twice")
        if number > MAX_MEMBERS:
            raise DataError(f"{archive.name} contains more than {MAX_MEMBERS:,} files.", where=str(archive))
        members[name] = member
    if not members:
        raise DataError(f"{archive.name} contains no files.", where=str(archive), do="download it or create it again")
    return members


def checked_name(spelt: str, archive: Path) -> str:
    """Return the name with forward slashes and without "./". Raises DataError if it is unsafe or ambiguous."""
    parts = [part for part in spelt.replace("\\", "/").split("/") if part != "."]
    if (spelt and parts[:1] == [""]) or re.match("[A-Za-z]:", spelt):
        refuse(archive, spelt, "is an absolute path")
    if ".." in parts:
        refuse(archive, spelt, 'leaves its folder ("..")')
    if len(spelt) > MAX_LETTERS:
        refuse(archive, spelt, f"is longer than {MAX_LETTERS:,} characters")
    if CONTROL.search(spelt):
        refuse(archive, spelt, "contains control characters")
    if not spelt.isascii() and any("\ud800" <= letter <= "\udfff" for letter in spelt):
        refuse(archive, spelt, "is not UTF-8")
    return "/".join(part for part in parts if part)


def is_junk(name: str) -> bool:
    """Return whether a file is hidden, or left behind by an operating system."""
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
        do="do not trust this archive; get a new copy from its author, or create it from the pictures yourself",
    )


def raise_damaged(archive: Path, problem: BaseException | str) -> NoReturn:
    raise DataError(
        f"{archive.name} is damaged or incomplete: {shown(str(problem)) or type(problem).__name__}.",
        where=str(archive),
        expected="a complete archive",
        do="download it again",
    ) from None


def raise_encrypted(archive: Path) -> NoReturn:
    raise DataError(
        f"{archive.name} is encrypted.",
        where=str(archive),
        do="unpack it with its password and pass the folder as SOURCE",
    ) from None
