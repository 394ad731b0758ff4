"""The parts of a page that a run decides: curves, costs, recipe, and how to make it again."""

from typing import Any

import numpy as np

from snellen.charts import figures
from snellen.images.imageset import ImageSet
from snellen.prediction.opening import opened
from snellen.reports.augmented import augmentation
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe, show_value
from snellen.runs.repeat import commands, first_weights, nearest_preset
from snellen.runs.run import Run
from snellen.system.units import minutes, size
from snellen.training.optim import lr_at


def training(run: Run, images: ImageSet) -> dict[str, Any]:
    """The sections on training and augmentation."""
    recipe, rows = run.recipe, run.metrics
    steps_per_epoch = rows[0]["step"]
    total = rows[-1]["step"]
    steps = np.unique(np.linspace(0, total - 1, 600).astype(int)).tolist()
    rates = [recipe.peak_lr * lr_at(step, total, steps_per_epoch, recipe) for step in steps]
    seconds = sum(row["seconds"] for row in rows)
    train_seconds = sum(row["train_seconds"] for row in rows)
    num_images = sum(row["images_per_second"] * row["train_seconds"] for row in rows)
    costs = [
        ("in all", minutes(seconds)),
        ("an epoch", minutes(seconds / len(rows))),
        ("training speed", f"{num_images / max(train_seconds, 1e-9):,.0f} images/s"),
        ("weight updates", f"{rows[-1]['step']:,}"),
        ("parameters", f"{opened(run).num_parameters:,}"),
        ("model file", size(run.model.stat().st_size)),
        (
            "pixels of the training images",
            size(len(images.select(*run.about["on"].split("+"))) * images.stored[0].nbytes),
        ),
    ]
    if any("peak_memory_bytes" in row for row in rows):
        costs.append(("most memory in use", size(max(row.get("peak_memory_bytes", 0) for row in rows))))
    note = f"At its peak {recipe.peak_lr:g}"
    note += f", for the last layer {recipe.head_lr:g}" if recipe.head_lr else ""
    note += f", for filters under muon {recipe.muon_lr:g}" if recipe.optimizer == "muon" else ""
    return {
        "history": figures.history(rows),
        "history_note": "Train: on augmented images, while the weights still change. The validation loss here is of "
        "plain probabilities, the log-loss above of the calibrated ones that every prediction states.",
        "learning_rate": figures.learning_rate([(step + 1) / steps_per_epoch for step in steps], rates),
        "rate_note": note + ".",
        "costs": costs,
        **augmentation(run, images.select(*run.about["on"].split("+"))),
    }


def recipe(run: Run, images: ImageSet) -> dict[str, Any]:
    """The sections on the recipe and on making it again."""
    preset = nearest_preset(run.recipe)
    changed = run.recipe.differences(PRESETS[preset])
    settings = []
    for f in Recipe.__dataclass_fields__.values():
        settings.append(
            {
                "name": f.name,
                "value": show_value(getattr(run.recipe, f.name)),
                "changed": f.name in changed,
                "preset": show_value(getattr(PRESETS[preset], f.name)),
                "meaning": f.metadata["meaning"],
            }
        )
    note = "On the same machine, with as many threads and the same versions, it gives the same bits."
    if "init" in run.about:
        note += f" The first weights came from a model, {first_weights(run)}: it must still be there."
    versions = run.about.get("versions", {})
    circumstances = [("arithmetic", run.about.get("runtime", "")), *versions.items()]
    circumstances += [("images", images.fingerprint), ("trained on images", run.about["fingerprint"])]
    if run.about["fingerprint"] == images.fingerprint:
        circumstances.pop()
    differing = f"{len(changed)} of {len(settings)} settings differ from it." if changed else "Nothing was changed."
    return {
        "preset": preset,
        "recipe_note": f'The nearest named recipe is "{preset}". {differing}',
        "settings": settings,
        "commands": commands(run),
        "again_note": note,
        "circumstances": circumstances,
    }
