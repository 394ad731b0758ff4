"""The parts of a page that depend only on the run: curves, costs, settings, and how to repeat the training."""

import time
from typing import Any

import numpy as np

from snellen.charts import figures
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe, show_value
from snellen.runs.repeat import commands, first_weights, nearest_preset
from snellen.runs.run import Run, best_row, valid_value
from snellen.scoring.metrics import METRICS
from snellen.system.units import minutes, size
from snellen.training.optim import lr_at

RECENT = 5  # epochs used to estimate the time left


def heading(run: Run) -> dict[str, Any]:
    """Return the values of the title and of the line below it."""
    return {
        "title": f"{run.folder.resolve().name}: {run.recipe.model}",
        "recipe_line": f"{run.recipe.model}, {show_value(run.recipe.epochs)} epoch{'s' * (run.recipe.epochs != 1)}",
        "trained_on": run.about["on"].replace("+", " and "),
    }


def progress(run: Run) -> dict[str, Any]:
    """Return the values of the progress bar and the facts beside it, for an unfinished run."""
    rows, num_epochs, metric = run.metrics, run.recipe.num_epochs, run.metric
    facts = [("epochs", f"{len(rows)} of {num_epochs}")]
    if best := best_row(rows, metric):
        last, highest = (metric.show(valid_value(row, metric)) for row in (rows[-1], best))
        facts.append((f"valid {metric.name}", last))
        facts.append((f"best valid {metric.name}", f"{highest} in epoch {best['epoch']}"))
    if rows:
        recent = [row["seconds"] for row in rows[-RECENT:]]
        written = time.localtime((run.folder / "metrics.jsonl").stat().st_mtime)
        if len(rows) < num_epochs:
            facts.append(("time left", f"about {minutes((num_epochs - len(rows)) * sum(recent) / len(recent))}"))
        facts.append(("last epoch ended", time.strftime("%Y-%m-%d %H:%M:%S", written)))
    return {"num_done": len(rows), "num_epochs": num_epochs, "progress_facts": facts}


def training(run: Run) -> dict[str, Any]:
    """Return the values of the section on training; before the first epoch ends, there are no figures."""
    recipe, rows = run.recipe, run.metrics
    judged = {"run_metric": run.metric, "best_epoch": best_row(rows, run.metric)}
    if not rows:
        return judged | {"history": "", "learning_rate": "", "rate_note": "", "epochs": [], "costs": []}
    steps_per_epoch = rows[0]["step"]
    is_last = len(rows) == recipe.num_epochs  # the last epoch may be shorter than the first
    total = rows[-1]["step"] if is_last else recipe.total_steps(steps_per_epoch)
    steps = np.unique(np.linspace(0, total - 1, 600).astype(int)).tolist()
    rates = [recipe.peak_lr * lr_at(step, total, steps_per_epoch, recipe) for step in steps]
    seconds = sum(row["seconds"] for row in rows)
    train_seconds = sum(row["train_seconds"] for row in rows)
    num_images = sum(row["images_per_second"] * row["train_seconds"] for row in rows)
    costs = [
        ("total time", minutes(seconds)),
        ("time per epoch", minutes(seconds / len(rows))),
        ("training speed", f"{num_images / max(train_seconds, 1e-9):,.0f} images/s"),
        ("weight updates", f"{rows[-1]['step']:,}"),
    ]
    if any("peak_memory_bytes" in row for row in rows):
        costs.append(("peak memory", size(max(row.get("peak_memory_bytes", 0) for row in rows))))
    note = f"Peak: {recipe.peak_lr:g}"
    note += f"; last layer: {recipe.head_lr:g}" if recipe.head_lr else ""
    note += f"; filters under muon: {recipe.muon_lr:g}" if recipe.optimizer == "muon" else ""
    return judged | {
        "history": figures.history(rows, recipe.num_epochs, run.metric),
        "learning_rate": figures.learning_rate([(step + 1) / steps_per_epoch for step in steps], rates),
        "rate_note": note + ".",
        "epochs": rows,
        "costs": costs,
    }


def recipe(run: Run, fingerprint: str | None = None) -> dict[str, Any]:
    """Return the values of the sections on the recipe and on repeating the training.

    fingerprint: that of the images scored on the page, if there are any.
    """
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
    note = "With the same machine, number of threads and versions, the result is bit-for-bit identical."
    if run.metric.name not in METRICS:
        note += f" The metric {run.metric.name} is a Python function: train in Python, with metric={run.metric.name}."
    if "init" in run.about:
        note += f" Training started from the weights of another model, {first_weights(run)}, which must still exist."
    versions = run.about.get("versions", {})
    circumstances = [("arithmetic", run.about.get("runtime", "")), *versions.items()]
    if fingerprint not in (None, run.about["fingerprint"]):
        circumstances.append(("images of this page", fingerprint))
    circumstances.append(("training images", run.about["fingerprint"]))
    differing = (
        f"{len(changed)} of {len(settings)} settings differ from it." if changed else "All settings are the same."
    )
    return {
        "preset": preset,
        "recipe_note": f'The nearest named recipe is "{preset}". {differing}',
        "settings": settings,
        "commands": commands(run),
        "again_note": note,
        "circumstances": circumstances,
    }
