"""Whatever stdout, stderr and names are: messages and exit codes, never a traceback."""

import os
import re
import subprocess
import sys

import pytest

from made import make_images, noise

if sys.platform == "win32":
    pytest.skip("closes streams as a POSIX shell does", allow_module_level=True)


def snellen(*words, shell="", **changes):
    """Run a command with the streams that the shell gives it; `shell` may redirect or close some."""
    code = "from snellen.cli.commands import main; main(prog_name='snellen')"
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, env=os.environ | changes, timeout=120)


def assert_no_traceback(done):
    assert b"Traceback" not in done.stderr + done.stdout, done.stderr.decode()


@pytest.fixture
def data(tmp_path):
    return make_images(tmp_path / "data", noise(24), ["a", "b"] * 12, ["train"] * 16 + ["valid"] * 8).folder


TRAIN = ("--recipe", "smoke", "--set", "epochs=1", "--set", "precision=float32")


@pytest.mark.parametrize("shell", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_does_not_matter(data, tmp_path, shell):
    done = snellen("train", data, "--out", tmp_path / "run", *TRAIN, shell=shell)
    assert done.returncode == 0, done.stderr.decode()
    assert_no_traceback(done)
    for name in ("recipe.json", "about.json", "metrics.jsonl"):
        lines = (tmp_path / "run" / name).read_text().splitlines()
        assert not [line for line in lines if "device" in line and not line.lstrip().startswith(('"', "{"))], name
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    assert snellen("show", "nothing at all", shell=shell).returncode == 1
    assert snellen("train", shell=shell).returncode == 2


def test_a_reader_that_leaves_ends_the_command_quietly():
    done = snellen("list", "recipes", shell="| true")
    assert_no_traceback(done)


def test_an_encoding_that_lacks_characters_gets_them_escaped(data, tmp_path):
    out = tmp_path / "日本 →"
    for encoding in ("cp1252", "ascii"):
        done = snellen("train", data, "--out", out / encoding, *TRAIN, PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr.decode()
        assert_no_traceback(done)
        escaped = rb"\u65e5\u672c \u2192"
        assert (escaped in done.stdout) == (encoding == "cp1252"), "click writes UTF-8 instead of ASCII"
        assert escaped in done.stderr or encoding == "ascii"


def test_a_name_that_is_not_utf_8_is_refused_by_a_message():
    for words in (["show", b"a\xff"], ["evaluate", b"a\xff", "data"], ["train", "data", "--out", b"a\xff"]):
        done = snellen(*words)
        assert done.returncode in (1, 2), done.stderr
        assert_no_traceback(done)
        assert rb"a\udcff" in done.stderr


def test_a_picture_whose_name_is_not_utf_8_is_classified(tmp_path):
    from PIL import Image

    name = os.fsdecode(b"a\xff.png")
    Image.fromarray(noise(1, 32)[0]).save(tmp_path / name)
    for ending in ("csv", "json"):
        done = snellen("predict", "cifar10-fast", tmp_path, "--out", tmp_path / f"out.{ending}")
        assert done.returncode == 0, done.stderr.decode()
        assert_no_traceback(done)
        assert re.search(rb"a\\udcff\.png: \w+ [\d.]+%", done.stdout)
        assert rb"a\udcff.png" in (tmp_path / f"out.{ending}").read_bytes()


LIMITED = """
import resource, sys, torch
from snellen.cli.commands import main
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
main(sys.argv[1:], prog_name="snellen")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_memory_that_runs_out_is_a_message(tmp_path):
    images = make_images(tmp_path / "data", noise(24, 128), ["a", "b"] * 12, ["train"] * 16 + ["valid"] * 8)
    words = ["train", images.folder, "--out", tmp_path / "run", *TRAIN, "--set", "model=resnet18"]
    done = subprocess.run([sys.executable, "-c", LIMITED, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "snellen: the machine ran out of memory." in done.stderr
    assert "  do: " in done.stderr
    assert "Traceback" not in done.stderr
