"""Detect the layout of raw files and list them: a row for each picture, then the pictures."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from snellen.errors import DataError, first_few
from snellen.sources.answers import decide_task, probability_hint
from snellen.sources.archives import Contents, Folder
from snellen.sources.arrays import Arrays, find_arrays
from snellen.sources.cifar import MAX_BYTES, CifarFiles, find_cifar, read_cifar
from snellen.sources.class_names import warn_of_labels
from snellen.sources.csv_labels import groups_by
from snellen.sources.decode import is_picture
from snellen.sources.evidence import Labelled
from snellen.sources.forms import SampleLines
from snellen.sources.label_lists import labels_in, shown_list
from snellen.sources.labelled import read_labelled
from snellen.sources.lookup import id_column
from snellen.sources.no_labels import no_labels, no_pictures, warn_of_samples
from snellen.sources.option_files import (
    Tables,
    csv_names,
    display_names,
    refuse_options,
    table_of,
    tables_of,
    with_test,
)
from snellen.sources.origin import is_table, located
from snellen.sources.roles import role_of
from snellen.sources.rows import Row, classes_of
from snellen.sources.sample_rows import is_sample_name
from snellen.sources.several_labels import Reading, refuse_several, submission_separator
from snellen.sources.source_files import Place, gather, listed_files, read_pictures, read_whole
from snellen.sources.tables import Table
from snellen.sources.task_options import TaskOptions
from snellen.system.progress import Progress
from snellen.task import FORMS, Task

log = logging.getLogger("snellen")


@dataclass(frozen=True, eq=False)
class Source:
    """The pictures of a source, not yet decoded."""

    kind: str  # the detected kind, for messages
    rows: list[Row]  # labelled ones in the order of their list, then test; ids are unique within each of the two
    task: Task  # its classes are sorted, unless the source defines an order
    sample: bytes | None  # the sample submission, if there is one
    read: Callable[[], Iterator[tuple[int, Contents | np.ndarray]]]
    """Yields (index into `rows`, file contents or uint8 (H, W, 3)) once for each row, in the fastest order."""

    @property
    def classes(self) -> tuple[str, ...]:
        return self.task.classes


def open_source(
    source: str | Path,
    *,
    labels: str | Path | None = None,
    test: str | Path | None = None,
    sample: str | Path | None = None,
    options: TaskOptions | None = None,
    scratch: Path,
    skip: Path | None = None,
    on_progress: Progress | None = None,
) -> Source:
    """Detect what `source` is and list its pictures.

    source: a folder or archive, a CSV with paths, a file of arrays, or one of the words cifar10, cifar10-tiny, demo.
    labels, test, sample: override what is detected; paths on disk or within the source. labels may also be one of
    the words folders and names (file names).
    options: what the user decided about labels and answers.
    scratch: a folder for temporary files; it must exist as long as the Source.
    skip: a path within a source folder to leave out.

    Raises DataError if the source contains no labelled pictures, is inconsistent, or is ambiguous.
    """
    options = options or TaskOptions()
    options.check()
    path = located(source, scratch, on_progress)
    if is_table(path):
        # Pictures anywhere, or pixels in its columns.
        files = listed_files(path) or {path.name: Place(Folder(path.parent), path.name)}
        labels = labels or (path if any(map(is_picture, files)) else None)
    else:
        files = gather(path, scratch=scratch, skip=skip)
    if cifar := find_cifar(list(files)):
        unused = {"labels": labels, "test": test, "sample": sample, "label": options.label, "id": options.id}
        refuse_options("is CIFAR in its original form", **unused, group_by=options.group_by)
        return _of_cifar(cifar, files, options)
    tests = None
    if test is not None:
        files, tests = with_test(files, test, scratch)
    paths = [name for name in files if is_picture(name)]
    if not paths:
        arrays = find_arrays(files, scratch, label=options.label)
        if arrays is None:
            raise no_pictures(path, files)
        refuse_options("contains arrays", labels=labels, test=test, id=options.id, group_by=options.group_by)
        return _of_arrays(arrays, files, sample, options)
    tables = Tables.read(files, labels, sample)
    labelled = read_labelled(
        paths, tables.others, labels=tables.labels, sample=tables.sample, test=tests, options=options
    )
    if labelled is None:
        unreadable = next(iter(tables.unreadable.values()), None)
        raise unreadable or no_labels(path, paths, tables.others, tables.sample)
    return _of_pictures(labelled, tables, files, options)


def _of_pictures(labelled: Labelled, tables: Tables, files: dict[str, Place], options: TaskOptions) -> Source:
    """Return a source of picture files."""
    for name, problem in tables.unreadable.items():
        if not labelled.sample and is_sample_name(name):
            raise problem
        log.warning("%s is ignored: %s", name, problem.what)
    known = {table.name for table in tables.all}
    lists = [name for name in files if name.lower().endswith(".txt") and name not in known and _role_of_list(name)]
    if lists:
        log.warning(
            "%s are not read: if they list a split, pass a table with a column of train, valid and test (--labels CSV)",
            first_few(sorted(lists)),
        )
    if labelled.sample is None:
        used = labelled.table.match.table if labelled.table else None
        warn_of_samples([table for table in tables.others if table is not used], labelled.rows)
    rows = labelled.rows
    if options.group_by is not None:
        groups = groups_by(options.group_by, tables.all, [row.path for row in rows if row.split != "test"], options.id)
        rows = [replace(row, group=groups.get(row.path)) for row in rows]
    index = {row.path: i for i, row in enumerate(rows)}

    def read() -> Iterator[tuple[int, Contents]]:
        return ((index[name], contents) for name, contents in read_pictures(files, index))

    found = labelled.hint
    hint = SampleLines.of(found.table, found.column, found.first) if found else None
    table = labelled.table
    several = (table.reading, table.cells()) if table else ()
    task = _task_of(rows, labelled.classes, hint, options, files, *several)
    data = labelled.sample.table.data if labelled.sample else None
    return _listed(labelled.kind, rows, task, data, read, told=labelled.told, sample_lines=hint)


def _role_of_list(name: str) -> str:
    return role_of(name.rpartition("/")[2].partition(".")[0])


def _of_cifar(cifar: CifarFiles, files: dict[str, Place], options: TaskOptions) -> Source:
    """Return the source of CIFAR's own files."""
    names = (*cifar.train, *cifar.test, cifar.meta)
    rows, classes, pixels = read_cifar(cifar, read_whole(files, names, MAX_BYTES))
    kind = f"{cifar.kind}, {'binary' if cifar.is_binary else 'Python'} form"
    task = decide_task([], classes, None, options)
    return _listed(kind, rows, task, None, lambda: enumerate(pixels), told="the files of CIFAR")


