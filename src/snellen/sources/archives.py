"""Read untrusted folders and zip, 7z and tar files: names are checked, sizes are limited, nothing is unpacked.

Each kind is a small class with the same interface: `path`, `sizes` (bytes by name) and `read`. Pictures go from the
archive straight to the decoder, without temporary files.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol

from snellen.errors import DataError
from snellen.sources.decode import MAX_BYTES, UnreadablePicture, too_large
from snellen.sources.names import SYSTEM_FOLDERS, checked_members, checked_name, is_junk, raise_damaged, raise_encrypted
from snellen.sources.seven_zip import SevenZip
from snellen.system.contents import ORGANIZED, RESULTS, folder_contents
from snellen.system.files import read_json
from snellen.system.units import size

SUFFIXES = (".zip", ".7z")  # of archives that are opened inside another archive or a folder
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
TAR_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
MAX_TAR_READ = 512 * 2**20  # bytes: the largest file of CIFAR-100 is 155 MB
Contents = bytes | Path | UnreadablePicture


class Container(Protocol):
    """A folder or an archive."""

    @property
    def path(self) -> Path: ...

    @property
    def sizes(self) -> dict[str, int]:
        """Return the unpacked bytes of each file by name, in the order of the archive. Raises DataError."""

    def read(self, names: Iterable[str], limit: int = MAX_BYTES) -> Iterator[tuple[str, Contents]]:
        """Yield each of `names` with its contents, in the order of `names`, or of the archive if it is solid.

        limit: bytes; a larger or damaged file is an UnreadablePicture. Raises DataError if the rest of the archive
        cannot be read.
        """


def open_container(path: Path, *, skip: Path | None = None) -> Container:
    """Open a folder or an archive, whose first bytes show its kind. skip: a path to leave out, see `Folder`.

    Raises DataError if the path is missing or is not an archive.
    """
    if path.is_dir():
        return Folder(path, skip)
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as problem:
        raise DataError(
            f'"{path}" cannot be read: {problem.strerror}.',
            expected="a folder, a .zip, .7z or .tar.gz file, or one of the words cifar10, cifar10-tiny, demo",
            do="check the path",
        ) from None
    if start.startswith(b"PK"):
        return Zip(path)
    if start.startswith(b"7z\xbc\xaf\x27\x1c"):
        return SevenZip(path)
    if start.startswith(tuple(TAR_OPENERS)) or start[257:262] == b"ustar":
        return Tar(path)
    raise DataError(
        f'"{path.name}" is neither a folder nor a known kind of archive.' if start else f'"{path.name}" is empty.',
        where=str(path),
        expected="a folder, a .zip, .7z or .tar.gz file",
        do="if it was downloaded, download it again: an error page may have been saved in its place",
    )


DANGLING = "is a link to a file that is missing"


@dataclass(frozen=True)
class Folder:
    """The user's files in a folder, without what snellen wrote into it and without `skip`."""

    path: Path
    skip: Path | None = None  # the output folder of this command

    @cached_property
    def sizes(self) -> dict[str, int]:
        return self._walked[0]

    @property
    def left_out(self) -> dict[str, str]:
        """Return the folders that are left out, and why."""
        return self._walked[1]

    @cached_property
    def _walked(self) -> tuple[dict[str, int], dict[str, str]]:
        left_out: dict[str, str] = {}
        return {name: status.st_size for name, status in self.entries(left_out)}, left_out

    def entries(self, left_out: dict[str, str] | None = None) -> Iterator[tuple[str, os.stat_result]]:
        """Yield (name, status) of each file, sorted by name. Links to a folder are followed once, broken links never.

        left_out: receives the folders that are left out, as in the property of that name.
        """
        left_out = {} if left_out is None else left_out
        skip = os.path.realpath(self.skip) if self.skip else None
        seen: set[str] = set()
        todo = [""]
        while todo:
            prefix = todo.pop()
            real = os.path.realpath(self.path / prefix)
            if real in seen:
                continue
            seen.add(real)
            if real == skip:
                left_out[prefix] = "is the output folder"
                continue
            try:
                with os.scandir(real) as listing:  # gives the type of each entry without another system call
                    entries = sorted(listing, key=lambda entry: entry.name)
                found = [entry for entry in entries if not is_junk(entry.name)]
                for entry in entries:
                    if entry.name.lower() in SYSTEM_FOLDERS and entry.name != "__MACOSX":
                        left_out[f"{prefix}{entry.name}"] = "belongs to the operating system"
                folders = [entry.name for entry in found if entry.is_dir()]
                if prefix and _is_result(self.path, Path(real), {entry.name for entry in entries}):
                    left_out[prefix] = "was written by snellen"
                    continue
                todo += [f"{prefix}{name}/" for name in reversed(folders)]
                statuses = [(entry.name, entry.stat()) for entry in found if entry.is_file()]
                for entry in found:
                    if entry.is_symlink() and not os.path.exists(entry.path):
                        left_out[prefix + entry.name] = DANGLING
            except OSError as problem:
                raise DataError(
                    f"the folder cannot be read: {problem.strerror}.",
                    where=str(problem.filename or real),
                    do="check the folder's permissions",
                ) from None
            for name, status in statuses:
                yield checked_name(prefix + name, self.path), status

    def read(self, names: Iterable[str], limit: int = MAX_BYTES) -> Iterator[tuple[str, Path]]:
        """Yield each name with its path; the caller reads the bytes and handles files that are too large or missing."""
        for name in names:
            yield name, self.path / name


