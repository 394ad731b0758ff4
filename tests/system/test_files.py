import json
import os
import signal
import stat
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import some
from snellen.errors import DataError, RunError
from snellen.system import files


def test_the_new_content_takes_the_name_only_when_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with files.replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_a_failure_inside_the_block_leaves_the_old_file_and_nothing_else(tmp_path, problem):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with pytest.raises(problem), files.replacing(path) as file:  # noqa: PT012 (the block is what is tested)
        file.write(b"new")
        raise problem
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_leaves_no_file_where_there_was_none(tmp_path):
    with pytest.raises(ValueError, match="no"), files.replacing(tmp_path / "a.txt"):
        raise ValueError("no")
    assert os.listdir(tmp_path) == []


def test_a_name_that_cannot_be_taken_leaves_no_leftovers(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").touch()
    with pytest.raises(DataError, match="cannot be used"), files.replacing(tmp_path / "taken") as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == ["taken"]


def test_a_file_that_the_block_closed_itself_is_an_error_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="closed"), files.replacing(path) as file:
        file.close()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    code = (
        "import sys, pathlib\nfrom snellen.system import files\n"
        "with files.replacing(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'n' * 100_000); file.flush(); print('half', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"half\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert path.read_bytes() == b"old"
    # What it left behind hides from whoever looks for images or runs, and does not stand in the way.
    assert all(name.startswith(".") for name in os.listdir(tmp_path) if name != "a.txt")
    files.write_text(path, "new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000])
def test_permissions_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "a.txt", "x")
        (tmp_path / "plain").write_text("x")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_missing_folders_are_made(tmp_path):
    files.write_text(tmp_path / "a" / "b" / "c.txt", "x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_a_bare_name_is_written_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_text(files.Path("c.txt"), "x")
    assert os.listdir(tmp_path) == ["c.txt"]


def test_writers_at_once_never_mix_their_bytes(tmp_path):
    path = tmp_path / "a.txt"
    texts = [letter * 50_000 for letter in "abcd"]
    threads = [threading.Thread(target=files.write_text, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["a.txt"]


def test_text_keeps_its_line_endings_and_is_utf_8(tmp_path):
    files.write_text(tmp_path / "a.txt", "ä\r\n猫\n")
    assert (tmp_path / "a.txt").read_bytes() == "ä\r\n猫\n".encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)


@some
@given(value=json_values)
def test_json_comes_back_as_it_was(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    files.write_json(path, value)
    assert files.read_json(path, error=DataError, do="") == value
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"a": -float("inf")}], {1, 2}])
def test_what_json_cannot_say_is_never_written(tmp_path, value):
    with pytest.raises((ValueError, TypeError)):
        files.write_json(tmp_path / "a.json", value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"{'a': 1}", b"\x00", b"9" * 5000])
def test_damaged_json_is_the_given_error_with_the_file_and_what_to_do(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        files.read_json(path, error=RunError, do="train again")
    assert "a.json is damaged" in caught.value.what
    assert (caught.value.where, caught.value.do) == (str(path), "train again")


def test_a_missing_file_or_a_folder_is_said_to_be_unreadable(tmp_path):
    for path, word in ((tmp_path / "none.json", "No such file"), (tmp_path, "directory")):
        with pytest.raises(DataError, match=word):
            files.read_json(path, error=DataError, do="look")


def test_written_json_is_plain_to_read(tmp_path):
    files.write_json(tmp_path / "a.json", {"name": "Käse", "n": [1]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "Käse", "n": [1]}
    assert "Käse" in text
    assert '\n  "n"' in text
