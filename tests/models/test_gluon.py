import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.errors import DataError
from snellen.models.gluon import read_params, write_params

MAGIC = {"V1": 0xF993FAC8, "V2": 0xF993FAC9, "V3": 0xF993FACA}
TYPES = ["f4", "f8", "f2", "u1", "i4", "i1", "i8", "bool", "i2", "u2", "u4", "u8"]
BFLOAT16 = 12
VALUES = np.array([[0, 1, 2], [3, 100, 127]])


def record(version, shape, code, values, storage=0, device=1):
    """One array as a version of MXNet writes it."""
    tail = struct.pack("<iii", device, 0, code) + values
    if version == "legacy":
        return struct.pack(f"<I{len(shape)}I", len(shape), *shape) + tail
    head = struct.pack("<I", MAGIC[version]) + (b"" if version == "V1" else struct.pack("<i", storage))
    return head + struct.pack(f"<i{len(shape)}q", len(shape), *shape) + tail


def listing(records, names):
    text = b"".join(struct.pack("<Q", len(name)) + name for name in names)
    return struct.pack("<QQQ", 0x112, 0, len(records)) + b"".join(records) + struct.pack("<Q", len(names)) + text


def one(version="V2", shape=(2, 3), code=0, values=b"\x00" * 24, name=b"a.weight", **fields):
    return listing([record(version, shape, code, values, **fields)], [name])


def npz(arrays, save=np.savez):
    packed = io.BytesIO()
    save(packed, **arrays)
    return packed.getvalue()


@pytest.fixture
def read(tmp_path):
    def read(data):
        (tmp_path / "net.params").write_bytes(data)
        return read_params(tmp_path / "net.params")

    return read


@pytest.fixture
def refusal(read):
    """The message for a file's bytes."""

    def refusal(data):
        with pytest.raises(DataError) as caught:
            read(data)
        assert "  do: " in str(caught.value)
        assert "net.params" in caught.value.where
        return str(caught.value)

    return refusal


@pytest.mark.parametrize("version", ["V1", "V2", "V3", "legacy"])
@pytest.mark.parametrize("code", range(12))
def test_every_version_and_type_is_read(version, code, read):
    expected = VALUES.astype(TYPES[code])
    params = read(one(version, (2, 3), code, expected.tobytes(), b"arg:w", device=2))
    assert list(params) == ["w"]
    assert params["w"].dtype == expected.dtype
    assert np.array_equal(params["w"], expected)
    assert not params["w"].flags.writeable


@pytest.mark.parametrize("version", ["V1", "V2", "V3", "legacy"])
def test_bfloat16_becomes_float32_with_equal_values(version, read):
    tensor = torch.tensor([[1.0, -2.5, 3e38], [1e-38, float("inf"), 0.15625]]).bfloat16()
    values = tensor.view(torch.int16).numpy().tobytes()
    assert np.array_equal(read(one(version, (2, 3), BFLOAT16, values))["a.weight"], tensor.float().numpy())


def test_a_bool_is_never_anything_but_0_or_1(read):
    value = read(one(code=7, values=b"\x00\x01\x02\xff\x80\x00"))["a.weight"]
    assert value.tolist() == [[False, True, True], [True, True, False]]
    assert value.view(np.uint8).max() == 1


def test_a_scalar_of_version_3_is_read(read):
    assert read(one("V3", (), 0, struct.pack("<f", 2.5)))["a.weight"] == np.float32(2.5)


def test_written_arrays_come_back_with_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for dtype in TYPES:
        bits = rng.integers(0, 256, (3, 4, 5 * np.dtype(dtype).itemsize), dtype=np.uint8)  # NaNs of every kind too
        arrays[f"layer.{dtype}"] = bits.view(dtype) if dtype != "bool" else bits % 2 == 1
    arrays |= {"turned.ü": np.asfortranarray(arrays["layer.f4"]), "part": arrays["layer.i4"][:, ::2]}
    back = read_params(write_params(tmp_path / "net.params", arrays))
    assert list(back) == list(arrays)
    for name, value in arrays.items():
        assert back[name].dtype == value.dtype
        assert back[name].shape == value.shape
        assert back[name].tobytes() == value.tobytes(), name
    swapped = read_params(write_params(tmp_path / "net.params", {"a": VALUES.astype(">f4")}))
    assert np.array_equal(swapped["a"], VALUES)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_read(save, read):
    arrays = {f"layer.{dtype}": VALUES.astype(dtype) for dtype in TYPES}
    arrays |= {"big": VALUES.astype(">f4"), "large": VALUES.astype(">i8")}
    arrays |= {"turned": np.asfortranarray(VALUES), "row": np.arange(3.0), "one": np.array(1.5), "arg:x": np.ones(1)}
    params = read(npz(arrays, save))
    assert list(params) == [name.removeprefix("arg:") for name in arrays]
    for name, value in arrays.items():
        back = params[name.removeprefix("arg:")]
        assert np.array_equal(back, value)
        assert back.shape == value.shape
        assert back.dtype.isnative
        assert back.dtype == value.dtype.newbyteorder("=")
        assert not back.flags.writeable