def _is_result(source: Path, folder: Path, names: set[str]) -> bool:
    """Return whether snellen wrote the folder; class folders by `organize` count if they come from this source."""
    if ORGANIZED not in names:
        return folder_contents(folder, names) in RESULTS
    about = read_json(folder / ORGANIZED, error=DataError, do="remove the folder, or organize the source again")
    return about["source"]["source"] == str(source.resolve())


@dataclass(frozen=True)
class Zip:
    path: Path

    @cached_property
    def sizes(self) -> dict[str, int]:
        return {name: info.file_size for name, info in self._members.items()}

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                listed = archive.infolist()
        except Exception as problem:  # besides BadZipFile: struct.error, UnicodeDecodeError, NotImplementedError
            raise_damaged(self.path, problem)
        if any(info.flag_bits & 1 for info in listed):
            raise_encrypted(self.path)
        return checked_members(
            self.path,
            # orig_filename: zipfile truncates a name at a NUL, so that "x.png\0.exe" would look harmless.
            (
                (info.orig_filename, info, stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG))
                for info in listed
                if not info.orig_filename.endswith("/")  # a folder
            ),
        )

    def read(self, names: Iterable[str], limit: int = MAX_BYTES) -> Iterator[tuple[str, bytes | UnreadablePicture]]:
        members = self._members
        with zipfile.ZipFile(self.path) as archive:
            for name in names:
                info = members[name]
                if info.file_size > limit:
                    yield name, too_large(limit)
                    continue
                try:
                    contents: bytes | UnreadablePicture = archive.read(info)
                except Exception as problem:  # a wrong checksum or a damaged stream affects only this member
                    contents = UnreadablePicture(f"damaged inside {self.path.name}: {problem}")
                yield name, contents

    def copy_out(self, name: str, target: Path) -> None:
        """Write one member, itself an archive, to the file `target`. Raises DataError."""
        info = self._members[name]
        if info.file_size > shutil.disk_usage(target.parent).free:
            raise DataError(
                f'"{name}" needs {size(info.file_size)} of free space to be copied out of {self.path.name}.',
                where=str(target.parent),
                do="free some space, or unpack the archive elsewhere and pass that folder as SOURCE",
            )
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info) as member, open(target, "wb") as file:
                shutil.copyfileobj(member, file, 2**20)
        except OSError:
            raise
        except Exception as problem:
            raise_damaged(self.path, problem)


@dataclass(frozen=True)
class Tar:
    """A tar file, plain or compressed. Every read starts at the beginning, so read everything in one call."""

    path: Path

    @cached_property
    def sizes(self) -> dict[str, int]:
        try:
            with self._opened() as archive:
                # Sparse files count as special: their size is unrelated to the bytes in the archive.
                entries = [(m.name, m.size, not m.isreg() or m.issparse()) for m in archive if not m.isdir()]
        except Exception as problem:  # tarfile, gzip, bz2 and lzma each raise errors of their own
            raise_damaged(self.path, problem)
        return checked_members(self.path, entries)

    def read(self, names: Iterable[str], limit: int = MAX_BYTES) -> Iterator[tuple[str, bytes | UnreadablePicture]]:
        wanted = set(names)
        try:
            with self._opened() as archive:
                for member in archive:
                    name = checked_name(member.name, self.path)
                    if name in wanted and member.size > limit:
                        yield name, too_large(limit)
                    elif name in wanted and (file := archive.extractfile(member)):
                        yield name, file.read()
        except Exception as problem:
            raise_damaged(self.path, problem)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        with open(self.path, "rb") as file:
            start = file.read(6)
        opener = next((opener for magic, opener in TAR_OPENERS.items() if start.startswith(magic)), open)
        with opener(self.path, "rb") as file:
            bounded: Any = _Bounded(file)
            with tarfile.open(fileobj=bounded, mode="r:") as archive:
                yield archive


class _Bounded:
    """A file that limits how much is read at once, because tarfile trusts the length in a header."""

    def __init__(self, file: IO[bytes]):
        self.seek, self.tell, self.file = file.seek, file.tell, file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_TAR_READ:
            raise tarfile.ReadError(f"a part of it claims to be {size:,} bytes long")
        return self.file.read(size)
