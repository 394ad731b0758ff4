"""ImageSet + Recipe -> Run: the loop."""

import copy
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F

from snellen.charts import figures
from snellen.errors import DataError, DivergedError, RunError
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier, build_model, check_model
from snellen.models.model_file import identity, load_model, save_model
from snellen.prediction import calibrate
from snellen.prediction.evaluate import score
from snellen.prediction.opening import opened
from snellen.prediction.probabilities import familiarity, features, logits, probabilities
from snellen.runs.cross_validation import CrossValidation
from snellen.runs.named_recipes import find_recipe
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe
from snellen.runs.run import Epoch, Run
from snellen.system import processes, runtime
from snellen.system.progress import Progress
from snellen.training.averaging import average_epoch
from snellen.training.budget import settled
from snellen.training.checkpoint import Position, restore_checkpoint, save_checkpoint
from snellen.training.cross_validate import cross_validate
from snellen.training.loader import Batches
from snellen.training.optim import Optimizer, update_average
from snellen.training.synchronize import same_start, sum_gradients

log = logging.getLogger("snellen")

ON = {"train": ("train",), "train+valid": ("train", "valid")}
PREPARED = ("source", "options", "versions")  # what an ImageSet says of its making; a run keeps it too


@overload
def train(
    images: ImageSet | str | Path,
    recipe: Recipe | str | Path | None = ...,
    out: str | Path = ...,
    *,
    on: str = ...,
    folds: None = None,
    init: Classifier | str | Path | None = ...,
    calibrated_by: Classifier | str | Path | None = ...,
    budget: float | None = ...,
    device: str | None = ...,
    checkpoint_seconds: float = ...,
    on_epoch: Callable[[Epoch], None] | None = ...,
    on_progress: Progress | None = ...,
) -> Run: ...
@overload
def train(
    images: ImageSet | str | Path,
    recipe: Recipe | str | Path | None = ...,
    out: str | Path = ...,
    *,
    folds: int,
    init: Classifier | str | Path | None = ...,
    budget: float | None = ...,
    device: str | None = ...,
    checkpoint_seconds: float = ...,
    on_epoch: Callable[[Epoch], None] | None = ...,
    on_progress: Progress | None = ...,
) -> CrossValidation: ...
def train(
    images: ImageSet | str | Path,
    recipe: Recipe | str | Path | None = None,
    out: str | Path = "run",
    *,
    on: str = "train",
    folds: int | None = None,
    init: Classifier | str | Path | None = None,
    calibrated_by: Classifier | str | Path | None = None,
    budget: float | None = None,
    device: str | None = None,
    checkpoint_seconds: float = 120.0,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_progress: Progress | None = None,
) -> Run | CrossValidation:
    """Fit recipe.model to the images; continue where it stopped if `out` already holds this run.

    recipe: a Recipe or what `--recipe` takes, see named_recipes.py; by default the preset DEFAULT. budget: seconds
    that this call may take; the epochs are planned to fill them (see budget.py), and without a recipe the one that
    promises most is taken. A training that goes on keeps its plan.
    on: "train", validated after each epoch, or "train+valid", everything that has a label, with no validation.
    folds: train so many runs, `out`/fold-1 and so on, each validated on its share of all labelled images; see folds.py.
    init: a model whose weights to start from. calibrated_by: a validated model of the same recipe, whose temperature
    and familiarity are taken over where there is no validation to fit them on. checkpoint_seconds: the longest that a
    kill can cost, about.
    Going on after a kill gives the same bits as never having stopped, on the same machine with as many threads.
    Started by torchrun, the processes share each batch (see processes.py) and give what one would, up to rounding;
    the first one writes, and it alone calls on_epoch and on_progress.
    Raises RunError for a folder with another run or a loss that is no number, DataError where a split is missing.
    """
    images = images if isinstance(images, ImageSet) else ImageSet.open(images)
    images.check_fingerprint()
    chosen = None if recipe is None else find_recipe(recipe)
    if on not in ON:
        raise DataError(f'"{on}" cannot be trained on.', where="--on", expected=" or ".join(ON))
    if calibrated_by is not None and on == "train":
        raise DataError(
            "a training that validates fits its own temperature.", where="--calibrated-by", do="leave it out here"
        )
    if folds is not None:
        if on != "train":
            raise DataError(
                f'folds cannot train on "{on}": they would have no images to validate on.',
                where=f"--folds {folds} --on {on}",
                do="leave --on out: together the folds train on every labelled image",
            )
        recipe = settled(chosen, images, out, budget, folds, device=device)
        check_model(recipe, images)

        def fit(view: ImageSet, folder: Path) -> Run:
            return train(
                view,
                recipe,
                folder,
                init=init,
                device=device,
                checkpoint_seconds=checkpoint_seconds,
                on_epoch=on_epoch,
                on_progress=on_progress,
            )

        with processes.joined(device):
            return cross_validate(images, out, folds, fit, device=device, on_progress=on_progress)
    recipe = settled(chosen, images, out, budget, None, on=on, device=device)
    # Before anything is written: a folder that holds the mistake would refuse its correction.
    check_model(recipe, images)
    images.select(*ON[on])
    if on == "train":
        images.select("valid")
    named = {"init": init, "calibrated_by": calibrated_by}
    others = {role: given for role, given in named.items() if given is not None}
    models = {role: opened(given) for role, given in others.items()}
    with processes.joined(device):
        place = runtime.choose(recipe.precision, processes.device_here(device))
        processes.same_everywhere(images.fingerprint, "images")
        about: dict[str, Any] = {"fingerprint": images.fingerprint, "data": str(images.folder), "on": on}
        about |= {"prepared": {name: images.about[name] for name in PREPARED if name in images.about}}
        about |= {"device": str(place.device), "precision": str(place.dtype).removeprefix("torch.")}
        about |= {"runtime": place.why, "processes": processes.size(), "versions": runtime.describe()}
        if "fold" in images.about:
            about["fold"] = images.about["fold"]
        about |= {role: identity(others[role], model) for role, model in models.items()}
        first = processes.rank() == 0  # the others' machines need not see the folder
        if not first:
            on_epoch = on_progress = None
        run = Run.start(out, recipe, about) if first else Run(Path(out), recipe, about)
        with processes.in_first(run.locked()):
            if processes.first_says(run.finished):
                processes.once(load_model, run.model)  # a damaged one is not finished, and nobody else would say so
                log.info("%s is finished: nothing to do", run.folder)
                return run
            log.info("%s", place.why)
            if first:
                run.note_circumstances(about)
            _fit(run, images, place, models, checkpoint_seconds, on_epoch, on_progress)
    return run


