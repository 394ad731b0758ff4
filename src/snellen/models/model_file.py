"""model.safetensors: weights, and in its header all that using them takes. Loading runs no code from the file."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from snellen import __version__
from snellen.errors import RecipeError, RunError
from snellen.models.classifier import Classifier, build_network
from snellen.runs.recipe import Recipe
from snellen.runs.run import Run
from snellen.system import files
from snellen.system.contents import PACKAGED, Contents, check_holds
from snellen.task import Task

FORMAT = 1
KEY = "snellen"  # one key of safetensors' metadata holds everything as JSON: several keys have no fixed order


def save_model(path: str | Path, model: Classifier, **about: Any) -> Path:
    """Write weights and header. `about` adds to the header: recipe, data fingerprint, scores, ... (JSON values).

    The same model and `about` give the same bytes. Weights are float32, also of a training in float64.
    """
    path = Path(path)
    header = {
        "format": FORMAT,
        "snellen": __version__,
        "model": model.name,
        "classes": list(model.classes),
        "task": model.task.to_dict(),
        "size": list(model.size),
        "normalisation": {"mean": model.mean.flatten().tolist(), "std": model.std.flatten().tolist()},
        **about,
    }
    with files.replacing(path) as file:
        file.write(save(_tensors(model), {KEY: json.dumps(header, ensure_ascii=False, allow_nan=False)}))
    return path


def identity(given: Run | Classifier | str | Path, model: Classifier) -> dict[str, str]:
    """Which model this is, for the about.json of what is made with it.

    given: how it was named; model: the same, opened. In the result: model, its architecture; from, its path, "" where
    there is none; sha256, of all its values.
    """
    place = "" if isinstance(given, Classifier) else str(given.folder if isinstance(given, Run) else given)
    return {"model": model.name, "from": place, "sha256": hashlib.sha256(save(_tensors(model))).hexdigest()}


def _tensors(model: Classifier) -> dict[str, torch.Tensor]:
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def model_path(name: str | Path) -> Path:
    """Return the model file of a run, a folder, a file or a packaged model's name. Raises RunError if there is none."""
    found = check_holds(name, Contents.MODEL, Contents.RUN, Contents.PACKAGED, error=RunError)
    if found is Contents.PACKAGED:
        return PACKAGED / f"{name}.safetensors"
    return Path(name) / "model.safetensors" if Path(name).is_dir() else Path(name)


def load_model(name: str | Path | Run, device: str | torch.device = "cpu") -> Classifier:
    """A Classifier in evaluation mode, from a run, its folder, a model.safetensors file, or a packaged model's name.

    Its header is the attribute `about`. Raises RunError for anything that is not a whole model file.
    """
    path = model_path(name.folder if isinstance(name, Run) else name)
    do = "check the path, or train again"
    if (path.parent / "recipe.json").exists():
        do = "remove the folder and train again"  # left there, the run counts as finished
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if header["format"] != FORMAT:
            raise RunError(
                f"the model file has format {header['format']}.",
                where=str(path),
                expected=f"format {FORMAT}, which snellen {__version__} reads",
                do="update snellen",
            )
        classes, size = tuple(map(str, header["classes"])), tuple(map(int, header["size"]))
        if len(size) != 2 or not 1 <= len(classes) <= 1_000_000 or not all(0 < side <= 10_000 for side in size):
            raise ValueError("its header has impossible classes or sizes")
        with torch.device("meta"):  # no memory is spent on what the header claims before the tensors agree with it
            model = Classifier(header["model"], build_network(header["model"], len(classes)), classes, size)
        for name, value in model.state_dict().items():
            if tensors[name].dtype != value.dtype:
                raise ValueError(f"{name} is {tensors[name].dtype}, not {value.dtype}")
        model.load_state_dict(tensors, strict=True, assign=True)
        model.task = Task.from_dict(classes, header.get("task"))
        recipe = header.get("recipe", {})
        Recipe(**{name: recipe[name] for name in recipe.keys() & {"precision", "views"}})  # what prediction goes by
    except RecipeError as problem:
        raise RunError(
            f"the model file cannot be used: {problem.what}", where=str(path), expected=problem.expected, do=do
        ) from None
    except KeyError as problem:
        raise RunError(f"this file is not a model of snellen: it lacks {problem}.", where=str(path), do=do) from None
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise RunError(f"the model file is damaged: {reason}", where=str(path), do=do) from None
    model.about = header
    return model.to(device).eval()
