"""Repeating a run: the nearest named recipe, and the command lines."""

import shlex

from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe, show_value
from snellen.runs.run import Run
from snellen.scoring.metrics import METRICS

ACCURACY = METRICS["accuracy"]


def nearest_preset(recipe: Recipe) -> str:
    """Return the name of the preset with the fewest different settings."""
    return min(PRESETS, key=lambda name: len(recipe.differences(PRESETS[name])))


def first_weights(run: Run) -> str:
    """Return the source of the initial weights: "random", or the model and its path."""
    init = run.about.get("init")
    return f"{init['model']} {init['from']}".strip() if init else "random"


def commands(run: Run) -> list[str]:
    """Return the command lines that repeat the run, from its recipe.json and about.json alone.

    The first prepares the images, if their source is known. With the same versions, processor and precision as in
    about.json the model has the same bytes.
    """
    about = run.about
    data = about.get("data", "data")
    lines = []
    prepared = about.get("prepared", {})
    source, options = prepared.get("source"), prepared.get("options")
    if isinstance(source, dict) and isinstance(options, dict) and "source" in source:
        words = ["snellen", "prepare", str(source["source"]), "--out", data]
        for name in ("labels", "test", "sample"):
            words += [f"--{name}", str(source[name]["path"])] if name in source else []
        for name, value in options.items():
            if value is True:
                words.append(f"--{name.replace('_', '-')}")
            elif value not in (None, False):
                words += [f"--{name.replace('_', '-')}", str(value)]
        lines.append(shlex.join(words))
    preset = nearest_preset(run.recipe)
    words = ["snellen", "train", data, "--out", "again", "--recipe", preset]
    for name, (value, _) in run.recipe.differences(PRESETS[preset]).items():
        words += ["--set", f"{name}={show_value(value)}"]
    words += ["--on", about["on"]] if about["on"] != "train" else []
    words += ["--metric", run.metric.name] if METRICS.get(run.metric.name, ACCURACY) is not ACCURACY else []
    words += ["--folds", str(about["fold"]["of"])] if "fold" in about else []
    for role in ("init", "calibrated_by"):
        words += [f"--{role.replace('_', '-')}", about[role]["from"] or "MODEL"] if role in about else []
    words += ["--device", about["device"].partition(":")[0]] if "device" in about else []
    words += ["--devices", str(about["processes"])] if about.get("processes", 1) > 1 else []
    threads = about.get("versions", {}).get("threads")
    on_processor = threads and about.get("device") == "cpu"
    lines.append((f"OMP_NUM_THREADS={threads} " if on_processor else "") + shlex.join(words))
    return lines
