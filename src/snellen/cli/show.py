"""Verb: what a folder, a file or a name holds, in words; and the lists of recipes and models."""

import json
from pathlib import Path

from snellen.errors import SnellenError, did_you_mean
from snellen.runs.named_recipes import find_recipe
from snellen.runs.presets import DEFAULT, PRESETS
from snellen.runs.recipe import Recipe, show_value
from snellen.system.contents import packaged_models

SHOWN = "prepared images, a run, folds, a study, a model.safetensors, a recipe.json file or a recipe's name"


def show(thing: str) -> str:
    """Describe prepared images, a run, folds, a study, a model file or packaged model, a recipe's name or file.

    Raises SnellenError for anything else, DataError, RunError or RecipeError where it is damaged.
    """
    from snellen.images.imageset import ImageSet
    from snellen.runs.cross_validation import CrossValidation
    from snellen.runs.run import Run

    path = Path(thing)
    if thing in PRESETS:
        return f"{thing}\n{PRESETS[thing]}"
    if (path / "images.npy").exists():
        return str(ImageSet.open(path))
    if (path / "folds.json").exists():
        return str(CrossValidation.open(path))
    if (path / "study.json").exists():
        return _study(path)
    if (path / "recipe.json").exists():
        run = Run.open(path)
        return f"{run}\n{run.about.get('runtime', '')}\n{run.recipe}"
    if path.suffix == ".json" and path.exists():
        return str(Recipe.open(path))
    from snellen.models.model_file import load_model  # imports torch, which takes a second

    if not path.is_file() and thing not in packaged_models():
        raise SnellenError(
            f'there is no "{thing}" to show.',
            expected=SHOWN,
            do=did_you_mean(
                thing, [*PRESETS, *packaged_models()], f"check the path; the recipes are {', '.join(PRESETS)}"
            ),
        )
    if path.is_file() and path.suffix != ".safetensors":
        raise SnellenError(f'"{thing}" is no file that snellen shows.', expected=SHOWN, do="check the path")
    model = load_model(thing)
    return f"{model.name}, {model.num_parameters:,} parameters\n{json.dumps(model.about, indent=2)}"


def _study(folder: Path) -> str:
    """The best recipe so far, with its trial and accuracy where that was trained here. Optuna is not needed."""
    from snellen.runs.run import Run

    best = find_recipe(folder)
    runs = (Run.open(about.parent) for about in sorted(folder.glob("trials/*/about.json")))
    reached = "the best of its trials was trained elsewhere"
    for run in runs:
        if run.finished and run.recipe == best and run.metrics:
            reached = f"the best of its trials: {run.folder}, valid accuracy {run.metrics[-1]['valid_accuracy']:.4f}"
            break
    return f"a study; {reached}\nall of them: {folder / 'study.html'}\n{best}"


def list_recipes() -> str:
    """A line for each: name, model, epochs."""
    lines = (
        f"{name:27}{recipe.model:24}{show_value(recipe.epochs):>5} epochs{'  (default)' if name == DEFAULT else ''}"
        for name, recipe in PRESETS.items()
    )
    return "\n".join(lines)


def list_models() -> str:
    """A line for each architecture, with its parameters and source; two for each packaged model."""
    import torch

    from snellen.models.classifier import MODELS, SOURCES, build_network
    from snellen.models.model_file import load_model
    from snellen.prediction.evaluate import describe_accuracy

    lines = ["Architectures, with their parameters for 10 classes (published accuracies: the original images)"]
    for name in MODELS:
        with torch.device("meta"):
            num = sum(p.numel() for p in build_network(name, 10).parameters() if p.requires_grad)
        lines.append(f"  {name:24}{num:>12,} parameters  {SOURCES[name]}")
    lines.append("Models that come with the package, trained")
    for name in packaged_models():
        model = load_model(name)
        lines.append(f"  {name:24}{model.num_parameters:>12,} parameters  {model.name}")
        lines.append(f"  {'':24}{describe_accuracy(model.about['evaluation'])}")
    return "\n".join(lines)
