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

import pytest

from snellen.cli.display import Display
from snellen.runs.recipe import Recipe
from snellen.training.record import save_metrics, start_run

# A command that trains, as the verbs report it; when it pauses it waits for the test to look.
PROGRAM = """
import logging, os, sys, time
from snellen.cli.display import Display
words = sys.argv[1:]
epochs, first, runs = int(words[0]), int(words[1]), words[2:]
on_valid = os.environ.get("VALID", "1") == "1"
log = logging.getLogger("snellen")

def pause():
    if "SEEN" in os.environ:
        os.read(int(os.environ["SEEN"]), 1)

with Display(*runs) as display:
    log.info("device cpu")
    for epoch in range(first, epochs + 1):
        for done in (10_000, 20_000, 30_000, 45_000):
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
        if name := os.environ.get("METRIC"):
            row |= {f"valid_{name}": None if epoch == 1 else 1 / epoch}
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

    def __init__(self, width, height, *words, program=PROGRAM, **changes):
        pyte = pytest.importorskip("pyte")
        self.screen = pyte.HistoryScreen(width, height, history=1000)
        self.stream, self.raw, self.width = pyte.ByteStream(self.screen), b"", width
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        seen, self.seen = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, words)],
            stdin=slave, stdout=slave, stderr=slave, pass_fds=(seen,),
            env=environment(SEEN=str(seen), **changes),
        )  # fmt: skip
        for handle in (slave, seen):
            os.close(handle)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
        for handle in (self.master, self.seen):
            os.close(handle)

    def _read(self):
        """Feed the screen with what comes next; False when the command has ended."""
        found, _, _ = select.select([self.master], [], [], 20)
        assert found, "the command hangs"
        try:
            data = os.read(self.master, 65536)
        except OSError:  # how a terminal reports that nobody is left
            data = b""
        self.raw += data
        self.stream.feed(data)
        return bool(data)

    def look(self, *texts):
        """Return the screen as soon as it shows all of these texts."""
        end = time.monotonic() + 20
        while not all(text in "\n".join(self.lines()) for text in texts):
            assert self._read(), f"{texts} never come: {self.lines()}"
            assert time.monotonic() < end, f"{texts} never come: {self.lines()}"
        return self.lines()

    def proceed(self):
        """End the pause of the command."""
        os.write(self.seen, b"!")

    def end(self):
        """Return the screen, and what has scrolled off it, when the command has ended."""
        while self._read():
            pass
        self.process.wait()
        return self.lines()

    def lines(self):
        above = ["".join(line[x].data for x in range(self.width)) for line in self.screen.history.top]
        lines = [line.rstrip() for line in [*above, *self.screen.display]]
        while lines and not lines[-1]:
            lines.pop()
        return lines


def epochs_in(lines):
    """Return the numbers in the first column of the table."""
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
        "  epoch   1/3  train loss 2.0000  train  50.00%  valid  40.00%  11,250 images/s  4.5 s  9.0 s left"
    )
    assert [line.split()[1] for line in lines if "epoch" in line] == ["1/3", "2/3", "3/3"]
    assert lines[-1].endswith("images/s  4.5 s")
    assert "warning: something was left out" in lines


def test_without_validation_the_lines_do_not_speak_of_it():
    assert b"valid" not in in_a_pipe(2, 1, VALID="0").stderr


def test_in_a_file_the_metric_stands_beside_the_accuracy():
    lines = in_a_pipe(3, 1, METRIC="auc").stderr.decode().splitlines()
    assert "valid  40.00%  auc undefined  11,250 images/s" in lines[1]
    assert "valid  65.00%  auc 0.5000  11,250 images/s" in next(line for line in lines if "epoch   2" in line)
    assert b"log_loss" not in in_a_pipe(2, 1, METRIC="log_loss").stderr, "it is the loss already shown"


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
        lines = terminal.look("epoch 4/5", "30,000 of 45,000" if width >= 50 else "left")
        assert not terminal.screen.history.top, "everything is on the screen"
        terminal.proceed()
        end = terminal.end()
    assert epochs_in(lines) == [1, 2, 3]
    assert "warning: something was left out"[:width] in lines
    assert [line.startswith("all epochs ") and line.endswith(" left") for line in lines][-1]
    assert bool(re.search(r" [\d,]+ images/s ", lines[-2])) == (width >= 70)
    # At the end the table stays, once, and the bars go.
    assert sum(line.split()[:1] == ["epoch"] for line in end) == 1
    assert epochs_in(end) == [1, 2, 3, 4, 5][-max(1, min(8, height - 8)) :]
    assert not any("4/5" in line or "5/5" in line or "all epochs" in line for line in end)
    assert end[-1] == "result"
    assert not terminal.screen.cursor.hidden


def test_at_80_columns_every_figure_has_its_column():
    with Terminal(80, 24, 3, 1) as terminal:
        lines = terminal.end()
    start = next(n for n, line in enumerate(lines) if line.startswith("epoch"))
    assert re.split(r" {2,}", lines[start]) == [
        "epoch", "train loss", "valid loss", "train accuracy", "valid accuracy", "images/s", "time"
    ]  # fmt: skip
    assert lines[start + 1].split() == ["1", "2.0000", "2.2000", "50.00%", "40.00%", "11,250", "4.5", "s"]


@pytest.mark.parametrize(("metric", "best"), [("auc", 2), ("accuracy", 4)])
def test_the_best_epoch_by_the_metric_is_bold(metric, best):
    """The accuracy rises, the other metric falls from its first defined value."""
    with Terminal(80, 24, 4, 1, PAUSES="4", METRIC=metric if metric != "accuracy" else "") as terminal:
        terminal.look("epoch 4/4", "30,000 of 45,000")
        terminal.proceed()
        lines = terminal.end()
    bold = [line for line in range(terminal.screen.lines) if terminal.screen.buffer[line][4].bold]
    assert [int(terminal.screen.display[line][:5]) for line in bold] == [best]
    heading = next(line for line in lines if line.startswith("epoch"))
    assert ("valid auc" in heading) == (metric == "auc")
    assert "valid accuracy" in heading
    assert any(line.startswith("valid auc      ") for line in lines) == (metric == "auc")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12)])
def test_the_live_view_with_a_metric_fits_its_terminal(width, height):
    with Terminal(width, height, 5, 1, PAUSES="4", METRIC="auc") as terminal:
        lines = terminal.look("epoch 4/5", "left")
        assert not terminal.screen.history.top, "everything is on the screen"
        assert any("valid auc" in line for line in lines)
        terminal.proceed()
        assert epochs_in(terminal.end())[-1] == 5


def test_the_bars_show_what_is_left_of_the_epoch_and_of_the_run():
    with Terminal(80, 24, 4, 3, PAUSES="3") as terminal:
        lines = terminal.look("30,000 of 45,000")
    epoch, run = (line for line in lines if line.endswith(" left"))
    assert epoch.startswith("epoch 3/4 ")
    assert run.startswith("all epochs ")
    assert re.search(r"30,000 of 45,000 +[\d,]+ images/s 0:00:0\d left", epoch)
    done, ahead = epoch.count("━") + epoch.count("╸"), run.count("━") + run.count("╸")
    assert done == pytest.approx(ahead, abs=1), "one bar below the other"
    filled = {}
    for line in range(terminal.screen.lines):
        cells = [terminal.screen.buffer[line][x] for x in range(80)]
        bar = [cell.fg for cell in cells if cell.data in "━╸╺"]
        if bar:
            filled[terminal.screen.display[line].split()[0]] = sum(fg == bar[0] for fg in bar) / len(bar)
    assert filled["epoch"] == pytest.approx(2 / 3, abs=0.06)
    assert filled["all"] == pytest.approx(2 / 3, abs=0.06)  # two epochs were done before, and two thirds of the third


def test_without_validation_there_is_no_column_and_no_curve_of_it():
    with Terminal(80, 24, 3, 1, VALID="0") as terminal:
        lines = terminal.end()
    assert not any("valid" in line for line in lines)
    assert any(line.startswith("train accuracy ▁") for line in lines)


def test_a_training_of_one_epoch_has_no_curve():
    with Terminal(80, 24, 1, 1) as terminal:
        lines = terminal.end()
    assert not any("accuracy ▁" in line or "█" in line for line in lines)


@pytest.fixture
def interrupted(tmp_path):
    """A run that was stopped after its second epoch."""
    run = start_run(tmp_path / "run", Recipe(), {"fingerprint": "x", "on": "train"})
    clock = {"train_seconds": 4.0, "images_per_second": 9000.0, "seconds": 4.5}
    figures = {"train_loss": 1.25, "train_accuracy": 0.5, "valid_loss": 1.5, "valid_accuracy": 0.25}
    save_metrics(run, [{"epoch": epoch, "step": 90 * epoch, "lr": 0.1, **figures, **clock} for epoch in (1, 2)])
    return run


def test_a_resumed_training_shows_its_earlier_epochs(interrupted, tmp_path):
    finished = start_run(tmp_path / "other", Recipe(), {"fingerprint": "x", "on": "train"})
    save_metrics(finished, [row | {"train_loss": 9.0} for row in interrupted.metrics])
    finished.model.write_bytes(b"")
    folders = (tmp_path / "nothing", finished.folder, interrupted.folder)
    with Terminal(80, 24, 4, 3, *folders, PAUSES="3") as terminal:
        lines = terminal.look("epoch 3/4", "30,000 of 45,000")
        terminal.proceed()
        end = terminal.end()
    assert epochs_in(lines) == [1, 2]
    assert sum("1.2500" in line for line in lines) == 2
    assert epochs_in(end) == [1, 2, 3, 4]


def test_a_resumed_training_works_if_its_earlier_epochs_are_unknown():
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
    assert sum("train accuracy" in line and "epoch" in line for line in lines) == 2, "the headings of both tables"


def test_long_trainings_show_their_last_epochs():
    with Terminal(80, 24, 12, 1) as terminal:
        end = terminal.end()
    assert epochs_in(end) == [5, 6, 7, 8, 9, 10, 11, 12]


def test_redraws_do_not_follow_every_report():
    started = time.monotonic()
    with Terminal(80, 24, 30, 1) as terminal:  # 90 reports and 30 rows
        terminal.end()
    seconds = time.monotonic() - started
    assert terminal.raw.count(b"train loss") < 10 * seconds + 2


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


DOWNLOAD = """
import os
from snellen.cli.display import Display
with Display() as display:
    for done, total in ((0, 0), (5_000_000, 0), (30_000_000, 160_000_000), (60_000_000, 160_000_000)):
        display.on_progress("download", done, total)
        os.read(int(os.environ["SEEN"]), 1)
"""


def test_a_download_is_shown_in_megabytes():
    with Terminal(80, 24, program=DOWNLOAD) as terminal:
        terminal.look("download", "0 bytes")
        terminal.proceed()
        terminal.look("5.0 MB")
        terminal.proceed()
        terminal.look("30.0 MB of 160.0 MB")
        terminal.proceed()
        (line,) = terminal.look("60.0 MB of 160.0 MB")
        assert re.search(r"[\d.]+ [kM]B/s \d:\d\d:\d\d left$", line)
        terminal.proceed()
        assert terminal.end() == []


def test_an_ascii_terminal_gets_ascii():
    with Terminal(80, 24, 3, 1, PYTHONIOENCODING="ascii", PAUSES="3") as terminal:
        terminal.look("epoch 3/3", "30,000 of 45,000")
        terminal.proceed()
        terminal.end()
    assert terminal.raw.isascii()


def test_the_metrics_of_a_damaged_run_are_left_out(interrupted):
    for text in ("{", json.dumps({"epoch": 1}) + "\n"):
        (interrupted.folder / "metrics.jsonl").write_text(text)
        with Terminal(80, 24, 4, 3, interrupted.folder) as terminal:
            assert epochs_in(terminal.end()) == [3, 4]
