"""Read and write parameter files of MXNet Gluon (`.params`) without MXNet. gluon_names.py interprets the names.

    u64 0x112, u64 reserved, u64 N, N arrays, u64 M, M names (u64 length, bytes); everything little-endian
    array V2, V3   u32 magic, i32 storage, i32 n, n x i64 sizes, i32 device, i32 device number, i32 type, values
          V1       the same without storage
          older    u32 n instead of a magic, n x u32 sizes, then as above

MXNet 2 writes a zip of .npy members under the same extension instead.

Files may be malicious: every length is first checked against the file, and nothing is unpickled.
Source of the layout: apache/mxnet v1.9.1, src/ndarray/ndarray.cc and include/mxnet/tuple.h.
"""

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np

from snellen.errors import DataError
from snellen.system import files

LIST_MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
SPARSE = {1: "row_sparse", 2: "csr"}
DTYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8", "bool", "<i2", "<u2", "<u4", "<u8", "bfloat16")  # by code
MOST_DIMENSIONS = 32  # numpy's limit before version 2; a convolution has 4
LARGEST_FILE = 2**31  # bytes, eight times the largest network of the zoo
LARGEST_HEADER = 4096  # bytes before the values of a .npy member; numpy writes 128
MOST_INFLATION = (
    100  # ratio of unpacked to packed bytes in a zip; trained weights hardly compress, so a higher one is an attack
)