def _fit(
    run: Run,
    images: ImageSet,
    place: runtime.Runtime,
    models: dict[str, Classifier],
    checkpoint_seconds: float,
    on_epoch: Callable[[Epoch], None] | None,
    on_progress: Progress | None,
) -> None:
    """The loop: from the run's checkpoint, or from the start, to its model."""
    recipe = run.recipe
    chosen = images.select(*ON[run.about["on"]])
    valid = images.select("valid") if run.about["on"] == "train" else None
    model = build_model(recipe, chosen)
    if "init" in models:
        start_from(model, models["init"])
    model = model.to_device(place.device, place.weights)
    same_start(model, recipe)
    # What validation and the model file see.
    shown = copy.deepcopy(model) if recipe.ema or recipe.average_last else model
    batches = Batches(chosen, recipe, place.device)
    log.info("%s", batches.why)
    _check_spread(model, batches.smallest_piece, recipe)
    optimizer = Optimizer(model, recipe, batches.total_steps, batches.steps_per_epoch)
    # Of the epoch so far: sum of losses, images right. On the device, so that no step waits for it.
    totals = torch.zeros(2, dtype=torch.float32 if place.device.type == "mps" else torch.float64, device=place.device)
    with processes.copy_of(run.checkpoint) as checkpoint:
        position = restore_checkpoint(checkpoint, totals, model, shown, optimizer)
    processes.keep_in_first(totals)
    if position.step:
        log.info("going on after step %d of %d", position.step, batches.total_steps)
    saved_at = time.perf_counter()

    for epoch in range(len(position.rows), recipe.num_epochs):
        model.train()
        started = time.perf_counter() - position.seconds
        start_step = position.step - epoch * batches.steps_per_epoch
        num_steps, num_images = batches.steps_in(epoch), batches.images_in(epoch)
        for step, (x, target) in enumerate(batches.epoch(epoch, start_step), start=start_step + 1):
            runtime.seed_torch(recipe.seed, runtime.STEP_NOISE, position.step, processes.rank())
            for x_piece, target_piece, share in batches.pieces(x, target, step - 1):
                with place.autocast():
                    output = model(x_piece).to(place.weights)
                if target_piece.is_floating_point():
                    target_piece = target_piece.to(place.weights)
                loss = F.cross_entropy(output, target_piece, label_smoothing=recipe.label_smoothing)
                (loss * share).backward()
                label = target_piece if target_piece.ndim == 1 else target_piece.argmax(dim=1)
                totals[0] += loss.detach() * len(x_piece)
                totals[1] += (output.detach().argmax(dim=1) == label).sum()
            sum_gradients(model, recipe)
            processes.collect(totals)
            lr = optimizer.step(position.step)
            if recipe.ema:
                update_average(shown, model, recipe.ema, position.step)
            position.step += 1
            if on_progress:
                on_progress(f"epoch {epoch + 1}/{recipe.num_epochs}", num_images * step // num_steps, num_images)
            if time.perf_counter() - saved_at > checkpoint_seconds and step < num_steps:
                position.seconds = time.perf_counter() - started
                processes.once(save_checkpoint, run.checkpoint, position, totals, model, shown, optimizer)
                saved_at = time.perf_counter()

        loss_mean, train_accuracy = (processes.tell_all(totals) / num_images).tolist()
        train_seconds = time.perf_counter() - started
        row: Epoch = {
            "epoch": epoch + 1,
            "step": position.step,
            "lr": lr,
            "train_loss": loss_mean,
            "train_accuracy": train_accuracy,
            "train_seconds": round(train_seconds, 3),
            "images_per_second": round(num_images / train_seconds, 1),
        }
        # The last update can spoil the weights after the last loss was taken.
        if not math.isfinite(loss_mean) or not all(value.isfinite().all() for value in model.state_dict().values()):
            raise _diverged(run, epoch + 1)
        if recipe.average_last:
            average_epoch(shown, model, recipe, epoch + 1, chosen, place)
        if valid is not None:
            guesses = probabilities(shown, valid, place, views=recipe.views)
            if not np.isfinite(guesses).all():
                raise _diverged(run, epoch + 1)
            scores = score(guesses, valid.labels)
            row |= {"valid_loss": scores["log_loss"], "valid_accuracy": scores["accuracy"]}
            if scores["accuracy"] > max((r["valid_accuracy"] for r in position.rows), default=-1.0):
                position.best_epoch = epoch + 1
                processes.once(save_model, run.best, shown, **_header(run, row))
        if (memory := runtime.peak_memory(place.device)) is not None:
            row["peak_memory_bytes"] = memory
        row["seconds"] = round(time.perf_counter() - started, 3)
        position.rows.append(row)
        position.seconds = 0.0
        totals.zero_()
        processes.once(run.save_metrics, position.rows)
        processes.once(figures.save_history, position.rows, run.folder / "history.png")
        processes.once(save_checkpoint, run.checkpoint, position, totals, model, shown, optimizer)
        saved_at = time.perf_counter()
        if on_epoch:
            on_epoch(row)

    _calibrate(shown, chosen, valid, place, recipe.views, models.get("calibrated_by"))
    processes.once(save_model, run.model, shown, **_header(run, position.rows[-1]))
    if valid is not None and position.best_epoch < recipe.num_epochs:
        with processes.copy_of(run.best) as file:
            best = load_model(file).to_device(place.device, place.weights)
        _calibrate(best, chosen, valid, place, recipe.views, None)
        processes.once(save_model, run.best, best, **_header(run, position.rows[position.best_epoch - 1]))
    processes.once(_finish, run, position)


def _check_spread(model: Classifier, smallest_piece: int, recipe: Recipe) -> None:
    """Raise RunError where a piece is one image of which a batch norm sees one pixel: that has no variance."""
    if smallest_piece > 1:
        return
    height, width = (recipe.small_size,) * 2 if recipe.small_size else model.size
    trial = copy.deepcopy(model).to("meta").train()  # computes shapes only
    try:
        trial(torch.zeros(1, 3, height, width, device="meta"))
    except ValueError:
        raise RunError(
            f"{recipe.model} cannot train on one image of {width}x{height} pixels at a time: batch norm needs more.",
            where=f"batch_size={recipe.batch_size}, piece_size={recipe.piece_size}",
            expected="pieces of two images or more",
            do="raise batch_size or piece_size; a training set of one image needs another",
        ) from None


def _finish(run: Run, position: Position) -> None:
    if position.best_epoch == run.recipe.num_epochs:
        run.best.unlink(missing_ok=True)  # the last epoch is the best: one file says it
    run.checkpoint.unlink()  # last: from here on the run is finished


def _calibrate(
    model: Classifier,
    chosen: ImageSet,
    valid: ImageSet | None,
    place: runtime.Runtime,
    views: int,
    other: Classifier | None,
) -> None:
    """Fit temperature and familiarity (see calibrate.py) on `valid`; without it take their values over from `other`."""
    sample = chosen.take(np.linspace(0, len(chosen) - 1, min(len(chosen), 10_000)).astype(np.int64))
    fitted = calibrate.fit_directions(features(model, sample, place), sample.labels, len(model.classes))
    for buffer, values in zip((model.feature_mean, model.directions), fitted, strict=True):
        buffer.copy_(torch.from_numpy(values))
    if valid is not None:
        model.temperature.fill_(calibrate.fit_temperature(logits(model, valid, place, views=views), valid.labels))
        model.familiar.copy_(torch.tensor(calibrate.fit_familiar(familiarity(model, features(model, valid, place)))))
    elif other is not None:
        model.temperature.copy_(other.temperature)
        model.familiar.copy_(other.familiar)


def start_from(model: Classifier, init: Classifier) -> None:
    """Take over another model's network, all but a last layer that was made for other classes.

    Raises RunError where the networks differ.
    """
    mine, other = model.network.state_dict(), init.network.state_dict()
    fitting = {name: value for name, value in other.items() if name in mine and value.shape == mine[name].shape}
    missing = [name for name in mine if name not in fitting]
    head = {name for name, _ in list(model.network.named_parameters())[-2:]}
    if model.name != init.name or not set(missing) <= head:
        raise RunError(
            f"the weights of {init.name} do not fit {model.name}.",
            where="--init",
            expected=f"a model of the same architecture ({model.name}); only its last layer may differ",
            do=f"train with --set model={init.name}, or start from another model",
        )
    if missing:
        log.info("the last layer starts fresh: %d classes here, %d there", len(model.classes), len(init.classes))
    model.network.load_state_dict(fitting, strict=False)
    model.mean.copy_(init.mean)  # weights are used to the normalisation that they were trained with
    model.std.copy_(init.std)


def _header(run: Run, row: Epoch) -> dict:
    """What the model file says of its making; no clock times, so that equal trainings write equal bytes."""
    facts = ("epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy")
    return {
        "recipe": run.recipe.to_dict(),
        "on": run.about["on"],
        "fingerprint": run.about["fingerprint"],
        **({"fold": run.about["fold"]} if "fold" in run.about else {}),
        "scores": {name: row[name] for name in facts if name in row},
    }


def _diverged(run: Run, epoch: int) -> DivergedError:
    # Going on from there would only meet the same numbers.
    processes.once(run.checkpoint.unlink, missing_ok=True)
    usual = [recipe.peak_lr for recipe in PRESETS.values() if recipe.model == run.recipe.model] or [Recipe.peak_lr]
    lower = min(run.recipe.peak_lr / 4, *usual)
    return DivergedError(
        f"the training loss is infinite or not a number in epoch {epoch}.",
        where=str(run.folder),
        expected="a loss that falls",
        do=f"lower the learning rate, for example: --set peak_lr={lower:g}, with another --out",
    )
