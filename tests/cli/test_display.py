"""What a person sees: a live view on a terminal of any width, and plain lines everywhere else."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from itertools import pairwise

import pytest

from snellen.charts.braille import Curve, draw_curves, line_dots
from snellen.cli.display import LEAST, NARROW, WIDE, Display, _fitting, _width, duration
from snellen.runs.recipe import Recipe
from snellen.training.record import save_metrics, start_run

# A command that trains, as the verbs report it; where it pauses it waits for the test to look.
PROGRAM = """
import logging, os, sys, time
from snellen.cli.display import Display
words = sys.argv[1:]
epochs, first, runs = int(words[0]), int(words[1]), words[2:]
on_valid = os.environ.get("VALID", "1") == "1"
log = logging.getLogger("snellen")

def pause():
    if "SEEN" in os.environ:
        display._view.refresh()
        os.write(int(os.environ["READY"]), b"!")
        os.read(int(os.environ["SEEN"]), 1)

with Display(*runs) as display:
    log.info("device cpu")
    for epoch in range(first, epochs + 1):
        for done in (15_000, 30_000, 45_000):
            display.on_progress(f"epoch {epoch}/{epochs}", done, 45_000)
            time.sleep(0.01)
            if done == 30_000 and str(epoch) in os.environ.get("PAUSES", ""):
                pause()
        if epoch == 2:
            log.warning("something was left out")
        row = {"epoch": epoch, "step": 90 * epoch, "lr": 0.1, "train_loss": 2 / epoch}
        row |= {"train_accuracy": 1 - 0.5 / epoch, "train_seconds": 4.0, "images_per_second": 11250.0, "seconds": 4.5}
        if on_valid:
            row |= {"valid_loss": 2.2 / epoch, "valid_accuracy": 0.9 - 0.5 / epoch}
        display.on_epoch(row)
        if os.environ.get("STAGES") == str(epoch):  # others follow: each begins a view of its own
            log.info("evaluate: 90%%")
            for stage in ("predict", "hash"):
                for done in (1, 2, 3):
                    display.on_progress(stage, done, 3)
                    time.sleep(0.3)
                log.info("%s is done", stage)
            for again in range(1, 3):
                display.on_progress(f"epoch {again}/2", 1, 2)
                time.sleep(0.3)
                display.on_epoch(row | {"epoch": again, "train_loss": 7.0})
            log.info("refit is done")
        if os.environ.get("STOP") == str(epoch):
            display.on_progress(f"epoch {epoch + 1}/{epochs}", 15_000, 45_000)
            raise SystemExit("stopped")
print("result")
"""


def environment(**changes):
    ours = ("CI", "FORCE_COLOR", "NO_COLOR", "JPY_PARENT_PID", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"} | changes


def in_a_pipe(*words, **changes):
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    return subprocess.run(command, capture_output=True, env=environment(**changes), timeout=30)


class Terminal:
    """A pseudo-terminal with a command in it, and the screen that a person would see (pyte's)."""

    def __init__(self, width, height, *words, **changes):
        pyte = pytest.importorskip("pyte")
        self.screen = pyte.HistoryScreen(width, height, history=1000)
        self.stream, self.raw, self.width = pyte.ByteStream(self.screen), b"", width
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.ready, ready = os.pipe()
        seen, self.seen = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, words)],
            stdin=slave, stdout=slave, stderr=slave, pass_fds=(ready, seen),
            env=environment(READY=str(ready), SEEN=str(seen), **changes),
        )  # fmt: skip
        for handle in (slave, ready, seen):
            os.close(handle)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
        for handle in (self.master, self.ready, self.seen):
            os.close(handle)

    def _read(self, until, patience=20):
        """Feed the screen until `until` can be read from, or the command ends; False if nothing comes."""
        while True:
            found, _, _ = select.select([self.master, *until], [], [], patience)
            if not found:
                return False
            if self.master in found:
                try:
                    data = os.read(self.master, 65536)
                except OSError:  # how a terminal says that nobody is left
                    return True
                if not data:
                    return True
                self.raw += data
                self.stream.feed(data)
            else:
                return True

    def look(self):
        """The screen at the next pause."""
        assert self._read([self.ready]), "the command hangs"
        os.read(self.ready, 1)
        self._read([], patience=0.05)  # the system may hand the last of it over a little later
        return self.lines()

    def go_on(self):
        os.write(self.seen, b"!")

    def end(self):
        """The screen, and what has scrolled off it, when the command has ended."""
        assert self._read([]), "the command hangs"
        self.process.wait()
        return self.lines()

    def lines(self):
        above = ["".join(line[x].data for x in range(self.width)) for line in self.screen.history.top]
        lines = [line.rstrip() for line in [*above, *self.screen.display]]
        while lines and not lines[-1]:
            lines.pop()
        return lines


