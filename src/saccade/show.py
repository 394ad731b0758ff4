"""Verb: what a folder, a file or a name holds, in words; and the lists of recipes and models."""

import json
from pathlib import Path

from saccade.errors import SaccadeError
from saccade.presets import DEFAULT, PRESETS
from saccade.recipe import Recipe, show_value


def show(thing: str) -> str:
    """Describe prepared images, a run, folds, a model file or packaged model, a recipe's name or file.

    Raises SaccadeError for anything else, DataError, RunError or RecipeError where it is damaged.
    """
    from saccade.folds import CrossValidation
    from saccade.imageset import ImageSet
    from saccade.run import Run

    path = Path(thing)
    if thing in PRESETS:
        return f"{thing}\n{PRESETS[thing]}"
    if (path / "images.npy").exists():
        return str(ImageSet.open(path))
    if (path / "folds.json").exists():
        return str(CrossValidation.open(path))
    if (path / "recipe.json").exists():
        run = Run.open(path)
        return f"{run}\n{run.about.get('runtime', '')}\n{run.recipe}"
    if path.suffix == ".json" and path.exists():
        return str(Recipe.open(path))
    from saccade.modelfile import load_model, packaged_models  # imports torch, which takes a second

    if not path.is_file() and thing not in packaged_models():
        raise SaccadeError(
            f'there is no "{thing}" to show.',
            expected="prepared images, a run, a model, a recipe.json file or a recipe's name",
            do=f"check the path; the recipes are {', '.join(PRESETS)}",
        )
    model = load_model(thing)
    return f"{model.name}, {model.num_parameters:,} parameters\n{json.dumps(model.about, indent=2)}"


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

    from saccade.evaluate import describe_accuracy
    from saccade.modelfile import load_model, packaged_models
    from saccade.models import MODELS, SOURCES, build_network

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
