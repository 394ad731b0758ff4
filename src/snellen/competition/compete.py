"""Raw files -> submission.csv: run all verbs in turn, each with its own folder; stopped work is resumed."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from snellen.charts import pages
from snellen.competition.submission import check_target, write_submission
from snellen.errors import DataError, first_few
from snellen.images.imageset import SAMPLE, ImageSet
from snellen.images.prepare import PrepareOptions, prepare
from snellen.prediction.evaluate import describe_accuracy, describe_metric, evaluate
from snellen.prediction.predict import predict
from snellen.reports.report import report
from snellen.runs.cross_validation import CrossValidation
from snellen.runs.named_recipes import named_recipe
from snellen.runs.recipe import Recipe, show_value
from snellen.runs.run import Epoch, Run
from snellen.scoring.metrics import MetricLike, metric_of
from snellen.sources.origin import WORDS, results_inside
from snellen.system import files
from snellen.system.contents import PARTS_OF_ENTRY, Contents, contents_of, is_predictions
from snellen.system.folders import locked
from snellen.system.progress import Progress
from snellen.system.targets import check_file, check_folder, check_place
from snellen.training.choose_recipe import choose_recipe
from snellen.training.cross_validate import cross_validate
from snellen.training.train import train

log = logging.getLogger("snellen")

REPORT_SECONDS = 10.0  # approximate time to start the command and write the report


@dataclass(frozen=True)
class Entry:
    """The results of `compete`."""

    images: ImageSet
    run: Run | CrossValidation  # trained on the train split and validated; or all folds
    scores: dict[str, Any]  # of `run` on the valid split; with folds, on all labelled images, out of fold
    final: Run | CrossValidation  # makes the predictions: trained on all labelled images, or `run` itself without refit
    submission: Path | None  # None if there are no test images


def compete(
    source: str | Path,
    out: str | Path,
    *,
    recipe: Recipe | str | Path | None = None,
    settings: Sequence[str] = (),
    metric: MetricLike | None = None,
    budget: float | None = None,
    refit: bool = True,
    folds: int | None = None,
    device: str | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_progress: Progress | None = None,
    **options: Unpack[PrepareOptions],
) -> Entry:
    """Prepare, train and validate, train again on all labelled images, classify the test images, write the submission.

    Writes data/, run/, refit/, evaluation.json, report.html, predictions.csv and submission.csv into `out`. The same
    call resumes stopped work.
    recipe, settings, metric: as for `train`; a metric's name is also stored with the images.
    budget: the total time allowed, in seconds; see budget.py.
    folds: the number of runs to train, each validated on a different part of the labelled images, in folds/ instead of
    run/ and refit/; the submission averages them, and there is no report.
    options: as for `prepare`. Their seed determines the split, the recipe's own seed the training.
    Raises what the verbs raise.
    """
    out, started = Path(out), time.perf_counter()
    _check_out(source, out)
    named_recipe(recipe, settings)  # reports wrong names now rather than after preparing
    function = None if metric is None or isinstance(metric, str) else metric_of(metric)  # not stored with the images
    with locked(out):
        log.info("prepare: %s -> %s", source, out / "data")
        name = metric if isinstance(metric, str) else None
        images = prepare(source, out / "data", metric=name, on_progress=on_progress, **options)
        log.info("%s", images)
        _check_files(out, images)
        folder = out / ("run" if folds is None else "folds")
        left = None if budget is None else budget - (time.perf_counter() - started) - REPORT_SECONDS
        refits, num_test = refit and folds is None, images.counts.get("test", 0)
        work = {"folds": folds, "refit": refits, "classified": num_test}
        recipe = choose_recipe(recipe, images, folder, left, settings=settings, device=device, **work)
        how: dict[str, Any] = {"metric": function, "device": device, "on_epoch": on_epoch, "on_progress": on_progress}
        fit = partial(train, images, recipe, **how)
        run: Run | CrossValidation
        log.info("train: %s for %s epochs -> %s", recipe.model, show_value(recipe.epochs), folder)
        if folds is not None:
            run = cross_validate(images, recipe, folder, folds, **how)
            scores = run.scores or {}
        else:
            run = fit(out=folder)
            scores = evaluate(run, images, metric=function, device=device)
        files.write_json(out / "evaluation.json", scores)
        log.info("evaluate: %s", "; ".join(filter(None, (describe_metric(scores), describe_accuracy(scores)))))
        if isinstance(run, Run):
            report(run, images, out=out / "report.html", device=device)
        final = run
        if refits:
            log.info("refit on all %d labelled images -> %s", len(images.select("train", "valid")), out / "refit")
            final = fit(out=out / "refit", on="train+valid", calibrated_by=run.folder)
        if "test" not in images.counts:
            log.warning("no submission was written: there are no test images")
            return Entry(images, run, scores, final, None)
        guesses = predict(final, images, out=out / "predictions.csv", device=device, on_progress=on_progress)
        submission = write_submission(guesses, images, out / "submission.csv")
        if (images.folder / SAMPLE).exists():
            log.info("submission: %d lines, checked against the competition's sample", len(guesses))
        else:
            log.info(
                "submission: %d lines, one for each test picture; there is no sample to check against", len(guesses)
            )
        return Entry(images, run, scores, final, submission)


def _check_files(out: Path, images: ImageSet) -> None:
    """Raise SnellenError before hours of work if a result would replace a file that another command wrote."""
    pages.check_page(out / "report.html", "report", ".html", source=images.source)
    check_file(out / "predictions.csv", "predictions", is_predictions)
    check_target(out / "submission.csv", images)


def _check_out(source: str | Path, out: Path) -> None:
    """Raise SnellenError before hours of work if the results would be mixed with other files."""
    begun = contents_of(out / "data") is Contents.IMAGES
    strangers: set[str] = set()
    if results_inside(source, out) and out.is_dir():  # this folder may also hold raw data
        strangers = {path.name for path in out.iterdir() if path.is_dir() and path.name[0] != "."} - PARTS_OF_ENTRY
    holds_source = source not in WORDS and Path(source).resolve().is_relative_to(out.resolve())
    if holds_source or (begun and strangers):
        what = "the source" if holds_source else first_few(sorted(strangers))
        raise DataError(
            f'"{out}" holds {what}: data/, run/ and the other results would be mixed with it.',
            where="--out",
            expected="a new folder, or one that `snellen compete` wrote",
            do="choose another --out",
        )
    if begun:
        check_place(out)
    else:
        check_folder(out, Contents.ENTRY, "snellen compete", begun=frozenset({"data"}))