def epochs_in(lines):
    """The numbers in the first column of the table."""
    return [int(line[:5]) for line in lines if re.match(r" {0,4}\d+  +\d", line) and line[4].isdigit()]


# In a file


@pytest.mark.parametrize("changes", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}], ids=["plain", "forced", "tty"])
def test_in_a_file_each_epoch_is_one_line_without_control_characters(changes):
    done = in_a_pipe(3, 1, **changes)
    assert done.stdout == b"result\n"
    assert not re.search(rb"[^\x20-\x7e\n]", done.stderr), done.stderr
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "device cpu"
    assert lines[1] == (
        "  epoch   1/3  train loss 2.0000  train  50.00%  valid  40.00%  11,250 images/s  4.5s  9.0s left"
    )
    assert [line.split()[1] for line in lines if "epoch" in line] == ["1/3", "2/3", "3/3"]
    assert lines[-1].endswith("images/s  4.5s")
    assert "warning: something was left out" in lines


def test_without_validation_the_lines_do_not_speak_of_it():
    assert b"valid" not in in_a_pipe(2, 1, VALID="0").stderr


@pytest.mark.parametrize("name", ["CI", "JPY_PARENT_PID"])
def test_ci_and_notebooks_get_lines_though_they_have_a_terminal(name):
    with Terminal(80, 24, 2, 1, **{name: "1"}) as terminal:
        lines = terminal.end()
    assert b"\x1b" not in terminal.raw
    assert sum("  epoch " in line for line in lines) == 2


def test_a_terminal_that_cannot_move_its_cursor_gets_lines():
    with Terminal(80, 24, 2, 1, TERM="dumb") as terminal:
        terminal.end()
    assert b"\x1b" not in terminal.raw


# On a terminal


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24), (40, 12), (200, 60), (24, 24)])
def test_the_live_view_fits_its_terminal(width, height):
    with Terminal(width, height, 5, 1, PAUSES="4") as terminal:
        lines = terminal.look()
        terminal.go_on()
        end = terminal.end()
    table = next(table for table in (WIDE, NARROW, LEAST) if width >= _width(table))
    heading = "  ".join(f"{name:>{size}}" for name, size, _ in table)
    assert sum(line.startswith(heading) for line in lines) == 1
    assert epochs_in(lines) == [1, 2, 3]
    assert any(line.startswith("epoch 4/5 ") and line.endswith(" 66%") for line in lines)
    assert re.search(r"images/s  \S+ left, .* in all|s left", lines[-1]) or width < 40
    assert ("┤" in "".join(lines)) == (height >= 16 and width >= 30)
    assert "warning: something was left out"[:width] in lines
    # When it is over, the table stays, once, and the progress goes.
    assert sum(line.startswith(heading) for line in end) == 1
    assert epochs_in(end) == [1, 2, 3, 4, 5][-len(end) :]
    assert not any("4/5" in line or "5/5" in line for line in end)
    assert end[-1] == "result"
    assert not terminal.screen.cursor.hidden


def test_at_80_columns_every_figure_has_its_column():
    with Terminal(80, 24, 3, 1) as terminal:
        lines = terminal.end()
    start = next(n for n, line in enumerate(lines) if line.startswith("epoch"))
    names = ["epoch", "train loss", "valid loss", "train accuracy", "valid accuracy", "images/s", "time"]
    assert re.split(r" {2,}", lines[start]) == names
    assert lines[start + 1].split() == ["1", "2.0000", "2.2000", "50.00%", "40.00%", "11,250", "4.5s"]


