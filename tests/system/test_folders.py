import os
import subprocess
import sys

import pytest

from snellen.errors import DataError
from snellen.system.folders import replacing_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_whole_with_ordinary_permissions(tmp_path):
    with replacing_folder(tmp_path / "deep" / "out") as work:
        (work / "a").write_text("a")
        assert names(tmp_path / "deep") == [work.name]
        assert work.name.startswith(".")
    assert names(tmp_path / "deep") == ["out"]
    assert names(tmp_path / "deep" / "out") == ["a"]
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "deep" / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failure_leaves_what_was_there(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing_folder(out, old_goes=True) as work:
        (work / "new").write_text(str(1 / 0))
    assert names(tmp_path) == ["out"]
    assert names(out) == ["old"]


def test_the_old_folder_goes_as_a_whole_or_stays_as_a_whole(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(DataError, match="files have been added to this folder"), replacing_folder(out):
        pass
    assert names(out) == ["old"]
    with replacing_folder(out, old_goes=True) as work:
        (work / "new").write_text("new")
    assert names(out) == ["new"]
    assert names(tmp_path) == ["out"]


KILLED = """
import sys, time
from pathlib import Path
from snellen.system.folders import replacing_folder
with replacing_folder(Path(sys.argv[1])) as work:
    (work / "half").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_killed_command_leaves_nothing_behind_once_the_next_one_ran(tmp_path):
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(out)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(DataError, match="another command is writing this folder"), replacing_folder(out):
            pass
        process.kill()
    assert len(names(tmp_path)) == 1, "its unfinished folder, hidden"
    assert not out.exists()
    with replacing_folder(out) as work:
        (work / "whole").write_text("whole")
    assert names(tmp_path) == ["out"]
    assert names(out) == ["whole"]


def test_a_folder_of_another_name_is_not_a_leftover(tmp_path):
    (tmp_path / ".other.x.partial").mkdir()
    (tmp_path / ".out.x.txt").write_text("mine")
    with replacing_folder(tmp_path / "out"):
        pass
    assert names(tmp_path) == [".other.x.partial", ".out.x.txt", "out"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_may_not_be_written_is_a_clear_message(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="cannot be written: Permission denied"), replacing_folder(tmp_path / "out"):
        pass


def test_a_file_in_the_way_is_a_clear_message(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written"), replacing_folder(tmp_path / "file" / "out"):
        pass


KEPT = """
import sys, time
from pathlib import Path
from snellen.system.folders import replacing_folder
with replacing_folder(Path(sys.argv[1]), kept_for=sys.argv[2]) as work:
    (work / "half").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def killed(out, kept_for):
    with subprocess.Popen([sys.executable, "-c", KEPT, str(out), kept_for], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(DataError, match="another command"), replacing_folder(out, kept_for=kept_for):
            pass
        assert (next(out.parent.glob(".*.partial")) / "half").exists(), "that refusal took nothing away"
        process.kill()


def test_a_killed_commands_work_is_there_again_for_the_same_work_only(tmp_path):
    out = tmp_path / "out"
    killed(out, "this")
    with replacing_folder(out, kept_for="this") as work:
        assert names(work) == [".lock", "half"]
    assert names(out) == ["half"]
    killed(tmp_path / "other", "this")
    with replacing_folder(tmp_path / "other", kept_for="that") as work:
        assert names(work) == [".lock"]
    killed(tmp_path / "third", "this")
    with replacing_folder(tmp_path / "third") as work:
        assert names(work) == [".lock"]
    assert names(tmp_path) == ["other", "out", "third"]


@pytest.mark.parametrize(("end", "kept"), [(KeyboardInterrupt, True), (ZeroDivisionError, False), (OSError, False)])
def test_work_is_kept_after_an_interrupt_but_not_after_a_failure(tmp_path, end, kept):
    def work_and_stop():
        with replacing_folder(tmp_path / "out", kept_for="this") as work:
            (work / "half").write_text("half")
            raise end

    with pytest.raises((end, DataError)):
        work_and_stop()
    assert bool(names(tmp_path)) == kept
    with replacing_folder(tmp_path / "out", kept_for="this") as work:
        assert (work / "half").exists() == kept
