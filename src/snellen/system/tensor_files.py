"""Safetensors files with tensors, a JSON header, and a checksum of both.

Files are read into memory, never mapped, so replacing or truncating one does not affect a process that has read it.
The format does not use pickle, so reading a file cannot run code.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from snellen.system import files

KEY = "snellen"  # a single key in safetensors' metadata holds the JSON, because several keys have no fixed order
MAX_HEADER = 100_000_000  # bytes, the limit of safetensors itself


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write a file atomically. The same tensors and header always give the same bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = _as_json({"sha256": digest(tensors, header), **header})
    with files.replacing(path) as file:
        file.write(save(tensors, {KEY: text}))


@dataclass(frozen=True)
class TensorFile:
    """An open file whose header has been read."""

    header: dict[str, Any]  # without the checksum
    shapes: dict[str, tuple[int, ...]]
    file: BinaryIO
    checksum: str | None

    def read(self) -> dict[str, Tensor]:
        """Read all tensors into memory. Raises ValueError if they do not match the checksum."""
        self.file.seek(0)
        try:
            tensors = load(self.file.read())
        except SafetensorError as problem:
            raise ValueError(str(problem)) from None
        if self.checksum is not None and self.checksum != digest(tensors, self.header):
            raise ValueError("its content does not match its checksum")
        return tensors


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """Open a file and read its header, but no tensors. Raises ValueError for a damaged file or another format.

    Files without a checksum, written by other programs, are read unchecked.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, os.fstat(file.fileno()).st_size - 8):
            raise ValueError("it is cut off, or not a safetensors file")
        try:
            entries = json.loads(file.read(length))
            header = json.loads(entries.pop("__metadata__")[KEY])
            shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
            checksum = header.pop("sha256", None)
        except (KeyError, TypeError, AttributeError, RecursionError) as problem:
            raise ValueError(f"its header lacks {problem}") from None
        yield TensorFile(header, shapes, file, checksum)


def digest(tensors: dict[str, Tensor], header: dict[str, Any] | None = None) -> str:
    """Return the SHA-256 of a header and of the names, types, shapes and values of tensors on the CPU."""
    found = hashlib.sha256(_as_json(header or {}).encode())
    for name in sorted(tensors):
        value = tensors[name].detach().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _as_json(header: dict[str, Any]) -> str:
    return json.dumps(header, ensure_ascii=False)
