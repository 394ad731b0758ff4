"""Verb: ImageSet + Recipe -> Run."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from snellen.errors import DataError
from snellen.images.choices import TRAIN_ON
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier, check_model
from snellen.models.model_file import identity
from snellen.prediction.evaluate import judged
from snellen.prediction.opening import opened
from snellen.runs.recipe import Recipe
from snellen.runs.run import Epoch, Run
from snellen.scoring.metrics import MetricLike, stored
from snellen.system import processes
from snellen.system.device import Runtime, choose_runtime
from snellen.system.memory import memory_errors
from snellen.system.progress import Progress
from snellen.system.threads import choose_threads
from snellen.system.versions import versions
from snellen.training.choose_recipe import choose_recipe
from snellen.training.init import start_of
from snellen.training.job import Job
from snellen.training.loop import fit
from snellen.training.probe import probe
from snellen.training.record import recording, threads_of

log = logging.getLogger("snellen")

PREPARED = ("source", "options", "versions")  # of an ImageSet's about.json; a run keeps them too


def train(
    images: ImageSet | str | Path,
    recipe: Recipe | str | Path | None = None,
    out: str | Path = "run",
    *,
    settings: Sequence[str] = (),
    on: str = "train",
    metric: MetricLike | None = None,
    init: Classifier | str | Path | None = None,
    calibrated_by: Classifier | str | Path | None = None,
    budget: float | None = None,
    device: str | None = None,
    checkpoint_seconds: float = 120.0,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_progress: Progress | None = None,
) -> Run:
    """Fit recipe.model to the images; resume if `out` already holds this run.

    recipe: a Recipe, or any value of `--recipe` (see named_recipes.py); by default the preset that suits the images
    (see presets_for.py). settings: "field=value" strings that change it, as in `--set`.
    on: "train", with validation after each epoch, or "train+valid", all labelled images without validation.
    metric: decides which epoch is best and what the decision rule is fitted for: a name, or a callable (labels,
    probabilities) -> float; by default the metric of the images' Task.
    init: the model that supplies the initial weights. calibrated_by, only with "train+valid": a validated model of the
    same recipe, whose temperature and familiarity are copied because there are no images to fit them on.
    budget: the time for this call, in seconds. The number of epochs is planned to fill it, and without a recipe the
    most promising one is chosen (see budget.py). A resumed training run keeps its plan.
    checkpoint_seconds: the time between checkpoints, and so about the most work that can be lost.

    On a CPU, training uses the processors that are idle at the start (see threads.py). A resumed run uses as many
    threads as before, so that resuming is bit-for-bit identical. Under torchrun, the processes share each batch and get
    the result of a single process, up to rounding. Only the first one writes, and calls on_epoch and on_progress.
    Raises RunError if the folder holds another run or the loss diverges, DataError if a split is missing.
    """
    images = images if isinstance(images, ImageSet) else ImageSet.open(images)
    images.check_fingerprint()
    images, judged_by = judged(images, metric)
    _check(on, calibrated_by)
    choose_threads(threads_of(out))
    chosen = choose_recipe(recipe, images, out, budget, settings=settings, on=on, device=device)
    # Check before anything is written: the folder would otherwise refuse the corrected settings.
    check_model(chosen, images)
    train_images = images.select(*TRAIN_ON[on])
    valid_images = images.select("valid") if on == "train" else None
    models = {"init": start_of(chosen) if init is None else opened(init)}
    models["calibrated_by"] = None if calibrated_by is None else opened(calibrated_by)
    sources = {"init": chosen.start if init is None else init, "calibrated_by": calibrated_by or ""}
    identities = {role: identity(sources[role], model) for role, model in models.items() if model is not None}
    with processes.joined(device):
        processes.check_same(images.fingerprint, "images")
        runtime = choose_runtime(chosen.precision, processes.device_here(device))
        about = _about(images, on, runtime) | stored(judged_by) | identities
        job = Job(chosen, train_images, valid_images, runtime, **models, metric=judged_by, about=about)
        reports = {"on_epoch": on_epoch, "on_progress": on_progress}
        with recording(out, job, checkpoint_seconds=checkpoint_seconds, **reports) as record:
            if record.finished:
                log.info("%s is finished: nothing to do", record.run.folder)
            else:
                log.info("%s", runtime.why)
                where, do = _smaller(chosen)
                with memory_errors(runtime.device, where=where, do=do):
                    (probe if chosen.optimizer == "lbfgs" else fit)(job, record)
        return record.run


def _check(on: str, calibrated_by: Classifier | str | Path | None) -> None:
    if on not in TRAIN_ON:
        raise DataError(f'"{on}" cannot be trained on.', where="--on", expected=" or ".join(TRAIN_ON))
    if calibrated_by is not None and on == "train":
        raise DataError(
            "training with validation fits its own temperature.",
            where="--calibrated-by",
            do="leave it out, or add --on train+valid",
        )


def _smaller(recipe: Recipe) -> tuple[str, str]:
    """Return the settings that memory use depends on, and the advice which to change."""
    where = f"model={recipe.model}, batch_size={recipe.batch_size}, piece_size={recipe.piece_size}"
    at_once = recipe.piece_size or recipe.batch_size
    do = f"compute fewer images at a time, for example --set piece_size={max(2, at_once // 2)} with another --out"
    return where, do + ", or choose a smaller model"


def _about(images: ImageSet, on: str, runtime: Runtime) -> dict[str, Any]:
    """Return the entries of about.json on the data and the machine."""
    about: dict[str, Any] = {"fingerprint": images.fingerprint, "data": str(images.folder), "on": on}
    about |= {"prepared": {name: images.about[name] for name in PREPARED if name in images.about}}
    about |= {"device": str(runtime.device), "precision": str(runtime.dtype).removeprefix("torch.")}
    about |= {"runtime": runtime.why, "processes": processes.size(), "versions": versions()}
    return about | ({"fold": images.about["fold"]} if "fold" in images.about else {})
