"""Verb: runs on the same images -> which differences are beyond noise, and at what cost."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from snellen.charts import pages
from snellen.errors import RunError
from snellen.images.folds import seen
from snellen.images.imageset import ImageSet
from snellen.models.model_file import load_model
from snellen.prediction.decide import decide_fairly
from snellen.prediction.evaluate import labelled, metric_for
from snellen.prediction.predict import predict
from snellen.reports.comparison import ENDINGS, Compared, Comparison
from snellen.reports.run_images import images_of
from snellen.runs.recipe import show_value
from snellen.runs.repeat import first_weights
from snellen.runs.run import Run
from snellen.scoring.metrics import MetricLike
from snellen.scoring.paired import Answers, differences
from snellen.scoring.scores import score
from snellen.system.progress import Progress

log = logging.getLogger("snellen")


def compare(
    runs: Sequence[Run | str | Path],
    images: ImageSet | str | Path | None = None,
    *,
    metric: MetricLike | None = None,
    out: str | Path | None = None,
    split: str = "valid",
    device: str | None = None,
    on_progress: Progress | None = None,
) -> Comparison:
    """Score runs on the same labelled images and test which differences from the first one are beyond noise.

    images: by default those of the first run. metric: as in `evaluate`; by default that of the first run. out: a page
    (.html), a figure (.png) or JSON.
    The differences apply to these trained models; another seed may give others.
    Raises RunError for fewer than two runs, for an unfinished run, and for a run trained on other images or on `split`.
    """
    opened = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    if len(opened) < 2:
        raise RunError(f"comparing takes two runs or more, not {len(opened)}.", do="name another run")
    images = images_of(opened[0], images, "snellen compare RUN RUN")
    if out is not None:
        pages.check_page(Path(out), "compare", *ENDINGS, source=images.source)
    names = _names(opened)
    _check(opened, names, images, split)
    models = [load_model(run) for run in opened]
    chosen, judged_by = labelled(images, split), metric_for(models[0], images, metric)
    answers = []
    for name, run, model in zip(names, opened, models, strict=True):
        log.info("%s", name)
        guesses = predict(run, images, split=split, device=device, on_progress=on_progress).probabilities
        answers.append(Answers(guesses, decide_fairly(guesses, chosen.labels, model.about, images.fingerprint, split)))
    against_first = [None, *differences(judged_by, chosen.labels, answers[0], answers[1:])]
    compared = tuple(
        Compared(
            name,
            run,
            score(one.probabilities, chosen.labels, decided=one.decided, metric=judged_by),
            model.num_parameters,
            *_seconds_and_speed(run),
            difference,
        )
        for name, run, model, one, difference in zip(names, opened, models, answers, against_first, strict=True)
    )
    comparison = Comparison(images, split, judged_by, compared, _differing_settings(opened))
    if out is not None:
        comparison.save(out)
    return comparison


def _seconds_and_speed(run: Run) -> tuple[float, float]:
    """Return the seconds of training with validation, and the images per second of training without."""
    rows = run.metrics
    seconds = sum(row["train_seconds"] for row in rows)
    speed = sum(row["images_per_second"] * row["train_seconds"] for row in rows) / max(seconds, 1e-9)
    return sum(row["seconds"] for row in rows), speed


def _check(runs: list[Run], names: list[str], images: ImageSet, split: str) -> None:
    for name, run in zip(names, runs, strict=True):
        if run.about["fingerprint"] != images.fingerprint:
            raise RunError(
                f'"{name}" was trained on other images.',
                where=str(run.folder),
                expected=f"the images in {images.folder}, with the same split",
                do="compare runs that were trained on the same prepared images",
            )
        if seen(run.about, images, split) == "yes":
            raise RunError(
                f'"{name}" was trained on the {split} images, so its scores on them are meaningless.',
                where=str(run.folder),
                expected="runs that were not trained on the compared images",
                do="compare runs made with --on train",
            )
        run.check_finished()


def _names(runs: list[Run]) -> list[str]:
    """Return the last parts of each run's path, as few as make it unique."""
    parts = [run.folder.resolve().parts for run in runs]
    depth = 1
    while depth < max(map(len, parts)) and max(Counter(part[-depth:] for part in parts).values()) > 1:
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]


def _differing_settings(runs: list[Run]) -> dict[str, tuple[str, ...]]:
    differing = {name: None for run in runs[1:] for name in runs[0].recipe.differences(run.recipe)}
    found = {name: tuple(show_value(getattr(run.recipe, name)) for run in runs) for name in differing}
    weights = tuple(first_weights(run) for run in runs)
    return found | ({"(initial weights)": weights} if len(set(weights)) > 1 else {})
