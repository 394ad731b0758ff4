"""What a person sees while a command works, on stderr: a live view on a terminal, plain lines in a file or CI."""

import logging
import math
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from saccade.errors import RunError
from saccade.run import Row, Run

REDRAWS = 5  # a second: enough for a clock of seconds, and 1% of a core at most
EPOCH = re.compile(r"epoch (\d+)/(\d+)")  # the stage that `train` reports

# (heading, width, a column of metrics.jsonl): the widest of these tables that the terminal has room for.
WIDE = (
    ("epoch", 5, "epoch"),
    ("train loss", 10, "train_loss"),
    ("valid loss", 10, "valid_loss"),
    ("train accuracy", 14, "train_accuracy"),
    ("valid accuracy", 14, "valid_accuracy"),
    ("images/s", 8, "images_per_second"),
    ("time", 6, "seconds"),
)
NARROW = (
    ("epoch", 5, "epoch"),
    ("loss", 6, "train_loss"),
    ("train", 7, "train_accuracy"),
    ("valid", 7, "valid_accuracy"),
    ("time", 6, "seconds"),
)
LEAST = (NARROW[0], NARROW[2], NARROW[3])
TRAIN, VALID = "bright_blue", "yellow"  # told apart by dashes too
CURVE_HEIGHT = 6  # lines


