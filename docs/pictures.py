"""Make the pictures of the README from a finished `snellen compete demo --out DIR`: demo.png, report.png, live.png.

python docs/pictures.py DIR

The last two are screenshots, taken with Chromium. Look at them before you commit them.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from snellen import ImageSet, Run, report
from snellen.charts.figures import BLUE, ORANGE
from snellen.prediction.predictions import Predictions

HERE = Path(__file__).parent


def main(folder: Path) -> None:
    draw_demo(folder)
    with tempfile.TemporaryDirectory() as scratch:
        screenshot(report(folder / "run", folder / "data", out=Path(scratch) / "report.html"), "report.png")
        screenshot_live(folder / "run", Path(scratch))


def draw_demo(folder: Path) -> None:
    images = ImageSet.open(folder / "data").select("test")
    guesses = Predictions.open(folder / "predictions.csv")
    rows = Run.open(folder / "run").metrics
    figure = Figure(figsize=(11, 3.9), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.9, 1))

    columns, lines, side = 10, 4, images.size[0] + 4
    sheet = np.full((lines * (side + 10), columns * side, 3), 255, dtype=np.uint8)
    for number, pixels in enumerate(images.pixels(0, columns * lines)):
        top, start = number // columns * (side + 10), number % columns * side
        sheet[top : top + side - 4, start : start + side - 4] = pixels
        label = guesses.label_of(str(images.ids[number]))
        left.text(start + side / 2 - 2, top + side + 1, label, ha="center", va="center", fontsize=7.5)
    left.imshow(sheet)
    left.set_axis_off()
    left.set_title("the first test images, with the labels of submission.csv", fontsize=10)

    epochs = [row["epoch"] for row in rows]
    for split, colour, style in (("train", BLUE, "--"), ("valid", ORANGE, "-")):
        values = [100 * row[f"{split}_accuracy"] for row in rows]
        right.plot(epochs, values, style, color=colour, marker="o", markersize=3, label=f"{split} {values[-1]:.1f}%")
    right.set(xlabel="epoch", ylabel="accuracy (%)")
    right.grid(alpha=0.3)
    right.legend()
    right.set_title("during training", fontsize=10)
    figure.savefig(HERE / "demo.png")


def screenshot_live(run: Path, scratch: Path) -> None:
    """Show what `snellen report RUN --live` makes of a run whose last two epochs are still to come."""
    unfinished, page = scratch / "run", scratch / "live.html"
    shutil.copytree(run, unfinished)
    (unfinished / "model.safetensors").unlink()
    rows = Run.open(run).metrics[:-2]
    (unfinished / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    following = subprocess.Popen([sys.executable, "-m", "snellen", "report", unfinished, "--live", "--out", page])
    while not page.exists():
        time.sleep(0.2)
    screenshot(page, "live.png")
    following.send_signal(signal.SIGINT)
    following.wait()


def screenshot(page: Path, name: str) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is not installed.")
    command = [browser, "--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1000,900"]
    subprocess.run([*command, f"--screenshot={HERE / name}", page.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