def test_time_left_counts_the_rest_of_the_epoch_and_of_the_run(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("snellen.cli.display.time.perf_counter", lambda: clock[0])
    display = Display()

    def told():
        return str(display._epoch_progress()[1])

    display.on_progress("epoch 1/3", 1000, 10_000)
    assert told() == "1,000/10,000 images"
    clock[0] = 110.0
    display.on_progress("epoch 1/3", 2000, 10_000)  # 100 images/s
    assert told() == "2,000/10,000 images  100 images/s  1m 20s left, 4m 40s in all"
    clock[0] = 125.0  # a slow step: the clock goes on
    assert told() == "2,000/10,000 images  100 images/s  1m 05s left, 4m 25s in all"
    display.on_progress("epoch 1/3", 10_000, 10_000)
    assert told() == "scoring and saving"
    figures = {"train_loss": 1.0, "train_accuracy": 0.5, "images_per_second": 200.0}
    display.on_epoch({"epoch": 1, **figures, "train_seconds": 50.0, "seconds": 57.0})
    display.on_progress("epoch 2/3", 1000, 10_000)  # until this epoch has a rate of its own, the last one's
    assert told() == "1,000/10,000 images  200 images/s  45s left, 1m 49s in all"


def test_without_validation_there_is_no_column_and_no_curve_of_it():
    with Terminal(80, 24, 3, 1, VALID="0") as terminal:
        lines = terminal.end()
    assert not any("valid" in line for line in lines)
    assert any("╌╌ train" in line for line in lines)


def test_a_training_of_one_epoch_has_no_curve():
    with Terminal(80, 24, 1, 1) as terminal:
        lines = terminal.end()
    assert not any("┤" in line for line in lines)


@pytest.fixture
def interrupted(tmp_path):
    """A run that was stopped after its second epoch."""
    run = start_run(tmp_path / "run", Recipe(), {"fingerprint": "x", "on": "train"})
    clock = {"train_seconds": 4.0, "images_per_second": 9000.0, "seconds": 4.5}
    figures = {"train_loss": 1.25, "train_accuracy": 0.5, "valid_loss": 1.5, "valid_accuracy": 0.25}
    save_metrics(run, [{"epoch": epoch, "step": 90 * epoch, "lr": 0.1, **figures, **clock} for epoch in (1, 2)])
    return run


def test_a_training_that_goes_on_shows_the_epochs_before(interrupted, tmp_path):
    finished = start_run(tmp_path / "other", Recipe(), {"fingerprint": "x", "on": "train"})
    save_metrics(finished, [row | {"train_loss": 9.0} for row in interrupted.metrics])
    finished.model.write_bytes(b"")
    folders = (tmp_path / "nothing", finished.folder, interrupted.folder)
    with Terminal(80, 24, 4, 3, *folders, PAUSES="3") as terminal:
        lines = terminal.look()
        terminal.go_on()
        end = terminal.end()
    assert epochs_in(lines) == [1, 2]
    assert sum("1.2500" in line for line in lines) == 2
    assert epochs_in(end) == [1, 2, 3, 4]


def test_a_training_that_goes_on_works_where_the_epochs_before_are_not_known():
    with Terminal(80, 24, 6, 3) as terminal:
        end = terminal.end()
    assert epochs_in(end) == [3, 4, 5, 6]


def test_a_stopped_training_leaves_its_table_and_the_cursor():
    with Terminal(80, 24, 9, 1, STOP="3") as terminal:
        end = terminal.end()
    assert epochs_in(end) == [1, 2, 3]
    assert end[-1] == "stopped"
    assert not any("4/9" in line for line in end)
    assert not terminal.screen.cursor.hidden


def test_stages_that_follow_each_other_remove_no_line_of_what_was_before():
    with Terminal(100, 40, 4, 1, STAGES="4") as terminal:
        lines = terminal.end()
    assert epochs_in(lines) == [1, 2, 3, 4, 1, 2]
    said = ["device cpu", "evaluate: 90%", "predict is done", "hash is done", "refit is done", "result"]
    places = [next(n for n, line in enumerate(lines) if line.startswith(text)) for text in said]
    assert places == sorted(places)
    assert sum("accuracy" in line and "epoch" in line for line in lines) == 2, "the headings of both tables"


def test_long_trainings_show_their_last_epochs():
    with Terminal(80, 24, 12, 1) as terminal:
        end = terminal.end()
    assert epochs_in(end) == [5, 6, 7, 8, 9, 10, 11, 12]


def test_redraws_do_not_follow_every_report():
    started = time.monotonic()
    with Terminal(80, 24, 30, 1) as terminal:  # 90 reports and 30 rows
        terminal.end()
    seconds = time.monotonic() - started
    assert terminal.raw.count(b"epoch  train loss") < 10 * seconds + 2


# Parts


def test_two_trainings_in_one_command_are_kept_apart(capsys):
    with Display() as display:
        for _ in range(2):
            for epoch in (1, 2):
                display.on_progress(f"epoch {epoch}/2", 10, 10)
                display.on_epoch(
                    {"epoch": epoch, "train_loss": 1.0, "train_accuracy": 0.5, "images_per_second": 1.0, "seconds": 1.0}
                )
                assert len(display.rows) == epoch
    assert capsys.readouterr().err.count("epoch   1/2") == 2


def test_reports_cost_next_to_nothing():
    display = Display()
    started = time.perf_counter()
    for done in range(10_000):
        display.on_progress("epoch 1/2", done, 45_000)
    assert time.perf_counter() - started < 0.5


def test_a_download_is_told_in_megabytes():
    display = Display()
    display.on_progress("download", 0, 0)
    display.on_progress("download", 5_000_000, 0)
    assert "download  5 MB  " in str(display._stage_progress())
    display.on_progress("download", 30_000_000, 160_000_000)
    assert re.fullmatch(r"download  30/160 MB  [\d,]+ MB/s  \ds left", str(display._stage_progress()))


def test_a_line_that_is_too_long_keeps_its_ends():
    assert _fitting(["decode", "12,000/60,000 images", "9s left"], 40) == "decode  12,000/60,000 images  9s left"
    assert _fitting(["decode", "12,000/60,000 images", "9s left"], 30) == "decode  9s left"
    assert _fitting(["decode", "9s left"], 5) == "decode  9s left"


def test_durations_are_for_people():
    shown = [duration(seconds) for seconds in (0, 8.14, 9.99, 10, 59.4, 59.6, 125, 3599.6, 6000)]
    assert shown == ["0.0s", "8.1s", "10.0s", "10s", "59s", "1m 00s", "2m 05s", "1h 00m", "1h 40m"]


def test_a_line_of_dots_has_no_gaps_and_stays_inside():
    points = [(0.0, 0.0), (0.1, 1.0), (0.2, 0.3), (1.0, 0.9)]
    dots = line_dots(points, 30, 6)
    assert dots[0] == (0, 23)
    assert all(0 <= x < 60 and 0 <= y < 24 for x, y in dots)
    for (x0, y0), (x1, y1) in pairwise(dots):
        assert abs(x1 - x0) <= 1
        assert abs(y1 - y0) <= 1
    assert set(line_dots(points, 30, 6, dashed=True)) < set(dots)


def test_a_diagonal_is_drawn_as_a_diagonal():
    lines = draw_curves([Curve("valid", "", False, [(1, 0.0), (2, 1.0)])], "share", right=2, width=15, height=4)
    drawn = [str(line).rstrip() for line in lines[1:5]]
    assert drawn == [" 100% ┤      ⡠⠊", "      │    ⡠⠊", "      │  ⡠⠊", "   0% ┤⡠⠊"]


def test_a_flat_curve_has_a_scale():
    lines = draw_curves([Curve("train", "", False, [(1, 0.5), (2, 0.5)])], "share", right=2, width=30, height=3)
    assert str(lines[1]).startswith("  60% ┤")
    assert str(lines[3]).startswith("  50% ┤")


def test_the_metrics_of_a_damaged_run_are_left_out(interrupted):
    (interrupted.folder / "metrics.jsonl").write_text("{")
    assert Display(interrupted.folder)._earlier_rows(2) == []
    (interrupted.folder / "metrics.jsonl").write_text(json.dumps({"epoch": 1}) + "\n")
    assert Display(interrupted.folder)._earlier_rows(2) == []
