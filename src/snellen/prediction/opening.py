"""Which models a caller means, opened, and whether they fit the images."""

from collections.abc import Sequence
from pathlib import Path

from snellen.errors import DataError, some_of
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier
from snellen.models.model_file import load_model
from snellen.runs.cross_validation import FOLDS, CrossValidation
from snellen.runs.recipe import Recipe
from snellen.runs.run import Run
from snellen.system.contents import packaged_models
from snellen.system.device import Runtime, choose_runtime

Model = Run | CrossValidation | Classifier | str | Path  # a path is that of a run, a cross-validation or a model file


def opened(model: Run | Classifier | str | Path) -> Classifier:
    """The Classifier that any of these forms means."""
    if isinstance(model, Classifier):
        return model
    return load_model(model.folder if isinstance(model, Run) else model)


def runtime_of(model: Classifier, device: str | None, precision: str | None = None) -> Runtime:
    """Return what a model computes with: in this precision, or by default in that of its recipe.

    Raises RecipeError for a precision that recipes do not know.
    """
    if precision is None:
        precision = model.about.get("recipe", {}).get("precision", "auto")
    return choose_runtime(Recipe(precision=precision).precision, device)


def is_model(name: str) -> bool:
    """Whether a word of the command line is a model: it holds one, or is the name of a packaged one."""
    path = Path(name)
    if path.is_dir():
        return any((path / file).exists() for file in ("recipe.json", "model.safetensors", FOLDS))
    return path.suffix == ".safetensors" or (not path.exists() and name in packaged_models())


def members(model: Model | Sequence[Model]) -> list[tuple[str, Classifier]]:
    """The models meant, each with a name for people: one, several, or those of all folds of a cross-validation.

    Raises DataError where their classes or sizes differ, or there are none.
    """
    given = [model] if isinstance(model, Run | CrossValidation | Classifier | str | Path) else model
    found: list[tuple[str, Classifier]] = []
    for one in given:
        if isinstance(one, str | Path) and (Path(one) / FOLDS).exists():
            one = CrossValidation.open(one)
        if isinstance(one, CrossValidation):
            found += [(str(folder), load_model(folder)) for folder in one.folders]
        else:
            name = one.name if isinstance(one, Classifier) else str(one.folder if isinstance(one, Run) else one)
            found.append((name, opened(one)))
    if not found:
        raise DataError("there is no model to predict with.", expected="one or more", do="name a run")
    (first_name, first), *others = found
    for name, other in others:
        if (other.classes, other.size) != (first.classes, first.size):
            raise DataError(
                f"{name} tells {len(other.classes)} classes of {other.size[1]}x{other.size[0]} pixels apart "
                f"({some_of(other.classes)}); {first_name} {len(first.classes)} of {first.size[1]}x{first.size[0]} "
                f"({some_of(first.classes)}).",
                expected="models with the same classes, in the same order, and the same size",
                do="average models that were trained on the same data",
            )
    return found


def check_fit(model: Classifier, images: ImageSet) -> None:
    """Raise DataError where this model cannot have been made for these images."""
    if model.size != images.size:
        raise DataError(
            f"the images have {images.size[1]}x{images.size[0]} pixels, the model {model.size[1]}x{model.size[0]}.",
            where=str(images.folder),
            do=f"prepare them with --size {model.size[0]}",
        )
    if model.classes != images.classes:
        raise DataError(
            f"the images' classes are {some_of(images.classes)}; the model's {some_of(model.classes)}.",
            where=str(images.folder),
            expected="the classes that the model was trained on, in its order",
            do="use the data that the model was trained on, or train on this data",
        )
