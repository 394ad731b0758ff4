"""Opening of the models that a caller names, and checks that they fit the images."""

from collections.abc import Sequence
from pathlib import Path

from snellen.errors import DataError, RunError, some_of
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier
from snellen.models.model_file import load_model
from snellen.runs.cross_validation import CrossValidation
from snellen.runs.recipe import Recipe
from snellen.runs.run import Run
from snellen.system.contents import Contents, contents_of
from snellen.system.device import Runtime, choose_runtime

Model = Run | CrossValidation | Classifier | str | Path  # a path, or the name of a packaged model
MODELS = {Contents.RUN, Contents.UNFINISHED_RUN, Contents.FOLDS, Contents.MODEL, Contents.PACKAGED}


def is_model(name: str) -> bool:
    """Return whether a command-line argument refers to a model, finished or not."""
    return contents_of(name) in MODELS


def opened(model: Model) -> Classifier:
    """Open a single model. Raises RunError for a cross-validation, which has several."""
    if isinstance(model, Classifier):
        return model
    if isinstance(model, CrossValidation):
        raise RunError(
            f"a cross-validation has {len(model.folders)} models, but a single one is needed.",
            where=str(model.folder),
            do=f"name one of its runs, such as {model.folders[0]}",
        )
    return load_model(model)


def members(model: Model | Sequence[Model]) -> list[tuple[str, Classifier]]:
    """Open one or several models, or those of all folds, and return each with a name for display.

    Raises DataError if there are no models, or if their classes or sizes differ.
    """
    found: list[tuple[str, Classifier]] = []
    for one in [model] if isinstance(model, Model) else model:
        if folds := folds_of(one):
            found += [(str(folder), load_model(folder)) for folder in folds.folders]
        else:
            name = one.name if isinstance(one, Classifier) else str(_path_of(one))
            found.append((name, opened(one)))
    if not found:
        raise DataError("there is no model to predict with.", expected="one or more", do="name a run")
    (first_name, first), *others = found
    for name, other in others:
        if (other.classes, other.size) != (first.classes, first.size):
            raise DataError(
                f"{name} has {len(other.classes)} classes ({some_of(other.classes)}) and images of "
                f"{other.size[1]}x{other.size[0]} pixels; {first_name} has {len(first.classes)} "
                f"({some_of(first.classes)}) and {first.size[1]}x{first.size[0]}.",
                expected="models with the same classes, in the same order, and the same size",
                do="average models that were trained on the same data",
            )
    return found


def folds_of(model: object) -> CrossValidation | None:
    """Return the cross-validation that a caller names, alone or as the only one of a list; None for anything else."""
    if isinstance(model, Sequence) and not isinstance(model, str) and len(model) == 1:
        model = model[0]
    if isinstance(model, str | Path) and contents_of(model) is Contents.FOLDS:
        model = CrossValidation.open(model)
    return model if isinstance(model, CrossValidation) else None


def doubt_of(model: Model | Sequence[Model], models: Sequence[tuple[str, Classifier]]) -> str:
    """Return the warning that a model, or all of several, have not clearly learned anything; otherwise "".

    models: the opened `model`. A cross-validation is judged by all its out-of-fold predictions together.
    """
    if folds := folds_of(model):
        return folds.doubt
    doubts = [one.about.get("doubt", "") for _, one in models]
    return doubts[0] if all(doubts) else ""


def folders_of(model: Model | Sequence[Model]) -> list[Path]:
    """Return the folders of the named runs and cross-validations. Results on them can be written there."""
    paths = [_path_of(one) for one in ([model] if isinstance(model, Model) else model)]
    return [path if path.is_dir() else path.parent for path in paths if path]


def _path_of(model: Model) -> Path | None:
    if isinstance(model, Classifier):
        return None
    return model.folder if isinstance(model, Run | CrossValidation) else Path(model)


def runtime_of(model: Classifier, device: str | None, precision: str | None = None) -> Runtime:
    """Return the runtime for a model, in this precision or, by default, that of its recipe.

    Raises RecipeError for an unknown precision.
    """
    if precision is None:
        precision = model.about.get("recipe", {}).get("precision", "auto")
    return choose_runtime(Recipe(precision=precision).precision, device)


def check_fit(model: Classifier, images: ImageSet) -> None:
    """Raise DataError if this model does not fit these images."""
    if model.size != images.size:
        raise DataError(
            f"the images have {images.size[1]}x{images.size[0]} pixels, the model {model.size[1]}x{model.size[0]}.",
            where=str(images.folder),
            do=f"prepare them with --size {model.size[0]}",
        )
    if model.resize != images.resize:
        raise DataError(
            f"the images were prepared with --resize {images.resize.how}, those of the model with --resize "
            f"{model.resize.how}.",
            where=str(images.folder),
            do=f"prepare them with --resize {model.resize.how}",
        )
    if model.classes != images.classes:
        raise DataError(
            f"the images' classes are {some_of(images.classes)}; those of the model are {some_of(model.classes)}.",
            where=str(images.folder),
            expected="the classes that the model was trained on, in its order",
            do="use the data that the model was trained on, or train on this data",
        )
