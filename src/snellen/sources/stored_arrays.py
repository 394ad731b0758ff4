"""Find the arrays in .npz and .npy files by their headers, and read them in parts. Nothing is unpickled."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from snellen.errors import DataError, first_few
from snellen.sources.archives import Folder, Zip
from snellen.sources.names import shown
from snellen.sources.source_files import Place, read_whole


@dataclass(frozen=True)
class Stored:
    """One array in a file, of which only the header has been read."""

    file: Path
    member: str  # within an .npz file, or ""
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype

    @property
    def name(self) -> str:
        """Return the name without its extension."""
        return self.member.removesuffix(".npy") if self.member else self.file.stem

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Yield the open file at the first byte of the values."""
        if self.member:
            with zipfile.ZipFile(self.file) as archive, archive.open(self.member) as file:
                _header(file)
                yield file
        else:
            with open(self.file, "rb") as file:
                _header(file)
                yield file


def on_disk(name: str, place: Place, scratch: Path) -> Path:
    """Return a file as a path on disk; a file in an archive is copied below `scratch`."""
    if isinstance(place.container, Folder):
        return place.container.path / place.name
    path = scratch / "arrays" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(place.container, Zip):
        place.container.copy_out(place.name, path)
    else:
        path.write_bytes(read_whole({name: place}, [name], 2**30)[name])
    return path


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an array: shape, whether it is in Fortran order, and type."""
    version = np.lib.format.read_magic(file)  # type: ignore[arg-type]
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)  # type: ignore[arg-type]


def stored_in(path: Path) -> list[Stored]:
    """Return the arrays in a file. Raises DataError if it is damaged or contains Python objects."""
    found = []
    try:
        if path.suffix.lower() == ".npy":
            with open(path, "rb") as file:
                found.append(Stored(path, "", *_header(file)))
        else:
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if member.endswith(".npy"):
                        with archive.open(member) as file:
                            found.append(Stored(path, member, *_header(file)))
    except Exception as problem:  # the header is read by Python's own parser, which can fail in any way
        raise DataError(
            f"{path.name} is damaged: {shown(str(problem)) or type(problem).__name__}.",
            where=str(path),
            expected="a file written by numpy.savez or numpy.save",
            do="download it again",
        ) from None
    if objects := [array for array in found if array.dtype.hasobject]:
        raise DataError(
            f"{path.name} contains Python objects ({first_few(a.name for a in objects)}), which could run code.",
            where=str(path),
            expected="arrays of numbers",
            do="save the arrays again as numbers, without allow_pickle",
        )
    return found


def exactly(file: IO[bytes], size: int, array: Stored) -> bytes:
    """Return the next `size` bytes. Raises DataError if the file ends early."""
    data = file.read(size)
    if len(data) < size:
        raise DataError(f"{array.file.name} is damaged: {array.name} ends early.", where=str(array.file))
    return data