def test_reading_needs_no_torch():
    code = "import snellen.models.gluon, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ["not a Gluon parameter file", "(none)", "12 01 00"]),
        (b"\x80\x04\x95abcdef", ["not a Gluon parameter file", "80 04 95"]),
        (struct.pack("<Q", 0x112), ["the first two numbers", "byte 0", "16 bytes, but only 8 are left"]),
        (struct.pack("<QQQ", 0x112, 0, 10**12), ["claims 1,000,000,000,000 arrays", "byte 16"]),
        (struct.pack("<QQQ", 0x112, 0, 2**64 - 1) + bytes(100), ["arrays but has only 100 bytes left", "byte 16"]),
        (struct.pack("<QQQQ", 0x112, 0, 0, 0), ["it contains no arrays"]),
        (one("V2", storage=1), ["row_sparse", "byte 24", "tostype"]),
        (one("V3", storage=2), ["csr", "byte 24"]),
        (one("V2", storage=3), ["unknown storage type 3", "byte 24"]),
        (one("V2", (), values=b""), ["bytes"]),
        (listing([struct.pack("<Iii", MAGIC["V2"], 0, 0)], [b"w"]), ["'w' holds no values"]),
        (listing([struct.pack("<Iii", MAGIC["V3"], 0, -1)], [b"w"]), ["'w' holds no values"]),
        (listing([struct.pack("<Ii", MAGIC["V1"], 0)], [b"w"]), ["'w' holds no values"]),
        (listing([struct.pack("<Iii", MAGIC["V2"], 0, -1)], [b"w"]), ["claims -1 dimensions", "byte 24"]),
        (listing([struct.pack("<Iii", MAGIC["V2"], 0, 2**31 - 1)], [b"w"]), ["claims 2,147,483,647 dimensions"]),
        (one("legacy", (1,) * 33, values=bytes(4)), ["claims 33 dimensions", "byte 24"]),
        (one(shape=(2, -3)), ["shape (2, -3)", "byte 24"]),
        (one(shape=(-2, -3)), ["shape (-2, -3)"]),
        (one(shape=(0, 10**12), values=b""), ["shape (0, 1000000000000)"]),
        (one(shape=(10**6, 10**6)), ["4,000,000,000,000 bytes", "byte 64"]),
        (one(shape=(2**62, 2**62, 2**62, 4)), ["should take"]),
        (one("legacy", (2**32 - 1, 2**32 - 1)), ["should take"]),
        (one(code=13), ["unknown number type 13", "byte 24"]),
        (one(code=-1), ["unknown number type -1"]),
        (one() + b"\x00", ["1 bytes follow its end", "byte 112"]),
        (one()[:-1], ["a name"]),
        (one(name=b"\xff\xfe"), ["not UTF-8", "byte 104"]),
        (one(name=b""), ["called ''"]),
        (one(name=b"arg:"), ["called ''"]),
        (one(name=b"a\x1b[2Jb"), ["called 'a\\x1b[2Jb'"]),
        (listing([record("V2", (1,), 3, b"\0")] * 2, [b"w", b"w"]), ['two arrays are called "w"']),
        (listing([record("V2", (1,), 3, b"\0")] * 2, [b"arg:w", b"aux:w"]), ['two arrays are called "w"']),
        (listing([record("V2", (1,), 3, b"\0")] * 2, [b"w"]), ["2 arrays but 1 names"]),
        (listing([record("V2", (1,), 3, b"\0")], []), ["1 arrays but 0 names"]),
        (listing([], [b"w"]), ["0 arrays but 1 names"]),
        (one()[:-16] + struct.pack("<Q", 10**15) + b"a.weight", ["1,000,000,000,000,000 letters of a name", "byte 96"]),
    ],
)
def test_a_lie_is_named_with_its_place_and_costs_no_memory(data, expected, refusal):
    tracemalloc.start()
    try:
        message = refusal(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert all(part in message for part in expected), message
    assert peak < 500_000


def member(data, name="a.npy", method=zipfile.ZIP_STORED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr(name, data)
    return packed.getvalue()


def npy(shape="(2,)", dtype="'<f4'", values=b"\0" * 8, order="False"):
    header = f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values


def forged(data, **fields):
    """A zip whose only member's entries claim other things than what is packed."""
    name = b"a.npy"
    central = data.rindex(b"PK\x01\x02")
    data = bytearray(data)
    for key, value in fields.items():
        local, global_, form = {"size": (22, 24, "<I"), "flags": (6, 8, "<H"), "method": (8, 10, "<H")}[key]
        struct.pack_into(form, data, local, value)
        struct.pack_into(form, data, central + global_, value)
    assert data[30:35] == name
    return bytes(data)


def torch_file():
    packed = io.BytesIO()
    torch.save({"a": torch.ones(1)}, packed)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"PK\x03\x04", ["zip cannot be unpacked"]),
        (member(b""), ["not a .npy file"]),
        (member(b"words words words"), ["not a .npy file"]),
        (member(npy(), "../a.npy"), ["'../a.npy'", "is not an array"]),
        (member(npy(), "/etc/a.npy"), ["is not an array"]),
        (member(b"", "folder/"), ["'folder/'", "is not an array"]),
        (member(npy(), "a.txt"), ["is not an array"]),
        (member(npy(), "a\x1b.npy"), ["is not an array"]),
        (member(npy(), method=zipfile.ZIP_BZIP2), ["by a method that Gluon does not use"]),
        (member(npy(), method=zipfile.ZIP_LZMA), ["by a method that Gluon does not use"]),
        (forged(member(npy()), flags=1), ["encrypted"]),
        (forged(member(npy()), method=99), ["by a method"]),
        (member(npy("(1000000, 1000000)")), ["(1000000, 1000000) but has 8 bytes"]),
        (member(npy("(3,)")), ["(3,) but has 8 bytes"]),
        (member(npy("(-2,)")), ["not an array of plain numbers"]),
        (member(npy("(0, 99999999999999999)", values=b"")), ["but has 0 bytes"]),
        (member(npy("(" + "1," * 33 + ")", values=bytes(4))), ["but has 4 bytes"]),
        (member(npy(dtype="'|O'")), ["not an array of plain numbers"]),
        (member(npy(dtype="[('x', '<f4')]")), ["not an array of plain numbers"]),
        (member(npy(dtype="'<f1'")), ["not an array of plain numbers"]),
        (member(npy(shape="__import__('os').getpid()")), ["not an array of plain numbers"]),
        (member(npy(order="1")), ["not an array of plain numbers"]),
        (npz({"a": np.array([{}], dtype=object)}), ["not an array of plain numbers"]),
        (member(npy("(10000000,)", "'|u1'", bytes(10_000_000)), method=zipfile.ZIP_DEFLATED), ["claim to unpack to"]),
        (
            forged(member(npy("(10,)", "'|u1'", bytes(10)), method=zipfile.ZIP_DEFLATED), size=2**31),
            ["claim to unpack"],
        ),
        (forged(member(npy("(9000000,)", "'|u1'", bytes(9_000_000)), method=zipfile.ZIP_DEFLATED), size=90), ["zip"]),
        (torch_file(), ["torch.save", "safetensors"]),
    ],
)
def test_a_zip_that_lies_or_is_odd_is_refused(data, expected, refusal):
    tracemalloc.start()
    try:
        message = refusal(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert all(part in message for part in expected), message
    assert peak < 500_000


def test_two_members_of_one_name_are_refused(refusal):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.npy", npy())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", npy())
    assert 'two arrays are called "a"' in refusal(packed.getvalue())


