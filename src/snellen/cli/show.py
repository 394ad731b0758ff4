"""Describe a path or a named recipe or model, and list the recipes and models."""

import json
from collections.abc import Callable
from pathlib import Path

from snellen.errors import SnellenError, did_you_mean
from snellen.runs.named_recipes import find_recipe
from snellen.runs.presets import DEFAULT, PRESETS
from snellen.runs.recipe import Recipe, show_value
from snellen.system.contents import Contents, contents_of, packaged_models

SHOWN = (
    "prepared images, a run, a cross-validation, a study, results of compete, predictions, a model.safetensors file, "
    "a recipe.json file, or the name of a recipe or a packaged model"
)


def show(thing: str) -> str:
    """Describe the content of a path, or the recipe or packaged model of that name.

    Raises SnellenError for anything that snellen did not write, and for damaged files.
    """
    if thing in PRESETS:
        return f"{thing}\n{PRESETS[thing]}"
    found = contents_of(thing)
    if found in READERS:
        return READERS[found](Path(thing))
    what = f'"{thing}" does not exist.' if found is Contents.NOTHING else f'"{thing}" holds {found}.'
    if not found.is_ours and found is not Contents.NOTHING:
        what = f'"{thing}" was not written by snellen.'
    do = did_you_mean(thing, [*PRESETS, *packaged_models()], f"check the path; the recipes are {', '.join(PRESETS)}")
    raise SnellenError(what, expected=SHOWN, do=do)


def _images(path: Path) -> str:
    from snellen.images.imageset import ImageSet

    return str(ImageSet.open(path))


def _run(path: Path) -> str:
    from snellen.runs.run import Run

    run = Run.open(path)
    return f"{run}\n{run.about.get('runtime', '')}\n{run.recipe}"


def _folds(path: Path) -> str:
    from snellen.runs.cross_validation import CrossValidation

    return str(CrossValidation.open(path))


def _study(path: Path) -> str:
    """Describe the best recipe so far, with its trial and score if it was trained here. Works without Optuna."""
    from snellen.runs.run import Run, valid_value

    best = find_recipe(path)
    runs = (Run.open(about.parent) for about in sorted(path.glob("trials/*/about.json")))
    reached = "the best trial was trained elsewhere"
    for run in runs:
        if run.finished and run.recipe == best and run.metrics:
            value = run.metric.show(valid_value(run.metrics[-1], run.metric))
            reached = f"best trial: {run.folder}, valid {run.metric.name} {value}"
            break
    return f"a study; {reached}\nall trials: {path / 'study.html'}\n{best}"


def _entry(path: Path) -> str:
    parts = [path / name for name in ("data", "run", "refit", "folds")]
    return "\n".join(f"{part}: {show(str(part))}" for part in parts if contents_of(part).is_ours)


def _predictions(path: Path) -> str:
    from snellen.prediction.predictions import Predictions

    return str(Predictions.open(path))


def _model(path: Path) -> str:
    from snellen.models.model_file import load_model  # imports torch, which takes a second

    model = load_model(path)
    return f"{model.name}, {model.num_parameters:,} parameters\n{json.dumps(model.about, indent=2)}"


READERS: dict[Contents, Callable[[Path], str]] = {
    Contents.IMAGES: _images,
    Contents.RUN: _run,
    Contents.UNFINISHED_RUN: _run,
    Contents.FOLDS: _folds,
    Contents.STUDY: _study,
    Contents.ENTRY: _entry,
    Contents.PREDICTIONS: _predictions,
    Contents.MODEL: _model,
    Contents.PACKAGED: _model,
    Contents.RECIPE: lambda path: str(Recipe.open(path)),
}


def list_recipes() -> str:
    """List the recipes, one per line: name, model, epochs."""
    defaults = {DEFAULT: "  (default)", "photo": "  (default for photographs)"}
    lines = (
        f"{name:27}{recipe.model:26}{show_value(recipe.epochs):>5} epochs{defaults.get(name, '')}"
        for name, recipe in PRESETS.items()
    )
    return "\n".join(lines)


def list_models() -> str:
    """List the architectures with their parameters and sources, then the packaged models with their accuracies."""
    import torch

    from snellen.models.classifier import MODELS, SOURCES, build_network
    from snellen.models.model_file import load_model
    from snellen.prediction.evaluate import describe_accuracy

    lines = ["Architectures, with their parameters for 10 classes (published accuracies are for the original images)"]
    for name in MODELS:
        with torch.device("meta"):
            num = sum(p.numel() for p in build_network(name, 10).parameters() if p.requires_grad)
        lines.append(f"  {name:24}{num:>12,} parameters  {SOURCES[name]}")
    lines.append("Trained models that come with the package")
    for name in packaged_models():
        model = load_model(name)
        lines.append(f"  {name:24}{model.num_parameters:>12,} parameters  {model.name}")
        if "evaluation" in model.about:
            lines.append(f"  {'':24}{describe_accuracy(model.about['evaluation'])}")
        else:
            lines.append(
                f"  {'':24}{len(model.classes):,} classes of photographs; recipes probe and photo start from it"
            )
    return "\n".join(lines)
