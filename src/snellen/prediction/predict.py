"""Verb: model + images -> Predictions."""

import contextlib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from snellen.images.folds import as_trained
from snellen.images.imageset import ImageSet
from snellen.prediction import parts
from snellen.prediction.decide import decide, rule_of
from snellen.prediction.ensemble import average, fold_rule
from snellen.prediction.opening import Model, check_fit, doubt_of, folders_of, members, runtime_of
from snellen.prediction.predictions import Predictions
from snellen.system import processes
from snellen.system.contents import is_predictions
from snellen.system.folders import locked
from snellen.system.progress import Progress
from snellen.system.targets import check_file

log = logging.getLogger("snellen")


def predict(
    model: Model | Sequence[Model],
    images: ImageSet | str | Path,
    *,
    split: str = "test",
    out: str | Path | None = None,
    views: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    on_progress: Progress | None = None,
) -> Predictions:
    """Classify the images of a split; with `out`, also write a CSV (id, label, one probability per class).

    model: a Run, a Classifier, or the path of either. The probabilities of several, and of the folds of a
    cross-validation, are averaged, and the gain is logged. The labels follow the model's decision rule; an average of
    models has its own, see `average`. views: 1, 2 or 6; precision: auto, float32, bfloat16 or float64; both default to
    the recipe's. In float32 an exported model gives the same results. The valid and train images of a fold's model are
    those of its fold.
    With `out` and more than 100,000 images, results are stored in parts beside it. After a stop, the same call resumes
    and writes identical bytes. Memory is bounded by one part, and the result is memory-mapped.
    Raises DataError if models and images do not fit or the split is empty, RunError if another process writes `out`.
    """
    images = images if isinstance(images, ImageSet) else ImageSet.open(images)
    models = members(model)
    first = models[0][1]
    if out is not None:
        check_file(out, "predictions", is_predictions, source=images.source, owners=folders_of(model))
    if len(models) == 1:
        images = as_trained(images, first.about)
    chosen = images.select(split)
    check_fit(first, images)
    with processes.joined(device):
        folder = None
        if out is not None and len(chosen) > parts.PART and processes.size() == 1:
            folder = Path(out).with_name(f".{Path(out).name}.parts")
        with locked(folder) if folder else contextlib.nullcontext():
            if len(models) > 1:
                how = {"views": views, "device": device, "precision": precision, "on_progress": on_progress}
                found, rule = average(models, images, split, rule=fold_rule(model), parts=folder, **how)
            else:
                runtime = runtime_of(first, processes.device_here(device), precision)
                log.info("%s", runtime.why)
                found = parts.in_parts(first, chosen, runtime, folder, views=views, on_progress=on_progress)
                rule = rule_of(first)
            guesses = Predictions(chosen.ids, found, first.classes, decide(found, rule))
            if out is not None:
                processes.once(guesses.save, out)
        if out is not None and (doubt := doubt_of(model, models)):
            log.warning("before you submit: %s", doubt)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)  # Windows keeps mapped files; other systems remove only the name
    return guesses
