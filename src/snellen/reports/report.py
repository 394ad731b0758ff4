"""Run -> one HTML page: how good the model is, where it fails, what it was made with, how to make it again."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from snellen.charts import figures, pages
from snellen.errors import RunError
from snellen.images.folds import as_trained, seen, warning_of
from snellen.images.imageset import ImageSet
from snellen.prediction.evaluate import labelled, score, wilson_interval
from snellen.prediction.predict import predict
from snellen.reports import run_page
from snellen.reports.cards import Card, cards
from snellen.runs.recipe import show_value
from snellen.runs.run import Run
from snellen.scoring.confusion import bins, class_rows, confusion_table, shades, worst_pairs
from snellen.scoring.label_errors import label_errors
from snellen.system import files
from snellen.system.progress import Progress
from snellen.system.units import minutes, percent, size

log = logging.getLogger("snellen")

MOST_CARDS = 24  # pictures of a kind
MOST_CLASSES = 20  # in a confusion matrix that can be read


def report(
    run: Run | str | Path,
    images: ImageSet | str | Path,
    *,
    out: str | Path = "report.html",
    split: str = "valid",
    views: int | None = None,
    device: str | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Write one self-contained HTML page about a finished run, scored on the labelled images of `split`.

    Its scores are those of `evaluate`: they come out of the same function. Equal runs, images and machines give equal
    bytes. Raises RunError for an unfinished run, DataError where the split has no labels or the model does not fit.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    images = as_trained(images if isinstance(images, ImageSet) else ImageSet.open(images), run.about)
    out = Path(out)
    files.check_target(out, pages.STARTS[".html"], "a page")
    chosen = labelled(images, split)
    run.check_finished()
    if not run.metrics:
        raise RunError(
            "the run has no figures of its epochs.",
            where=str(run.folder / "metrics.jsonl"),
            expected="a line for each epoch",
            do="put back a copy of the file, or train again into another folder",
        )
    found = predict(run, images, split=split, views=views, device=device, on_progress=on_progress).probabilities
    text = pages.render("report.html", **_values(run, images, chosen, found, split))
    files.write_text(out, text)
    log.info("report: %s, %s", out, size(out.stat().st_size))
    return out


def _values(run: Run, images: ImageSet, chosen: ImageSet, found: np.ndarray, split: str) -> dict[str, Any]:
    """What the page's template takes."""
    labels, names = chosen.labels, images.classes
    guesses = found.argmax(axis=1)
    confidence = found.max(axis=1)
    table = confusion_table(labels, guesses, len(names))
    classes = class_rows(table, names)
    many = len(names) > MOST_CLASSES
    if many:
        classes.sort(key=lambda row: row.accuracy)

    wrong = np.flatnonzero(guesses != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    order = np.argsort(-found, axis=1, kind="stable")[:, :2]
    top = np.take_along_axis(found, order, axis=1)
    doubtful = np.argsort(top[:, 0] - top[:, 1], kind="stable")[:MOST_CARDS]
    suspects = label_errors(found, labels)

    def show(index: np.ndarray, word: str, seen: np.ndarray) -> list[Card]:
        index, seen = index[:MOST_CARDS], seen[:MOST_CARDS]
        said = [f"{word} {names[k]}, {percent(found[i, k], 1)}" for i, k in zip(index, seen, strict=True)]
        return cards(chosen, index, said)

    both = [
        f"{names[a]} {percent(p, 1)} or {names[b]} {percent(q, 1)}"
        for (a, b), (p, q) in zip(order[doubtful], top[doubtful], strict=True)
    ]
    rows = run.metrics
    if warning := warning_of(run.about, images, split):
        log.warning("%s", warning)
    return {
        "title": f"{run.folder.resolve().name}: {run.recipe.model}",
        "recipe_line": f"{run.recipe.model}, {show_value(run.recipe.epochs)} epochs",
        "trained_on": run.about["on"].replace("+", " and "),
        "images": str(images),
        "scores": score(found, labels),
        "split": split,
        "notices": [warning] if warning else [],
        "headline_facts": [("trained in", minutes(sum(row["seconds"] for row in rows)))],
        "names": names,
        "interval": wilson_interval,
        "classes": classes[:MOST_CLASSES],
        "more_classes": classes[MOST_CLASSES:],
        "matrix": None if many else table.tolist(),
        "shades": None if many else shades(table).tolist(),
        "pairs": worst_pairs(table, names),
        "reliability": figures.reliability(*bins(confidence, guesses == labels)),
        "num_mistakes": len(wrong),
        "mistakes": show(wrong, "taken for", guesses[wrong]),
        "doubtful": cards(chosen, doubtful, both),
        "num_suspects": len(suspects),
        "suspects": show(suspects.index, "looks like", suspects.suggested),
        "basis": f"The model did not train on these {len(chosen):,} {split} images."
        if seen(run.about, images, split) != "yes"
        else f"The model trained on these {split} images, so it hardly contradicts their labels.",
        **run_page.training(run, images),
        **run_page.recipe(run, images),
    }
