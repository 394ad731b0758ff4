"""What weighing rare classes more in the loss does: `class_power` 0, 0.5 and 1 on unequal classes of real images.

    python benchmarks/class_power.py DATA [--ratios 10 50] [--most 1000] [--seeds 3] [--epochs 15]

DATA, the drawn sets and the hold-out are those of split_bias.py. Printed are mean and standard deviation over the
seeds, on the hold-out (same shares of the classes as in training), with the temperature fitted on validation.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from snellen.images.imageset import ImageSet
from snellen.images.splits import choose_valid
from snellen.runs.presets import PRESETS
from snellen.scoring.metrics import METRICS
from snellen.scoring.scores import calibration_error
from split_bias import trained_scores, unequal, with_splits

POWERS = (0.0, 0.5, 1.0)
METRICS_SHOWN = ("f1_macro", "balanced_accuracy", "accuracy", "mcc", "auc", "log_loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--ratios", type=float, nargs="+", default=[10, 50])
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=15)
    arguments = parser.parse_args()
    images = ImageSet.open(arguments.data)
    for ratio in arguments.ratios:
        values: dict[float, list[list[float]]] = {power: [] for power in POWERS}
        for seed in range(arguments.seeds):
            drawn, holdout = unequal(images, ratio, arguments.most, seed)
            names = [drawn.classes[label] for label in drawn.labels.tolist()]
            valid = choose_valid(drawn.ids.tolist(), names, 0.1, seed)
            split = with_splits(drawn, np.where(np.isin(drawn.ids, list(valid)), "valid", "train"))
            for power in POWERS:
                recipe = replace(PRESETS["fast"].lasting(arguments.epochs), seed=seed, class_power=power)
                _, (labels, probabilities) = trained_scores(split, holdout, recipe)
                decided = probabilities.argmax(axis=1)
                row = [METRICS[name].value(labels, probabilities, decided) for name in METRICS_SHOWN]
                values[power].append([*row, calibration_error(probabilities, labels)])
                print(f"1:{ratio:g}, seed {seed}, class_power {power}: {np.round(values[power][-1], 4)}", flush=True)
        print(f"1:{ratio:g}      " + "".join(f"{name:>20}" for name in (*METRICS_SHOWN, "calibration_error")))
        for power, rows in values.items():
            means, stds = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) if len(rows) > 1 else np.zeros(7)
            print(
                f"power {power:3} " + "".join(f"{f'{m:.4f} +- {s:.4f}':>20}" for m, s in zip(means, stds, strict=True))
            )


if __name__ == "__main__":
    main()