def test_what_is_no_plain_file_of_bounded_size_is_refused(tmp_path):
    huge = tmp_path / "huge.params"
    with huge.open("wb") as file:
        os.truncate(file.fileno(), 3 * 2**30)  # takes no space on the disk
    for path, message in [
        (tmp_path / "absent.params", "parameter file does not exist"),
        (tmp_path, "parameter file does not exist"),
        (Path(os.devnull), "parameter file does not exist"),
        (huge, "3,221,225,472 bytes"),
    ]:
        with pytest.raises(DataError, match=message):
            read_params(path)


SAMPLES = {
    "list": listing(
        [
            record("V2", (2, 3), 0, VALUES.astype("f4").tobytes()),
            record("V1", (4,), 12, bytes(8)),
            record("legacy", (3, 1), 7, b"\1\0\1"),
            record("V3", (2,), 2, bytes(4)),
        ],
        [b"arg:conv0_weight", b"a.b", b"dense0_weight", b"x"],
    ),
    "zip": npz({"a.b": VALUES.astype("f4"), "w": np.arange(4)}, np.savez_compressed),
}
SHAPES = {"list": {(2, 3), (4,), (3, 1), (2,)}, "zip": {(2, 3), (4,)}}


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_file_cut_anywhere_is_refused(kind, refusal):
    for length in range(len(SAMPLES[kind])):
        refusal(SAMPLES[kind][:length])


@pytest.mark.parametrize("kind", SAMPLES)
@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_change_values_alone(kind, data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"{kind}.params"
    damaged = bytearray(SAMPLES[kind])
    places = st.integers(0, len(damaged) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)):
        damaged[place] = value
    path.write_bytes(damaged)
    message, shapes = "", set()
    try:
        shapes = {value.shape for value in read_params(path).values()}
    except DataError as problem:
        message = str(problem)
    assert all(line.isprintable() for line in message.split("\n"))
    assert shapes <= SHAPES[kind]
