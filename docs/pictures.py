"""Draws the picture at the top of the README from a finished `snellen compete demo --out DIR`.

python docs/pictures.py DIR
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from snellen import ImageSet, Run
from snellen.charts.figures import BLUE, ORANGE
from snellen.prediction.predictions import Predictions


def main(folder: Path) -> None:
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
    left.set_title("the first test images, as submission.csv has them", fontsize=10)

    epochs = [row["epoch"] for row in rows]
    for split, colour, style in (("train", BLUE, "--"), ("valid", ORANGE, "-")):
        values = [100 * row[f"{split}_accuracy"] for row in rows]
        right.plot(epochs, values, style, color=colour, marker="o", markersize=3, label=f"{split} {values[-1]:.1f}%")
    right.set(xlabel="epoch", ylabel="accuracy (%)")
    right.grid(alpha=0.3)
    right.legend()
    right.set_title("while training", fontsize=10)
    figure.savefig(Path(__file__).with_name("demo.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
