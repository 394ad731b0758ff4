"""Images per second of training in bfloat16 and in float32, in turns in one run.

    python benchmarks/precision.py DATA [--recipe resnet20] [--batches 30] [--rounds 3]

GluonCV's cifar_resnet20_v2 under MXNet 1.9.1 (hybridized, batch 128, data in memory) was measured at 515 images/s on
two cores of the kind in the lab notes; MXNet does not install beside current numpy, so that figure is quoted.
"""

import argparse
import statistics
from pathlib import Path

from snellen.images.imageset import ImageSet
from snellen.runs.presets import PRESETS
from snellen.system.device import choose_runtime
from speed import train_rate

GLUONCV = 515  # images/s
NAMES = ("bfloat16", "float32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="resnet20")
    parser.add_argument("--batches", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    images, recipe = ImageSet.open(arguments.data).select("train"), PRESETS[arguments.recipe]
    print(choose_runtime().why)
    pairs = []
    for _ in range(arguments.rounds):
        rates = (train_rate(images, recipe.with_settings([f"precision={name}"]), arguments.batches) for name in NAMES)
        pairs.append(tuple(rates))
    ratios = sorted(low / full for low, full in pairs)
    low, full = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{recipe.model}: bfloat16 {low:.0f} images/s, float32 {full:.0f} images/s, "
        f"ratio {ratios[len(ratios) // 2]:.2f}"
    )
    if recipe.model == "cifar_resnet20_v2":
        print(f"against {GLUONCV} images/s of GluonCV (quoted): {low / GLUONCV:.2f} times")


if __name__ == "__main__":
    main()
