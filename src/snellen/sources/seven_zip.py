"""Read a 7z archive member by member, in memory."""

import queue
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from snellen.sources.decode import MAX_BYTES, UnreadablePicture, too_large
from snellen.sources.names import checked_members, raise_damaged, raise_encrypted

BATCH_BYTES = 4 * 2**20  # unpacked and passed on at a time; the queue keeps up to five times as much in memory
BATCH_MEMBERS = 1000


@dataclass(frozen=True)
class SevenZip:
    path: Path

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Return the unpacked bytes of each member, in the order of the archive. Raises DataError."""
        return {name: info.uncompressed or 0 for name, info in self._members.items()}

    @cached_property
    def _members(self) -> dict[str, Any]:
        import py7zr

        try:
            with py7zr.SevenZipFile(self.path) as archive:
                is_encrypted, listed = archive.needs_password(), archive.list()
        except py7zr.PasswordRequired:
            raise_encrypted(self.path)
        except Exception as problem:  # a damaged header can raise almost any exception
            raise_damaged(self.path, problem)
        if is_encrypted:
            raise_encrypted(self.path)
        return checked_members(
            self.path, ((info.filename, info, not info.is_file) for info in listed if not info.is_directory)
        )

    def read(self, names: Iterable[str], limit: int = MAX_BYTES) -> Iterator[tuple[str, bytes | UnreadablePicture]]:
        """Yield each name with its bytes, in the order of the archive: a solid archive allows no other.

        A second thread unpacks a little ahead while the caller decodes. Raises DataError if the archive is damaged.
        """
        wanted = dict.fromkeys(names)
        small = {PurePosixPath(self._members[n].filename).as_posix(): n for n in wanted if self.sizes[n] <= limit}
        inbox = _Inbox(small, self.sizes)
        thread = threading.Thread(target=self._unpack_into, args=(inbox,), daemon=True)
        thread.start()
        try:
            while isinstance(batch := inbox.batches.get(), list):
                yield from batch
        finally:
            inbox.is_abandoned = True
            thread.join()
        if batch is not None:
            raise_damaged(self.path, batch)
        yield from ((name, too_large(limit)) for name in wanted if self.sizes[name] > limit)

    def _unpack_into(self, inbox: "_Inbox") -> None:
        import py7zr

        try:
            # An open file, because py7zr starts threads of its own for a path; an empty folder, because it compares
            # names with the files there. Nothing is written into it.
            with (
                tempfile.TemporaryDirectory() as empty,
                open(self.path, "rb") as file,
                py7zr.SevenZipFile(file) as archive,
            ):
                inbox.prefix = Path(empty).as_posix() + "/"
                targets = [self._members[name].filename for name in inbox.names.values()]
                archive.extract(path=empty, targets=targets, factory=inbox)  # type: ignore[arg-type]
            inbox.hand_over(inbox.batch)
            inbox.hand_over(None)
        except Exception as problem:  # raised again in the thread that reads
            inbox.hand_over(problem)


class _Inbox:
    """The receiver of the members, one after another; both factory and writer for py7zr."""

    def __init__(self, names: dict[str, str], sizes: dict[str, int]):
        self.names, self.sizes = names, sizes
        self.prefix = ""
        self.batches: queue.Queue[list[tuple[str, bytes]] | Exception | None] = queue.Queue(maxsize=3)
        self.batch: list[tuple[str, bytes]] = []
        self.batch_bytes = 0
        self.is_abandoned = False  # the reader has stopped

    def create(self, filename: str) -> "_Inbox":
        self.name = self.names[filename.removeprefix(self.prefix)]
        self.parts: list[bytes] = []
        self.missing = self.sizes[self.name]
        self.write(b"")  # an empty file is already complete, and py7zr writes nothing to it
        return self

    def write(self, data: bytes | bytearray) -> int:
        if self.is_abandoned:
            raise InterruptedError("the reader has stopped")
        self.parts.append(bytes(data))
        self.missing -= len(data)
        if self.missing == 0 and (data or not self.sizes[self.name]):
            contents = b"".join(self.parts)
            self.batch.append((self.name, contents))
            self.batch_bytes += len(contents)
            if self.batch_bytes >= BATCH_BYTES or len(self.batch) >= BATCH_MEMBERS:
                self.hand_over(self.batch)
                self.batch, self.batch_bytes = [], 0
        return len(data)

    def hand_over(self, batch: list[tuple[str, bytes]] | Exception | None) -> None:
        while not self.is_abandoned:
            try:
                return self.batches.put(batch, timeout=0.1)
            except queue.Full:
                continue

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def size(self) -> int:
        return self.sizes[self.name]