def read_params(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a parameter file by name, in file order, without the prefixes "arg:" and "aux:".

    Reads V1, V2, V3, the format before V1, and .npz. Arrays are read-only; bfloat16 becomes float32 with equal values.
    Raises DataError, with the position, if the file has another format, is damaged or has the wrong length, or if
    arrays are sparse, empty or unnamed, or share a name.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise DataError("the parameter file does not exist.", where=str(path), do="check the path")
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise DataError(
                f"the parameter file has {size:,} bytes.",
                where=str(path),
                expected=f"{LARGEST_FILE:,} bytes at most",
                do="check the path",
            )
        data = path.read_bytes()
    except OSError as problem:
        raise DataError(
            f"the parameter file cannot be read: {problem.strerror}.",
            where=str(path),
            do="check the file's permissions",
        ) from None
    params: dict[str, np.ndarray] = {}
    for name, value in _read_zip(data, path) if data.startswith(b"PK") else _read_list(data, path):
        name = re.sub("^(arg|aux):", "", name)
        if not name.isprintable() or not name:
            raise _damaged(f"an array is called {name[:40]!a}", str(path))
        if name in params:
            raise _damaged(f'two arrays are called "{name}"', str(path))
        params[name] = value
    if not params:
        raise _damaged("it contains no arrays", str(path))
    return params


def write_params(path: str | Path, params: Mapping[str, np.ndarray]) -> Path:
    """Write arrays of one dimension or more as a V2 file. `read_params` restores them exactly."""
    with files.replacing(Path(path)) as file:
        file.write(params_bytes(params))
    return Path(path)


def params_bytes(params: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of the file that `write_params` writes."""
    codes = {np.dtype(name): code for code, name in enumerate(DTYPES) if name != "bfloat16"}
    parts = [struct.pack("<QQQ", LIST_MAGIC, 0, len(params))]
    for name, value in params.items():
        assert value.ndim, f"{name} has no dimension, which in V2 would mean that it has no values"
        little = value.astype(value.dtype.newbyteorder("<"), order="C", copy=False)
        on_cpu = (1, 0)
        head = (V2, 0, value.ndim, *value.shape, *on_cpu, codes[little.dtype])
        parts.append(struct.pack(f"<Iii{value.ndim}qiii", *head) + little.tobytes())
    parts.append(struct.pack("<Q", len(params)))
    parts += [struct.pack("<Q", len(name.encode())) + name.encode() for name in params]
    return b"".join(parts)


def _damaged(what: str, where: str) -> DataError:
    return DataError(
        f"the parameter file is damaged or malicious: {what}.",
        where=where,
        expected="a file written by MXNet Gluon's save_parameters",
        do="copy or download it again, or ask its author",
    )


class _Reader:
    """A reader of the bytes of a file. Reading past the end raises an error with the position."""

    def __init__(self, data: bytes, path: Path):
        self.data, self.path, self.at = data, path, 0

    def fail(self, what: str, at: int) -> NoReturn:
        raise _damaged(what, f"{self.path}, byte {at:,}")

    def skip(self, count: int, what: str) -> int:
        """Skip `count` bytes and return the position at which they start."""
        start, left = self.at, len(self.data) - self.at
        if count > left:
            self.fail(f"{what} should take {count:,} bytes, but only {left:,} are left", start)
        self.at += count
        return start

    def numbers(self, format: str, what: str) -> tuple[int, ...]:
        return struct.unpack_from(f"<{format}", self.data, self.skip(struct.calcsize(f"<{format}"), what))

    def count(self, least: int, what: str) -> int:
        """Read the number of items that follow; each takes at least `least` bytes."""
        start = self.at
        (count,) = self.numbers("Q", f"the number of {what}")
        if count * least > len(self.data) - self.at:
            self.fail(f"it claims {count:,} {what} but has only {len(self.data) - self.at:,} bytes left", start)
        return count


def _read_list(data: bytes, path: Path) -> Iterator[tuple[str, np.ndarray]]:
    reader = _Reader(data, path)
    if data[:8] != struct.pack("<Q", LIST_MAGIC):
        raise DataError(
            f"this is not a Gluon parameter file; it begins with the bytes {data[:8].hex(' ') or '(none)'}.",
            where=str(path),
            expected="12 01 00 00 00 00 00 00, or a zip of .npy files",
            do="check the path; `torch.save` and safetensors files have other formats",
        )
    reader.numbers("QQ", "the first two numbers")
    arrays = [_read_array(reader) for _ in range(reader.count(8, "arrays"))]
    start = reader.at
    names = []
    for _ in range(reader.count(8, "names")):
        length = reader.count(1, "letters of a name")
        at = reader.skip(length, "a name")
        try:
            names.append(data[at : at + length].decode())
        except UnicodeDecodeError:
            reader.fail("a name is not UTF-8", at)
    if len(names) != len(arrays):
        reader.fail(f"it holds {len(arrays):,} arrays but {len(names):,} names", start)
    if reader.at < len(data):
        reader.fail(f"{len(data) - reader.at:,} bytes follow its end", reader.at)
    for name, value in zip(names, arrays, strict=True):
        if value is None:
            raise _damaged(f"{name[:80]!a} holds no values, because its network was never used", str(path))
        yield name, value


def _read_array(reader: _Reader) -> np.ndarray | None:
    """Read the next array; return None if it was saved without values."""
    start = reader.at
    (magic,) = reader.numbers("I", "an array")
    if magic in (V2, V3):
        (storage,) = reader.numbers("i", "a storage type")
        if storage in SPARSE:
            raise DataError(
                f"the parameter file holds a {SPARSE[storage]} array.",
                where=f"{reader.path}, byte {start:,}",
                expected="dense arrays: no layer of an image network is sparse",
                do="save it again after .tostype('default')",
            )
        if storage:
            reader.fail(f"an array has the unknown storage type {storage}", start)
    num_dimensions = reader.numbers("i", "a number of dimensions")[0] if magic in (V1, V2, V3) else magic
    if num_dimensions == (-1 if magic == V3 else 0):
        return None
    if not 0 <= num_dimensions <= MOST_DIMENSIONS:
        reader.fail(f"an array claims {num_dimensions:,} dimensions", start)
    shape = reader.numbers(f"{num_dimensions}{'q' if magic in (V1, V2, V3) else 'I'}", "the sizes of an array")
    if any(size < 1 for size in shape):
        reader.fail(f"an array claims the shape {shape}", start)
    _, _, code = reader.numbers("iii", "device and type of an array")
    if not 0 <= code < len(DTYPES):
        reader.fail(f"an array has the unknown number type {code}", start)
    # Read as bits first: numpy has no bfloat16, and a bool other than 0 or 1 must not pass silently.
    bits = np.dtype({"bfloat16": "<u2", "bool": "u1"}.get(DTYPES[code], DTYPES[code]))
    count = math.prod(shape)
    at = reader.skip(count * bits.itemsize, f"an array of shape {shape}")
    value = np.frombuffer(reader.data, bits, count, at).reshape(shape)
    if DTYPES[code] == "bfloat16":
        value = (value.astype(np.uint32) << 16).view(np.float32)
    elif DTYPES[code] == "bool":
        value = value != 0
    value.flags.writeable = False
    return value


def _read_zip(data: bytes, path: Path) -> Iterator[tuple[str, np.ndarray]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if any(member.filename.endswith("data.pkl") for member in members):
                raise DataError(
                    "this is a `torch.save` file, not a Gluon file.",
                    where=str(path),
                    expected="a file written by MXNet Gluon's save_parameters",
                    do="if you trust it, open it with torch and save its tensors with safetensors",
                )
            if (total := sum(member.file_size for member in members)) > min(LARGEST_FILE, MOST_INFLATION * len(data)):
                raise _damaged(f"its {len(data):,} bytes claim to unpack to {total:,}", str(path))
            for member in members:
                where = f"{path}, member {member.filename[:80]!a}"
                if not re.fullmatch(r"[\w.:-]+\.npy", member.filename):
                    raise _damaged("a member of its zip is not an array", where)
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise _damaged("a member of its zip is packed by a method that Gluon does not use", where)
                with archive.open(member) as file:
                    # The size limits what is unpacked. Plain read() would trust the packed data.
                    yield member.filename.removesuffix(".npy"), _read_npy(file.read(member.file_size), where)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, struct.error) as problem:
        # RuntimeError: the zip is encrypted
        raise _damaged(f"its zip cannot be unpacked ({problem})", str(path)) from None


def _read_npy(data: bytes, where: str) -> np.ndarray:
    """Return one .npy member, read-only. Its header is a Python expression, matched but never evaluated."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        raise _damaged("a member of its zip is not a .npy file", where)
    start = 10 if data[6] == 1 else 12
    values = start + int.from_bytes(data[8:start], "little")
    header = data[start : min(values, start + LARGEST_HEADER)].decode("latin-1")
    dtype = re.search(r"'descr': *'([<>|](?:f[248]|[iu][1248]|b1))'", header)
    order = re.search(r"'fortran_order': *(True|False)", header)
    sizes = re.search(r"'shape': *\(([\d, ]*)\)", header)
    if not (dtype and order and sizes):
        raise _damaged("a member of its zip is not an array of plain numbers", where)
    shape = tuple(int(size) for size in re.findall(r"\d{1,18}", sizes[1]))
    bits = np.dtype("u1" if dtype[1].endswith("b1") else dtype[1])
    if len(shape) > MOST_DIMENSIONS or 0 in shape or values + math.prod(shape) * bits.itemsize != len(data):
        raise _damaged(f"an array claims the shape ({sizes[1][:80]}) but has {len(data) - values:,} bytes", where)
    flat = np.frombuffer(data, bits, offset=values)
    value = flat.reshape(shape) if order[1] == "False" else flat.reshape(shape[::-1]).T
    value = value != 0 if dtype[1].endswith("b1") else value.astype(bits.newbyteorder("="), copy=False)
    value.flags.writeable = False
    return value
