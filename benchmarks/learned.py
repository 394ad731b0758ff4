"""How often "nothing learned" is right: simulated validations of noise and of good models, no training.

    python benchmarks/learned.py [--repeats 200]

A good model raises the logit of the right class by `skill`; too sure: all logits are multiplied by `sharpness`.
Prints the share judged clearly better than the class shares by `snellen.scoring.learned.judge`: with the interval of
the gain in log-loss alone, and together with the test of the order (AUC) against shuffled labels.
"""

import argparse

import numpy as np

from snellen.scoring.learned import judge

CASES = {"1:50": np.array([0.98, 0.02]), "1:1": np.array([0.5, 0.5]), "10 equal": np.full(10, 0.1)}
IMAGES = {"1:50": (50, 100, 300), "1:1": (20, 100), "10 equal": (20, 100)}
MODELS = (("noise", 0, 1), ("noise", 0, 5), ("good", 6, 1), ("good", 6, 4), ("good", 6, 20), ("fair", 4, 4))


def predicted(num: int, shares: np.ndarray, skill: float, sharpness: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (num, K) and labels (num,) of a simulated validation."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.repeat(np.arange(len(shares)), np.round(shares * num).astype(int)))
    logits = draw.normal(size=(len(labels), len(shares))) + np.log(shares)
    logits[np.arange(len(labels)), labels] += skill
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)) * sharpness)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), labels


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    print("| classes | images | model | skill | sharpness | interval alone | with the order |")
    print("|---|---|---|---|---|---|---|")
    for name, shares in CASES.items():
        for num in IMAGES[name]:
            for model, skill, sharpness in MODELS:
                found = [judge(*predicted(num, shares, skill, sharpness, seed), shares) for seed in range(repeats)]
                alone = np.mean([one.low > 0 for one in found])
                clear = np.mean([one.is_clear for one in found])
                print(f"| {name} | {num} | {model} | {skill} | {sharpness} | {alone:.1%} | {clear:.1%} |", flush=True)


if __name__ == "__main__":
    main()
