import json
import math

import pytest
import torch
from safetensors import safe_open

from snellen.system.tensor_files import KEY, digest, open_tensors, write_tensors

HEADER = {"step": 3, "rows": [{"lr": 0.1, "name": "é", "auc": math.inf}], "none": None}
TENSORS = {
    "b": torch.arange(6.0).reshape(2, 3).T,
    "a": torch.tensor(7),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "empty": torch.zeros(0, 4),
}


def test_tensors_and_header_come_back(tmp_path):
    write_tensors(tmp_path / "x", TENSORS, HEADER)
    with open_tensors(tmp_path / "x") as file:
        assert file.header == HEADER
        assert file.shapes == {name: tuple(value.shape) for name, value in TENSORS.items()}
        tensors = file.read()
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(tensors[name], value), name
        assert tensors[name].dtype == value.dtype, name


def test_equal_content_gives_equal_bytes_in_any_order(tmp_path):
    write_tensors(tmp_path / "x", TENSORS, HEADER)
    write_tensors(tmp_path / "y", dict(reversed(TENSORS.items())), HEADER)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_the_file_is_safetensors_with_one_key_of_metadata(tmp_path):
    write_tensors(tmp_path / "x", TENSORS, HEADER)
    with safe_open(tmp_path / "x", framework="pt") as file:
        assert {*file.metadata()} == {KEY}
        assert json.loads(file.metadata()[KEY]) == {"sha256": digest(TENSORS, HEADER), **HEADER}
        assert torch.equal(file.get_tensor("b"), TENSORS["b"])


def test_every_flipped_bit_of_the_tensors_is_noticed(tmp_path):
    tensors = {name: TENSORS[name] for name in ("a", "b", "half")}
    write_tensors(tmp_path / "x", tensors, HEADER)
    content = (tmp_path / "x").read_bytes()
    for position in range(8 + int.from_bytes(content[:8], "little"), len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        (tmp_path / "x").write_bytes(changed)
        with open_tensors(tmp_path / "x") as file, pytest.raises(ValueError, match="does not match its checksum"):
            file.read()


@pytest.mark.parametrize("change", ["name", "value", "dtype", "shape", "header"])
def test_the_digest_depends_on_all_there_is(change):
    tensors, header = dict(TENSORS), dict(HEADER)
    if change == "name":
        tensors["c"] = tensors.pop("b")
    elif change == "value":
        tensors["a"] = torch.tensor(8)
    elif change == "dtype":
        tensors["flags"] = tensors["flags"].to(torch.uint8)
    elif change == "shape":
        tensors["b"] = tensors["b"].reshape(2, 3)
    else:
        header["step"] = 4
    assert digest(tensors, header) != digest(TENSORS, HEADER)


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\2" + b"\0" * 7 + b"{}", b"\2" + b"\0" * 7 + b"[]"])
def test_foreign_files_are_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=r"header|cut off"), open_tensors(tmp_path / "x"):
        pass


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_tensors(tmp_path / "x", TENSORS, HEADER)
    before = (tmp_path / "x").read_bytes()
    with pytest.raises(TypeError, match="JSON"):
        write_tensors(tmp_path / "x", TENSORS, {"loss": object()})
    assert (tmp_path / "x").read_bytes() == before