def _of_arrays(arrays: Arrays, files: dict[str, Place], sample: str | Path | None, options: TaskOptions) -> Source:
    """Return a source of arrays or pixel tables; the sample refers to test images by number."""
    rows = arrays.rows()
    numbers = [row.id for row in rows if row.split == "test"]
    if sample is not None:
        table: Table | None = table_of("sample", sample, files)
    else:
        named = [name for name in csv_names(files) if is_sample_name(name)]
        table = next(iter(tables_of({name: files[name] for name in named})[0]), None)
    lines = None
    if table is not None:
        column = id_column(table, {*numbers}.__contains__)
        ids = table.column(column)[1:]
        if {*ids} != {*numbers}:
            raise DataError(
                f"{table.name} has {len(ids)} ids, first {first_few(ids)}; there are {len(numbers)} test images "
                "without names.",
                where=table.name,
                expected=f"their numbers, 1 to {len(numbers)}",
                do="pass the right sample: --sample CSV",
            )
        table.check_width()
        lines = SampleLines.of(table, column, 1)
        log.info("sample submission: %s, %d ids", table.name, len(lines.cells))
    task = _task_of(rows, classes_of(rows, arrays.has_several), lines, options, files, arrays.reading)
    data = table.data if table else None
    return _listed(arrays.kind, rows, task, data, arrays.read, told=arrays.told, sample_lines=lines)


def _task_of(
    rows: Sequence[Row],
    classes: tuple[str, ...],
    sample: SampleLines | None,
    options: TaskOptions,
    files: dict[str, Place],
    reading: Reading | None = None,
    values: Sequence[str] = (),
) -> Task:
    labels = [row.label for row in rows if row.label is not None and row.split != "test"]
    warn_of_labels([name for label in labels for name in labels_in(label, reading is not None)])
    names = display_names(options.class_names, classes, files)
    if reading is None:
        refuse_several(options)
        return decide_task(labels, classes, sample, options, display_names=names, is_named=options.label is not None)
    cells = sorted(sample.distinct) if sample and len(sample.columns) == 1 else []
    task = decide_task(labels, classes, sample, options, kind="multi", display_names=names)
    if task.form != "labels":
        return task
    return replace(task, separator=submission_separator(reading, cells, values, classes))


def _tell_of_several(rows: Sequence[Row], task: Task) -> None:
    """Log how many labels the images have."""
    nums = [len(labels_in(row.label, True)) for row in rows if row.label is not None and row.split != "test"]
    log.info(
        "labels per image: %.1f on average, %d at most; %d images have none",
        sum(nums) / len(nums),
        max(nums),
        nums.count(0),
    )


def _listed(
    kind: str,
    rows: list[Row],
    task: Task,
    sample: bytes | None,
    read: Callable[[], Iterator[tuple[int, Contents | np.ndarray]]],
    *,
    told: str,
    sample_lines: SampleLines | None = None,
) -> Source:
    num_test = sum(row.split == "test" for row in rows)
    counts = f"{len(rows) - num_test:,} labelled, {num_test:,} test, {len(task.classes):,} classes"
    log.info("source: %s; %s", kind, counts)
    answer = FORMS[task.form] + (f' ("{task.positive}")' if task.positive else "")
    log.info("labels: %s; answer: %s; metric: %s", told, answer, task.metric)
    examples: dict[str, str] = {}
    for row in rows:
        if row.label is not None and row.label not in examples and len(examples) < 3:
            examples[row.label] = row.path
    shown_for = {
        path: shown_list([task.display(name) for name in labels_in(label, task.has_several)])
        for label, path in examples.items()
    }
    log.info(
        "for example: %s", (", ", "; ")[task.has_several].join(f"{path} -> {text}" for path, text in shown_for.items())
    )
    if task.has_several:
        _tell_of_several(rows, task)
    if sample_lines and len(sample_lines.columns) == 1 and (hint := probability_hint(task, sample_lines.distinct)):
        log.warning("%s", hint)
    return Source(kind, rows, task, sample, read)