class Display:
    """Shows messages, progress and epochs. Its methods `on_progress` and `on_epoch` are what the verbs take.

    runs: the folders that the command trains in. A training that goes on shows the epochs it did before.
    """

    def __init__(self, *runs: str | Path) -> None:
        # Asked of the stream, not of rich: FORCE_COLOR would make a live view of a log file. A notebook's "!command"
        # has a terminal that cannot move up, and CI keeps every redraw as a line.
        plain = {"CI", "JPY_PARENT_PID"} & os.environ.keys() or os.environ.get("TERM", "") in ("", "dumb", "unknown")
        self.live = sys.stderr.isatty() and not plain
        self.console = Console(stderr=True, highlight=False, force_terminal=self.live)
        self.runs = runs
        self.rows: list[Row] = []
        self.epochs = 0  # of the training that is shown; 0 where none is known
        self._stage, self._done, self._total = "", 0, 0
        self._first = self._started = self._reported = 0.0
        self._view = Live(
            console=self.console,
            get_renderable=self._drawn,
            refresh_per_second=REDRAWS,
            transient=True,
            redirect_stdout=False,  # results may go into a file while this is a terminal
        )

    def __enter__(self) -> "Display":
        self._handler = _Handler(self)
        logger = logging.getLogger("saccade")
        logger.setLevel(logging.INFO)
        logger.addHandler(self._handler)
        logger.propagate = False
        return self

    def __exit__(self, *exception) -> None:
        logging.getLogger("saccade").removeHandler(self._handler)
        self._end()

    def on_progress(self, stage: str, done: int, total: int) -> None:
        """Images (bytes of a download) done of all; only numbers are kept here, drawing has its own pace."""
        now = time.perf_counter()
        if stage != self._stage:
            self._begin(stage)
            # The rate counts from the first report on: what came before it was not this stage's work.
            self._first, self._started = done, now
        self._done, self._total, self._reported = done, total, now
        if done >= total > 0 and not EPOCH.fullmatch(stage):
            self._end()

    def on_epoch(self, row: Row) -> None:
        """A row of the table, or a line."""
        self.rows.append(row)
        if not self._view.is_started:
            self.line(self._epoch_line(row))
        elif row["epoch"] == self.epochs:
            self._end()

    def line(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style=style), soft_wrap=True)

    def _begin(self, stage: str) -> None:
        epoch = EPOCH.fullmatch(stage)
        number = int(epoch[1]) if epoch else 0
        if not epoch or number != len(self.rows) + 1:
            self._end()
        if epoch:
            if number == 1 or not self.rows:
                self.rows = self._earlier_rows(number - 1)
            self.epochs = int(epoch[2])
        self._stage = stage
        if self.live and not self._view.is_started:
            self._view.start()

    def _end(self) -> None:
        """Take the live view away; of a training its table and curve stay."""
        training, self._stage = EPOCH.fullmatch(self._stage), ""
        if self._view.is_started:
            self._view.stop()
            if training and self.rows:
                self.console.print(Group(*self._table(), *self._curve()))
        if training and self.rows and self.rows[-1]["epoch"] == self.epochs:
            self.rows, self.epochs = [], 0

    def _earlier_rows(self, num: int) -> list[Row]:
        """What the interrupted run among `self.runs` wrote of its first `num` epochs."""
        for folder in self.runs if num else ():
            try:
                run = Run.open(folder)
                if not run.finished and len(run.metrics) >= num:
                    return run.metrics[:num]
            except RunError:
                continue
        return []

    def _rate(self) -> float:
        """Images a second in this stage; 0 where it is not known yet."""
        if self._done > self._first and self._reported > self._started:
            return (self._done - self._first) / (self._reported - self._started)
        return self.rows[-1]["images_per_second"] if self.rows else 0.0

    def _left(self) -> tuple[float, float]:
        """Seconds that this stage, and the whole training, still take at this rate."""
        rate = self._rate()
        stage = max(0.0, (self._total - self._done) / rate - (time.perf_counter() - self._reported))
        scoring = self.rows[-1]["seconds"] - self.rows[-1]["train_seconds"] if self.rows else 0.0
        epochs_left = self.epochs - len(self.rows) - 1
        return stage, stage + scoring + epochs_left * (self._total / rate + scoring)

    def _epoch_line(self, row: Row) -> str:
        total = f"/{self.epochs}" if self.epochs else ""
        line = f"  epoch {row['epoch']:>3}{total}  train loss {row['train_loss']:.4f}"
        line += f"  train {_cell('train_accuracy', row):>7}"
        if "valid_accuracy" in row:
            line += f"  valid {_cell('valid_accuracy', row):>7}"
        line += f"  {_cell('images_per_second', row)} images/s  {duration(row['seconds'])}"
        if row["epoch"] < self.epochs:
            line += f"  {duration((self.epochs - row['epoch']) * row['seconds'])} left"
        return line

    # What the live view draws, in a thread of its own: it reads the numbers above and changes none.

    def _drawn(self) -> RenderableType:
        if EPOCH.fullmatch(self._stage):
            return Group(*self._table(), *self._curve(), *self._epoch_progress())
        return self._stage_progress()

    def _stage_progress(self) -> Text:
        unit, scale = ("MB", 10**6) if self._stage == "download" else ("images", 1)
        parts = [self._stage, f"{self._done / scale:,.0f}"]
        if self._total:
            parts[-1] += f"/{self._total / scale:,.0f}"
        parts[-1] += f" {unit}"
        if rate := self._rate():
            parts.append(f"{rate / scale:,.0f} {unit}/s")
            if self._total:
                parts.append(f"{_countdown(self._left()[0])} left")
        return Text(_fitting(parts, self.console.width), no_wrap=True, overflow="ellipsis")

    def _epoch_progress(self) -> list[Text]:
        share = self._done / max(1, self._total)
        width = self.console.width - len(self._stage) - 8
        filled = round(share * width)
        full, empty = ("#", "-") if self._is_ascii else ("━", "─")
        bar = Text.assemble(f"{self._stage} ", (full * filled, "green"), (empty * (width - filled), "bright_black"))
        bar.append(f"{100 * math.floor(100 * share) / 100:5.0f}%")
        if self._done >= self._total:
            parts = ["scoring and saving"]
        elif rate := self._rate():
            epoch, run = self._left()
            parts = [f"{rate:,.0f} images/s", f"{_countdown(epoch)} left, {_countdown(run)} in all"]
            if self.console.width > 60:
                parts = [f"{self._done:,}/{self._total:,} images", *parts]
        else:
            parts = [f"{self._done:,}/{self._total:,} images"]
        return [bar, Text(_fitting(parts, self.console.width), no_wrap=True, overflow="ellipsis")]

    def _table(self) -> list[Text]:
        """The heading and the last epochs, with the best one in bold."""
        rows = self.rows[-max(1, min(8, self.console.height - CURVE_HEIGHT - 6)) :]
        if not rows:
            return []
        known = [[column for column in table if column[2] in rows[-1]] for table in (WIDE, NARROW, LEAST)]
        columns = next((table for table in known if _width(table) <= self.console.width), known[-1])
        lines = [Text("  ".join(f"{heading:>{width}}" for heading, width, _ in columns), "bright_black", no_wrap=True)]
        best = max(self.rows, key=lambda row: row.get("valid_accuracy", 0.0))
        for row in rows:
            style = "bold" if row is best and "valid_accuracy" in row else ""
            cells = (f"{_cell(name, row):>{width}}" for _, width, name in columns)
            lines.append(Text("  ".join(cells), style, no_wrap=True))
        return lines

    def _curve(self) -> list[Text]:
        """Accuracy by epoch in braille dots, or nothing where there is no room or no line to draw."""
        width = min(self.console.width, 100) - 7
        if len(self.rows) < 2 or width < 20 or self.console.height < CURVE_HEIGHT + 10 or self._is_ascii:
            return []
        curves = [("train", TRAIN, True), ("valid", VALID, False)]
        curves = [curve for curve in curves if f"{curve[0]}_accuracy" in self.rows[-1]]
        values = [[row[f"{name}_accuracy"] for row in self.rows] for name, _, _ in curves]
        low, high = math.floor(10 * min(map(min, values))) / 10, math.ceil(10 * max(map(max, values))) / 10
        high = max(high, low + 0.1)
        dots: dict[tuple[int, int], str] = {}
        for (_, colour, dashed), points in zip(curves, values, strict=True):
            heights = [(value - low) / (high - low) for value in points]
            dots |= dict.fromkeys(line_dots(heights, self.epochs, width, CURVE_HEIGHT, dashed=dashed), colour)
        lines = []
        for y in range(CURVE_HEIGHT):
            label = f"{100 * high:4.0f}%" if y == 0 else f"{100 * low:4.0f}%" if y == CURVE_HEIGHT - 1 else " " * 5
            lines.append(Text.assemble(f"{label} ┤" if label.strip() else f"{label} │", *_braille(dots, width, y)))
        legend = Text.assemble("accuracy", *((f"  {'╌╌' if dashed else '──'} {n}", c) for n, c, dashed in curves))
        space = width - 1 - len(legend) - len(str(self.epochs))
        ends = (" " * 7 + "1" + " " * (space // 2), legend, " " * (space - space // 2) + str(self.epochs))
        return [Text(), *lines, Text.assemble(*ends), Text()]

    @property
    def _is_ascii(self) -> bool:
        return not self.console.encoding.lower().startswith("utf")


def line_dots(
    heights: Sequence[float], num: int, width: int, lines: int, *, dashed: bool = False
) -> list[tuple[int, int]]:
    """The dots (x, y) of a line through points at equal distances, y downwards.

    heights: from 0, the lowest dot, to 1. num: points that fill the width; more may come. A character has 2 by 4 dots.
    """
    right, bottom = 2 * width - 1, 4 * lines - 1
    points = [(right * i / max(1, num - 1), bottom * (1 - height)) for i, height in enumerate(heights)]
    dots = []
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        steps = max(1, math.ceil(x1 - x0), math.ceil(abs(y1 - y0)))
        for i in range(steps + 1):
            x, y = round(x0 + (x1 - x0) * i / steps), round(y0 + (y1 - y0) * i / steps)
            if not dashed or x % 6 < 3:
                dots.append((x, y))
    return dots


def _braille(dots: dict[tuple[int, int], str], width: int, line: int) -> list[tuple[str, str]]:
    """One line of characters, each with its colour. Unicode 2800 + one bit for each of its dots."""
    bits = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
    cells = []
    for column in range(width):
        character, colour = 0, ""
        for y in range(4):
            for x in range(2):
                if found := dots.get((2 * column + x, 4 * line + y)):
                    character |= bits[y][x]
                    colour = found
        cells.append((chr(0x2800 + character) if character else " ", colour))
    return cells


class _Handler(logging.Handler):
    """Messages of the verbs, warnings marked as such."""

    def __init__(self, display: Display):
        super().__init__()
        self.display = display

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.display.line(f"warning: {record.getMessage()}", style="yellow")
        else:
            self.display.line(record.getMessage())


def _cell(name: str, row: Row) -> str:
    value = row[name]
    if name.endswith("accuracy"):
        return f"{100 * value:.2f}%"
    if name.endswith("loss"):
        return f"{value:.4f}" if value < 10 else f"{value:.4g}"
    return {"seconds": duration, "images_per_second": "{:,.0f}".format}.get(name, str)(value)


def _width(columns: Sequence[tuple[str, int, str]]) -> int:
    return sum(width for _, width, _ in columns) + 2 * (len(columns) - 1)


def _fitting(parts: Sequence[str], width: int) -> str:
    """The parts in a line; where it is too narrow the second ones go first: what is worked on and the time stay."""
    parts = list(parts)
    while len("  ".join(parts)) > width and len(parts) > 2:
        del parts[1]
    return "  ".join(parts)


def _countdown(seconds: float) -> str:
    return duration(seconds) if seconds >= 10 else f"{seconds:.0f}s"


def duration(seconds: float) -> str:
    """For people: 8.1s, 2m 05s, 1h 40m."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m {whole % 60:02}s" if whole < 3600 else f"{whole // 3600}h {whole % 3600 // 60:02}m"
