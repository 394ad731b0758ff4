"""model.safetensors: the weights, with everything needed to use them in the header. Loading never runs code."""

import json
from pathlib import Path
from typing import Any

import torch

from snellen import __version__
from snellen.errors import DivergedError, RecipeError, RunError, first_few
from snellen.images.choices import LARGEST
from snellen.models.classifier import Classifier, build_network
from snellen.runs.recipe import Recipe
from snellen.runs.run import Run
from snellen.sources.names import CONTROL
from snellen.sources.resize import CROP, Resize
from snellen.system.contents import PACKAGED, Contents, check_holds
from snellen.system.tensor_files import digest, open_tensors, write_tensors
from snellen.task import Task

FORMAT = 1
FAMILIARITY = ("feature_mean", "directions", "familiar")  # left out of the file if they are not fitted
MAX_CLASSES = 1_000_000


def save_model(path: str | Path, model: Classifier, **about: Any) -> Path:
    """Write weights and header. `about` adds to the header: recipe, data fingerprint, scores, ... (JSON values).

    The same model and `about` give the same bytes. Weights are float32, even after training in float64.
    """
    path = Path(path)
    header = {
        "format": FORMAT,
        "snellen": __version__,
        "model": model.name,
        "classes": list(model.classes),
        "task": model.task.to_dict(),
        "size": list(model.size),
        **({} if model.resize == CROP else {"resize": model.resize.to_dict()}),
        "normalisation": {"mean": model.mean.flatten().tolist(), "std": model.std.flatten().tolist()},
        **about,
    }
    json.dumps(header, allow_nan=False)  # raises ValueError for NaN, which other programs cannot read
    write_tensors(path, _tensors(model), header)
    return path


def identity(given: Run | Classifier | str | Path, model: Classifier) -> dict[str, str]:
    """Return the identity of a model, for the about.json of its results.

    given: how the caller named it; model: the opened model. In the result: model, its architecture; from, its path or
    ""; sha256, the digest of all its values.
    """
    place = "" if isinstance(given, Classifier) else str(given.folder if isinstance(given, Run) else given)
    return {"model": model.name, "from": place, "sha256": digest(_tensors(model))}


def _tensors(model: Classifier) -> dict[str, torch.Tensor]:
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    if not any(tensors[name].any() for name in FAMILIARITY):
        tensors = {name: value for name, value in tensors.items() if name not in FAMILIARITY}
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def model_path(name: str | Path) -> Path:
    """Return the model file of a run, a folder, a file or a packaged model's name. Raises RunError if it is missing."""
    found = check_holds(name, Contents.MODEL, Contents.RUN, Contents.PACKAGED, error=RunError)
    if found is Contents.PACKAGED:
        return PACKAGED / f"{name}.safetensors"
    return Path(name) / "model.safetensors" if Path(name).is_dir() else Path(name)


def read_header(path: Path) -> dict[str, Any]:
    """Return only the header of a model file. Raises RunError if it is damaged."""
    try:
        with open_tensors(path) as file:
            return file.header
    except (OSError, ValueError) as problem:
        raise RunError(f"the model file is damaged: {problem}.", where=str(path), do="check the path") from None


def load_model(name: str | Path | Run, device: str | torch.device = "cpu") -> Classifier:
    """Return a Classifier in evaluation mode, from a run, a model.safetensors file, or a packaged model's name.

    Its header is the attribute `about`. The weights are read into memory, so the file can be replaced while in use.
    Raises RunError unless it is an intact model file with valid sizes, names and weights.
    """
    path = model_path(name.folder if isinstance(name, Run) else name)
    do = "check the path, or train again"
    if (path.parent / "recipe.json").exists():
        do = "remove the folder and train again"  # otherwise the run would count as finished
    try:
        with open_tensors(path) as file:
            model = _described(file.header, path)
            # Check names and shapes before reading any weights into memory.
            expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
            unfitted = {} if {*FAMILIARITY} & file.shapes.keys() else {name: expected.pop(name) for name in FAMILIARITY}
            if differing := sorted(name for name, _ in file.shapes.items() ^ expected.items()):
                raise ValueError(f"its weights are not those of {model.name}, first {first_few(differing)}")
            tensors = file.read() | {name: torch.zeros(shape) for name, shape in unfitted.items()}
        for name, value in model.state_dict().items():
            if (tensors[name].dtype, value.dtype) == (torch.float16, torch.float32):
                tensors[name] = tensors[name].float()  # stored in half precision, like the packaged ImageNet weights
            if tensors[name].dtype != value.dtype:
                raise ValueError(f"{name} is {tensors[name].dtype}, not {value.dtype}")
            if value.is_floating_point() and not bool(tensors[name].isfinite().all()):
                raise DivergedError(
                    f"the model's {name} contains values that are infinite or not a number.",
                    where=str(path),
                    expected="finite weights",
                    do="use another model, or train again with a lower learning rate",
                )
        model.load_state_dict(tensors, strict=True, assign=True)
    except RecipeError as problem:
        raise RunError(
            f"the model file cannot be used: {problem.what}", where=str(path), expected=problem.expected, do=do
        ) from None
    except KeyError as problem:
        raise RunError(f"this file is not a snellen model: it lacks {problem}.", where=str(path), do=do) from None
    except OSError as problem:
        raise RunError(
            f"the model file cannot be read: {problem.strerror or problem}.",
            where=str(path),
            do="check the path and the file's permissions",
        ) from None
    except (ValueError, TypeError, AttributeError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise RunError(f"the model file is damaged: {reason}", where=str(path), do=do) from None
    return model.to(device).eval()


def _described(header: dict[str, Any], path: Path) -> Classifier:
    """Return the model described by a header, without allocating its weights. Raises RunError or ValueError."""
    if header["format"] != FORMAT:
        raise RunError(
            f"the model file has format {header['format']}.",
            where=str(path),
            expected=f"format {FORMAT}, which snellen {__version__} reads",
            do="update snellen",
        )
    classes, size = tuple(map(str, header["classes"])), tuple(map(int, header["size"]))
    if len(size) != 2 or not 1 <= len(classes) <= MAX_CLASSES or min(size) < 1:
        raise ValueError("its header has invalid classes or sizes")
    if max(size) > LARGEST:
        raise RunError(
            f"the model takes images of {size[1]:,}x{size[0]:,} pixels.",
            where=str(path),
            expected=f"at most {LARGEST:,} pixels per side",
            do="do not use this file; get one from a source you trust",
        )
    if odd := [name for name in classes if CONTROL.search(name)]:
        raise RunError(
            f"{len(odd)} class names contain control characters, first {first_few(odd)}.",
            where=str(path),
            expected="names without control characters",
            do="do not use this file; get one from a source you trust",
        )
    task = Task.from_dict(classes, header.get("task"))
    with torch.device("meta"):
        model = Classifier(header["model"], build_network(header["model"], len(classes)), classes, size, task)
    model.resize = Resize.from_dict(header.get("resize"))
    recipe = header.get("recipe", {})
    Recipe(**{name: recipe[name] for name in recipe.keys() & {"precision", "views"}})  # the settings used in prediction
    model.about = header
    return model
