"""Put a trained run into the package: its weights, and its card in docs/models/.

    python benchmarks/package_model.py RUN DATA NAME --made-by "snellen train ..."

Scores are on the validation split. Temperature and the limit of strangeness are fitted on validation images too, so for
the card they are fitted on one half and measured on the other, both ways.
"""

import argparse
from pathlib import Path

import numpy as np

from snellen import ImageSet, load_model
from snellen.models.model_file import PACKAGED, save_model
from snellen.prediction import calibrate
from snellen.prediction.evaluate import describe_accuracy, evaluate
from snellen.prediction.probabilities import familiarity, features, logits
from snellen.runs.recipe import show_value
from snellen.scoring.scores import score
from snellen.system.device import choose_runtime

JPEG = "The images had passed through JPEG at quality 75 once, so this compares with no accuracy on the originals."


def halves(labels: np.ndarray, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """(fit on these, measure on those), both ways."""
    order = np.random.default_rng(seed).permutation(len(labels))
    one, other = order[: len(order) // 2], order[len(order) // 2 :]
    return [(one, other), (other, one)]


def calibration(raw: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """log-loss (nats) and calibration error, at temperature 1 and at a temperature fitted on the other half."""
    plain, fitted = [], []
    for fit, measure in halves(labels):
        temperature = calibrate.fit_temperature(raw[fit], labels[fit])
        plain.append(score(calibrate.softmax(raw[measure], 1.0), labels[measure]))
        fitted.append(score(calibrate.softmax(raw[measure], temperature), labels[measure]))
    keys = ("log_loss", "calibration_error")
    return {
        f"{when} {key}": float(np.mean([s[key] for s in scores]))
        for when, scores in (("before", plain), ("after", fitted))
        for key in keys
    }


def false_alarms(known: np.ndarray, labels: np.ndarray) -> float:
    """Share of validation images called strange, with the limit fitted on the other half."""
    rates = []
    for fit, measure in halves(labels):
        rates.append((calibrate.strangeness(known[measure], *calibrate.fit_familiar(known[fit])) > 1).mean())
    return float(np.mean(rates))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("name")
    parser.add_argument("--made-by", required=True, help="the command that trains it again")
    arguments = parser.parse_args()

    model, images = load_model(arguments.run), ImageSet.open(arguments.data)
    valid, runtime = images.select("valid"), choose_runtime()
    by_views = {views: evaluate(model, images, views=views) for views in (1, 2, 6)}
    shown = by_views[model.about["recipe"]["views"]]
    raw = logits(model, valid, runtime)
    found = calibration(raw, valid.labels)
    known = familiarity(model, features(model, valid, runtime))
    alarms = false_alarms(known, valid.labels)
    written = ("format", "snellen", "model", "classes", "size", "normalisation")
    about = {k: v for k, v in model.about.items() if k not in written}
    evaluation = {k: v for k, v in shown.items() if k != "classes"}
    path = save_model(PACKAGED / f"{arguments.name}.safetensors", model, **about, evaluation=evaluation, note=JPEG)

    table = "\n".join(
        f"| {v} | {100 * s['accuracy']:.2f}% | {100 * s['low']:.2f} to {100 * s['high']:.2f}% |"
        for v, s in by_views.items()
    )
    classes = "\n".join(f"| {n} | {100 * s['accuracy']:.1f}% |" for n, s in shown["classes"].items())
    epochs = show_value(model.about["recipe"]["epochs"])
    card = f"""# {arguments.name}

`{model.name}`, {model.num_parameters:,} parameters, for 32x32 images of CIFAR-10's ten classes;
{path.stat().st_size / 1e6:.1f} MB.

Use: `snellen predict {arguments.name} photo.jpg` or `snellen.load_model("{arguments.name}")`.

## Made by

```
{arguments.made_by}
```

{epochs} epochs on {images.counts["train"]:,} training images of the Kaggle competition (CIFAR-10: Krizhevsky, "Learning
Multiple Layers of Features from Tiny Images", 2009). {JPEG}
Every setting is in the file: `snellen show {arguments.name}`.

## Accuracy

On the {shown["images"]:,} validation images, on which the recipes of this package were compared too; 95% intervals
(Wilson).

| views | accuracy | interval |
|---|---|---|
{table}

By class, with {model.about["recipe"]["views"]} views:

| class | accuracy |
|---|---|
{classes}

## Calibration

Fitted on one half of the validation images, measured on the other, both ways; mean of the two.

| | log-loss (nats) | expected calibration error |
|---|---|---|
| before temperature scaling | {found["before log_loss"]:.4f} | {100 * found["before calibration_error"]:.2f}% |
| after | {found["after log_loss"]:.4f} | {100 * found["after calibration_error"]:.2f}% |

The temperature in the file is {float(model.temperature):.3f}.

## What it does not know

A picture unlike the training images gets a warning (strangeness above 1). {100 * alarms:.1f}% of validation images
get it too, with the limit fitted on their other half. How many strange pictures it finds: docs/lab-notes.md. It has
seen nothing but photographs of ten kinds of things, 32x32 pixels each; a mountain is none of them.
"""
    cards = Path(__file__).parent.parent / "docs" / "models"
    cards.mkdir(exist_ok=True)
    (cards / f"{arguments.name}.md").write_text(card)
    print(describe_accuracy(shown), found, alarms, path, sep="\n")


if __name__ == "__main__":
    main()
