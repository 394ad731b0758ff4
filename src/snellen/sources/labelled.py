"""Turn pictures and tables into rows. Labels come from a table, class folders or file names."""

import logging
from collections.abc import Collection, Sequence

from snellen.errors import DataError, first_few
from snellen.sources.by_table import by_table
from snellen.sources.class_folders import class_rows, find_class_folders, paths_of_test
from snellen.sources.columns import (
    NOT_IN_TEST,
    TwoReadings,
)
from snellen.sources.csv_labels import TableLabels, describe_columns, find_labels, more_labels
from snellen.sources.evidence import Evidence, Labelled, evidence_of, train_names
from snellen.sources.file_names import find_name_labels
from snellen.sources.rivals import check_doubt, table_wins
from snellen.sources.rows import Row, classes_of, common_folder, ids_of, natural_key
from snellen.sources.sample_rows import rows_of_test, with_sample
from snellen.sources.table_checks import names_nothing
from snellen.sources.tables import Table, collector_paused
from snellen.sources.task_options import TaskOptions

log = logging.getLogger("snellen")
# Values of --labels other than a file.
WORDS = ("folders", "names")


def read_labelled(
    paths: Sequence[str],
    tables: Sequence[Table],
    *,
    labels: Table | str | None = None,
    sample: Table | None = None,
    test: Collection[str] | None = None,
    options: TaskOptions | None = None,
) -> Labelled | None:
    """Find the labels of pictures, or return None if there are none.

    labels: a table, or one of WORDS. sample, test (paths): if already known. Raises DataError if they are ambiguous.
    """
    with collector_paused():
        return _read_labelled(paths, tables, labels, sample, test, options or TaskOptions())


def _read_labelled(
    paths: Sequence[str],
    tables: Sequence[Table],
    labels: Table | str | None,
    sample: Table | None,
    test: Collection[str] | None,
    options: TaskOptions,
) -> Labelled | None:
    seen = evidence_of(paths, tables, sample, test)
    best, problem = (None, None) if isinstance(labels, str) else _best_table(seen, labels, options)
    folders = None
    if labels in (None, "folders") and options.label is None and not (best and _is_sure(best, seen)):
        try:
            folders = find_class_folders(train_names(seen.roles), seen.known)
        except DataError as twofold:
            if best is None:
                raise problem or twofold from None
    if best and folders and not table_wins(best, folders, seen):
        best = None
    if best:
        return by_table(best, seen, options)
    if folders:
        if problem and labels != "folders":
            check_doubt(problem, folders)
        return _by_folders(seen)
    if problem:
        raise problem
    if labels == "folders":
        raise DataError("the folders of the pictures are not classes.", where="--labels", do="leave out --labels")
    return _by_names(seen, is_requested=labels == "names")


def _best_table(
    seen: Evidence, labels: Table | str | None, options: TaskOptions
) -> tuple[TableLabels | None, TwoReadings | None]:
    """Return the table with the labels, or the error if several of its columns could be the labels.

    Raises DataError if the user named a table or a column, and there is no such table.
    """
    try:
        best = find_labels(
            [labels] if isinstance(labels, Table) else seen.usable,
            seen.labelled,
            sample=seen.hint,
            label=options.label,
            id=options.id,
            is_given=labels is not None,
            pictures=seen.pictures,
        )
    except TwoReadings as several:
        return None, several
    if best is None and isinstance(labels, Table):
        raise names_nothing(labels, "labels file", seen.labelled)
    if best is None and options.label is not None:
        raise DataError(
            f'no table lists the pictures, so there is no column "{options.label}".',
            where="--label",
            do="pass the table (--labels CSV), or leave out --label",
        )
    return best, None


def _is_sure(best: TableLabels, seen: Evidence) -> bool:
    """Return whether the evidence for a table is so strong that folders need not be considered."""
    return best.chosen.strength >= NOT_IN_TEST and len(best.match.named) > len(seen.labelled) / 2


def _by_folders(seen: Evidence) -> Labelled:
    classes = {*find_class_folders(train_names(seen.roles), seen.known).labels.values()}  # type: ignore[union-attr]
    more: dict[str, str] = {}
    for role in ("valid", "test"):
        flat = [
            path
            for path, below in seen.roles.items()
            if below.role == role and not any(part in classes for part in below.path.split("/")[:-1])
        ]
        for part in more_labels(None, seen.usable, flat, classes, None) if flat else []:
            log.info("labels (%s): %s, %s", role, part.match.table.name, describe_columns(part))
            more |= part.by_path
    rows = class_rows(list(seen.roles), roles=seen.roles, known=seen.known, more=more)
    assert rows is not None, "the folders were already read once"
    rows, sample = with_sample(rows, seen.tables, seen.sample)
    return Labelled("class folders", rows, classes_of(rows), "the folders", sample, sample or seen.hint)


def _by_names(seen: Evidence, *, is_requested: bool) -> Labelled | None:
    """Return labels from file names, or None if there are none. Raises DataError for names without a label."""
    names = find_name_labels([path for path in seen.labelled if seen.roles[path].role != "valid"])
    if names is None:
        if not is_requested:
            return None
        raise DataError(
            f"the file names contain no labels, first {first_few(seen.labelled)}.",
            where="--labels",
            expected="names such as cat.0.jpg and dog_12.jpg: a label and a number",
            do="pass a table of labels: --labels CSV",
        )
    if names.odd:
        raise DataError(
            f"{len(names.odd)} of {len(names.labels) + len(names.odd)} file names contain no label, first "
            f"{first_few(names.odd)}.",
            expected=f"names like {first_few(names.labels)}",
            do="move these pictures elsewhere, or pass a table of labels: --labels CSV",
        )
    labels, has_valid = dict(names.labels), False
    valid = [path for path in seen.labelled if seen.roles[path].role == "valid"]
    if valid and (more := find_name_labels(valid)) and {*more.labels.values()} <= {*labels.values()}:
        labels, has_valid = labels | more.labels, True
    elif valid:
        log.warning("%d pictures in the valid folder have no label: they are left out", len(valid))
    top = common_folder(labels)
    ids = ids_of([path.rpartition("/")[2] for path in labels], [path.removeprefix(top) for path in labels], [*labels])
    rows = [
        Row(id, label, ("valid" if path in set(valid) else "train") if has_valid else None, path)
        for id, (path, label) in zip(ids, labels.items(), strict=True)
    ]
    rows.sort(key=lambda row: natural_key(row.id))
    tests = paths_of_test(
        {role: {p: p for p, below in seen.roles.items() if below.role == role} for role in ("test", "unlabelled")}
    )
    rows, sample = with_sample(rows + rows_of_test(None, list(tests)), seen.tables, seen.sample)
    return Labelled("labels in file names", rows, classes_of(rows), "the file names", sample, sample or seen.hint)
