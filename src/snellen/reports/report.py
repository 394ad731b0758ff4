"""Run -> one HTML page: how good the model is, where it fails, what it was made with, how to make it again."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snellen.charts import figures, pages
from snellen.errors import RunError
from snellen.images.folds import as_trained, seen, warning_of
from snellen.images.imageset import ImageSet
from snellen.prediction.evaluate import labelled, score, wilson_interval
from snellen.prediction.opening import opened
from snellen.prediction.predict import predict
from snellen.reports.cards import Card, cards
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe, show_value
from snellen.runs.repeat import commands, first_weights, nearest_preset
from snellen.runs.run import Run
from snellen.scoring.confusion import bins, class_rows, confusion_table, shades, worst_pairs
from snellen.scoring.label_errors import label_errors
from snellen.system import files
from snellen.system.progress import Progress
from snellen.system.units import minutes, percent, size
from snellen.training.loader import Batches
from snellen.training.optim import lr_at

log = logging.getLogger("snellen")

MOST_CARDS = 24  # pictures of a kind
MOST_CLASSES = 20  # in a confusion matrix that can be read


def report(
    run: Run | str | Path,
    images: ImageSet | str | Path,
    *,
    out: str | Path = "report.html",
    split: str = "valid",
    views: int | None = None,
    device: str | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Write one self-contained HTML page about a finished run, scored on the labelled images of `split`.

    Its scores are those of `evaluate`: they come out of the same function. Equal runs, images and machines give equal
    bytes. Raises RunError for an unfinished run, DataError where the split has no labels or the model does not fit.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    images = as_trained(images if isinstance(images, ImageSet) else ImageSet.open(images), run.about)
    out = Path(out)
    files.check_target(out, pages.STARTS[".html"], "a page")
    chosen = labelled(images, split)
    run.check_finished()
    if not run.metrics:
        raise RunError(
            "the run has no figures of its epochs.",
            where=str(run.folder / "metrics.jsonl"),
            expected="a line for each epoch",
            do="put back a copy of the file, or train again into another folder",
        )
    found = predict(run, images, split=split, views=views, device=device, on_progress=on_progress).probabilities
    text = pages.render("report.html", **_values(run, images, chosen, found, split))
    files.write_text(out, text)
    log.info("report: %s, %s", out, size(out.stat().st_size))
    return out


def _values(run: Run, images: ImageSet, chosen: ImageSet, found: np.ndarray, split: str) -> dict[str, Any]:
    """What the page's template takes."""
    labels, names = chosen.labels, images.classes
    guesses = found.argmax(axis=1)
    confidence = found.max(axis=1)
    table = confusion_table(labels, guesses, len(names))
    classes = class_rows(table, names)
    many = len(names) > MOST_CLASSES
    if many:
        classes.sort(key=lambda row: row.accuracy)

    wrong = np.flatnonzero(guesses != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    order = np.argsort(-found, axis=1, kind="stable")[:, :2]
    top = np.take_along_axis(found, order, axis=1)
    doubtful = np.argsort(top[:, 0] - top[:, 1], kind="stable")[:MOST_CARDS]
    suspects = label_errors(found, labels)

    def show(index: np.ndarray, word: str, seen: np.ndarray) -> list[Card]:
        index, seen = index[:MOST_CARDS], seen[:MOST_CARDS]
        said = [f"{word} {names[k]}, {percent(found[i, k], 1)}" for i, k in zip(index, seen, strict=True)]
        return cards(chosen, index, said)

    both = [
        f"{names[a]} {percent(p, 1)} or {names[b]} {percent(q, 1)}"
        for (a, b), (p, q) in zip(order[doubtful], top[doubtful], strict=True)
    ]
    rows = run.metrics
    if warning := warning_of(run.about, images, split):
        log.warning("%s", warning)
    return {
        "title": f"{run.folder.resolve().name}: {run.recipe.model}",
        "recipe_line": f"{run.recipe.model}, {show_value(run.recipe.epochs)} epochs",
        "trained_on": run.about["on"].replace("+", " and "),
        "images": str(images),
        "scores": score(found, labels),
        "split": split,
        "notices": [warning] if warning else [],
        "headline_facts": [("trained in", minutes(sum(row["seconds"] for row in rows)))],
        "names": names,
        "interval": wilson_interval,
        "classes": classes[:MOST_CLASSES],
        "more_classes": classes[MOST_CLASSES:],
        "matrix": None if many else table.tolist(),
        "shades": None if many else shades(table).tolist(),
        "pairs": worst_pairs(table, names),
        "reliability": figures.reliability(*bins(confidence, guesses == labels)),
        "num_mistakes": len(wrong),
        "mistakes": show(wrong, "taken for", guesses[wrong]),
        "doubtful": cards(chosen, doubtful, both),
        "num_suspects": len(suspects),
        "suspects": show(suspects.index, "looks like", suspects.suggested),
        "basis": f"The model did not train on these {len(chosen):,} {split} images."
        if seen(run.about, images, split) != "yes"
        else f"The model trained on these {split} images, so it hardly contradicts their labels.",
        **_training(run, images),
        **_recipe(run, images),
    }


def _training(run: Run, images: ImageSet) -> dict[str, Any]:
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
        **_augmentation(run, images.select(*run.about["on"].split("+"))),
    }


def _augmentation(run: Run, images: ImageSet, num_images: int = 5, num_epochs: int = 8) -> dict[str, Any]:
    """A few training images, each as it is and as the loader hands it out in several epochs."""
    recipe = run.recipe
    off = {"flip": "off", "crop_pad": 0, "crop_area": 1.0, "cutout": 0, "mixup": 0.0, "cutmix": 0.0}
    if all(getattr(recipe, name) == value for name, value in off.items()):
        return {"variants": [], "augmentation_note": ""}
    strips = []
    mixes = bool(recipe.mixup or recipe.cutmix)
    some = np.linspace(0, len(images) - 1, num_images).astype(int)
    for index in some:
        one = images.take([index])
        batches = Batches(one, recipe, torch.device("cpu"))
        views = [_pixels(x) for epoch in range(num_epochs) for x, _ in batches.epoch(epoch)]
        shown = [one.pixels()[0], *(view[0] for view in views)]
        alts = [f"image {one.ids[0]} as it is", *(f"in epoch {epoch + 1}" for epoch in range(num_epochs))]
        strips.append({"what": f"image {one.ids[0]}", "pictures": [pages.picture(p) for p in shown], "alts": alts})
    note = "Left the image as it is, then as the network meets it in one epoch after another."
    if mixes:
        several = images.take(np.linspace(0, len(images) - 1, min(num_epochs + 1, len(images))).astype(int))
        mixed = next(iter(Batches(several, recipe, torch.device("cpu")).epoch(0)))[0]
        shown = list(_pixels(mixed))
        alts = [f"mixed image {place + 1}" for place in range(len(shown))]
        strips.append({"what": "a batch, mixed", "pictures": [pages.picture(p) for p in shown], "alts": alts})
        note += " In the last row a batch whose images are mixed with each other."
    return {"variants": strips, "augmentation_note": note}


def _pixels(x: torch.Tensor) -> np.ndarray:
    """float (B, 3, H, W) in [0, 1] as uint8 (B, H, W, 3)."""
    return (x.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def _recipe(run: Run, images: ImageSet) -> dict[str, Any]:
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
