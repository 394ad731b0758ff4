"""Figures. matplotlib is imported only to draw."""

from pathlib import Path
from typing import Any

from saccade import files

# Okabe and Ito's colours, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"


def save_history(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw loss, accuracy and learning rate by epoch as a PNG, from the rows of metrics.jsonl."""
    from matplotlib.figure import Figure  # not pyplot: no global state, no window, nothing to close
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.4), dpi=110, layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    for axes, key, name in ((losses, "loss", "loss (nats)"), (accuracies, "accuracy", "accuracy (%)")):
        scale = 100 if key == "accuracy" else 1
        for split, colour, style in (("train", BLUE, "--"), ("valid", ORANGE, "-")):
            column = f"{split}_{key}"
            if column in rows[-1]:
                values = [scale * row[column] for row in rows]
                label = f"{split} {values[-1]:.2f}{'%' if scale == 100 else ''}"
                axes.plot(epochs, values, style, color=colour, label=label, marker="o", markersize=3)
        axes.set(xlabel="epoch", ylabel=name, xlim=(min(epochs) - 0.5, max(epochs) + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    with files.replacing(path) as file:
        figure.savefig(file, format="png")
