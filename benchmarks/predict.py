"""Seconds to classify a Kaggle-sized test set, and whether the fast way says what the plain way says.

    python benchmarks/predict.py MODEL DATA [--images 300000] [--views 1 2 6] [--sample 5000]

MODEL is a run, a model file or the name of a packaged model, DATA what `snellen prepare` made; its images are taken
over and over until there are enough. The reference, in the same run: the same network in float32, one batch of 256
after another, on a sample of the images. Prints the ratio of the rates and the share of images with the same label.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from snellen import ImageSet, load_model
from snellen.prediction.probabilities import logits, mean_logits
from snellen.system.device import choose_runtime


def plain_logits(model, pixels: np.ndarray, views: int) -> np.ndarray:
    """float32 (N, classes), without any of our choices: float32, contiguous, batches of 256."""
    found = []
    model.to(memory_format=torch.contiguous_format).eval()
    with torch.no_grad():
        for start in range(0, len(pixels), 256):
            x = torch.from_numpy(pixels[start : start + 256]).permute(0, 3, 1, 2).float().contiguous() / 255
            found.append(mean_logits(model, x, views).numpy())
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=300_000)
    parser.add_argument("--views", type=int, nargs="+", default=[1, 2, 6], choices=[1, 2, 6])
    parser.add_argument("--sample", type=int, default=5000)
    arguments = parser.parse_args()

    runtime = choose_runtime()
    model = load_model(arguments.model)
    stored = ImageSet.open(arguments.data).pixels()
    pixels = np.concatenate([stored] * -(-arguments.images // len(stored)))[: arguments.images]
    print(f"{runtime.why}; torch {torch.__version__}")
    for views in arguments.views:
        started = time.perf_counter()
        fast = logits(model, pixels, runtime, views=views)
        seconds = time.perf_counter() - started
        sample = pixels[: arguments.sample]
        started = time.perf_counter()
        plain = plain_logits(load_model(arguments.model), sample, views)
        plain_rate = len(sample) / (time.perf_counter() - started)
        rate = len(pixels) / seconds
        same = (fast[: len(sample)].argmax(axis=1) == plain.argmax(axis=1)).mean()
        print(
            f"{views} views: {len(pixels):,} images in {seconds:.1f} s, {rate:,.0f} images/s; in float32 "
            f"{plain_rate:,.0f}, ratio {rate / plain_rate:.2f}; same label for {100 * same:.2f}% of {len(sample):,}",
            flush=True,
        )


if __name__ == "__main__":
    main()
