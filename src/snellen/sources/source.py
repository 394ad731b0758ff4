"""Detect the layout of raw files and list them: a row for each picture, then the pictures."""

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from snellen.errors import DataError, did_you_mean, first_few
from snellen.sources import tables
from snellen.sources.annotations import read_annotations
from snellen.sources.answers import (
    SampleLines,
    TaskOptions,
    decide_task,
    probability_hint,
    read_class_names,
    warn_of_variants,
)
from snellen.sources.archives import Contents, Folder, open_container
from snellen.sources.arrays import Arrays, find_arrays
from snellen.sources.cifar import MAX_BYTES, find_cifar, read_cifar
from snellen.sources.csv_labels import find_labels, groups_by, is_sample_name
from snellen.sources.decode import is_picture
from snellen.sources.downloads import DOWNLOADS, download
from snellen.sources.labelled import WORDS as WORDS_FOR_LABELS
from snellen.sources.labelled import classes_of, read_labelled
from snellen.sources.names import shown
from snellen.sources.roles import folder_roles
from snellen.sources.rows import Row, common_folder
from snellen.sources.source_files import Place, gather, listed_files, read_pictures, read_whole
from snellen.sources.tables import Table, read_table
from snellen.system.progress import Progress
from snellen.task import FORMS, Task

log = logging.getLogger("snellen")
WORDS = ("demo", *DOWNLOADS)
TABLE_SUFFIXES = (".csv", ".tsv")
MAX_TEXTS = 100  # .txt files searched for labels; if there are more, each belongs to one picture


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
    options: the choices of the user about labels and answers.
    scratch: a folder for temporary files; it must exist as long as the Source.
    skip: a path within a source folder to leave out.

    Raises DataError if the source holds no labelled pictures, is inconsistent, or is ambiguous.
    """
    options = options or TaskOptions()
    options.check()
    path = _located(source, scratch, on_progress)
    if _is_table(path):
        # Pictures anywhere, or pixels in its columns.
        files = listed_files(path) or {path.name: Place(Folder(path.parent), path.name)}
        labels = labels or (path if any(map(is_picture, files)) else None)
    else:
        files = gather(path, scratch=scratch, skip=skip)
    if cifar := find_cifar(list(files)):
        _refuse_options("is CIFAR in its original form", labels=labels, test=test, sample=sample)
        _refuse_options("is CIFAR in its original form", label=options.label, id=options.id, group_by=options.group_by)
        names = (*cifar.train, *cifar.test, cifar.meta)
        rows, classes, pixels = read_cifar(cifar, read_whole(files, names, MAX_BYTES))
        kind = f"{cifar.kind}, {'binary' if cifar.is_binary else 'Python'} form"
        task = decide_task([], classes, None, options)
        return _listed(kind, rows, task, None, lambda: enumerate(pixels), told="the files of CIFAR")

    test_paths = None
    if test is not None:
        files, test_paths = _with_test(files, test, scratch)
    paths = [name for name in files if is_picture(name)]
    if not paths:
        arrays = find_arrays(files, scratch, label=options.label)
        if arrays is None:
            raise DataError(
                f"it contains no pictures, only {first_few(files)}." if files else _no_files(path),
                where=str(path),
                expected="pictures (.png, .jpg and the like) with a labels CSV or class folders; pixels in a CSV or "
                ".npz file; or the files of CIFAR",
                do="check the path"
                if not _is_table(path)
                else f"if its ids are pictures in a folder, pass the folder as SOURCE with --labels {path.name}",
            )
        _refuse_options("contains arrays", labels=labels, test=test, id=options.id, group_by=options.group_by)
        return _of_arrays(arrays, files, sample, options)
    if test_paths and len(test_paths) == len(paths):
        raise DataError(
            f'"{test}" contains all {len(paths)} pictures, so no labelled pictures remain.',
            where="--test",
            expected="a folder or archive of test pictures, separate from the labelled ones",
            do="pass the folder of the test pictures, or leave out --test",
        )
    labels_table: Table | str | None = (
        str(labels) if labels in WORDS_FOR_LABELS else _given_table("labels", labels, files)
    )
    sample_table = _given_table("sample", sample, files)
    given = [table for table in (labels_table, sample_table) if isinstance(table, Table)]
    guesses, unreadable = _tables(files, given)
    found = read_labelled(paths, guesses, labels=labels_table, sample=sample_table, test=test_paths, options=options)
    if found is None:
        raise next(iter(unreadable.values()), _no_labels(path, paths, guesses, sample_table))
    for name, problem in unreadable.items():
        if not found.sample and is_sample_name(name):
            raise problem
        log.warning("%s is ignored: %s", name, problem.what)
    if found.sample is None:
        used = found.table.match.table if found.table else None
        _warn_of_samples([table for table in guesses if table is not used], found.rows)
    rows = found.rows
    if options.group_by is not None:
        labelled_paths = [row.path for row in rows if row.split != "test"]
        groups = groups_by(options.group_by, [*given, *guesses], labelled_paths, options.id)
        rows = [replace(row, group=groups.get(row.path)) for row in rows]
    index = {row.path: i for i, row in enumerate(rows)}

    def read() -> Iterator[tuple[int, Contents]]:
        return ((index[name], contents) for name, contents in read_pictures(files, index))

    hint = SampleLines.of(found.hint.table, found.hint.column, found.hint.first) if found.hint else None
    labelled = [row.label for row in rows if row.label is not None and row.split != "test"]
    warn_of_variants(labelled)
    task = decide_task(
        labelled,
        found.classes,
        hint,
        options,
        display_names=_display_names(options.class_names, found.classes, files),
        is_named=options.label is not None,
    )
    data = found.sample.table.data if found.sample else None
    return _listed(found.kind, rows, task, data, read, told=found.told, sample_lines=hint)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLE_SUFFIXES and path.is_file()


def results_inside(source: str | Path, out: Path) -> Path | None:
    """Return the top folder in `source` that contains `out`, if any. It is left out of the source."""
    if source in WORDS or not Path(source).is_dir():
        return None
    root, target = Path(source).resolve(), out.resolve()
    if root == target or not target.is_relative_to(root):
        return None
    return root / target.relative_to(root).parts[0]


def is_source(source: str | Path, out: Path) -> bool:
    """Return whether results would overwrite `source` or be written among its files."""
    return source not in WORDS and Path(source).resolve() == out.resolve()


def identity(
    source: str | Path,
    *,
    labels: str | Path | None = None,
    test: str | Path | None = None,
    sample: str | Path | None = None,
    skip: Path | None = None,
) -> dict[str, Any]:
    """Return what identifies a source without reading it: paths, sizes and modification times, as JSON values.

    Raises DataError for a path that does not exist or is not an archive.
    """
    if source in WORDS:
        known: dict[str, Any] = {"source": source}
        if source in DOWNLOADS:
            known["checksum"] = DOWNLOADS[source].checksum  # type: ignore[index]
    else:
        known = {"source": str(Path(source).resolve())}
        if _is_table(Path(source)):
            known |= _stamp(Path(source), skip) | _stamp_of_listed(Path(source))
        else:
            open_container(Path(source))
            known |= _stamp(Path(source), skip)
    for name, path in (("labels", labels), ("test", test), ("sample", sample)):
        if path is not None:
            known[name] = {"path": str(path)} | (_stamp(Path(path), None) if Path(path).exists() else {})
    return known


def _stamp(path: Path, skip: Path | None) -> dict[str, Any]:
    if not path.is_dir():
        status = path.stat()
        return {"bytes": status.st_size, "changed": status.st_mtime_ns}
    digest, count = hashlib.sha256(), 0
    for name, status in Folder(path, skip).entries():
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        count += 1
    return {"files": count, "digest": digest.hexdigest()}


def _stamp_of_listed(table: Path) -> dict[str, Any]:
    """Return the count and the digest of the pictures that a CSV lists."""
    digest, files = hashlib.sha256(), listed_files(table) or {}
    for name, place in files.items():
        status = (place.container.path / place.name).stat()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return {"files": len(files), "digest": digest.hexdigest()}


def _refuse_options(what: str, **options: str | Path | None) -> None:
    """Raise DataError for an option that does not apply to this source, instead of ignoring it."""
    for name, value in options.items():
        if value is not None:
            option = "--" + name.replace("_", "-")
            raise DataError(f"the source {what}: {option} {value} does not apply.", do=f"leave out {option}")


def _located(source: str | Path, scratch: Path, on_progress: Progress | None) -> Path:
    if source not in WORDS:
        return Path(source)
    if _holds_pictures(Path(source)):  # a folder of that name that compete made contains no pictures of the user
        log.info('"%s" is the built-in source; for the folder of that name pass ./%s', source, source)
    if source in DOWNLOADS:
        return download(DOWNLOADS[source], on_progress=on_progress)  # type: ignore[index]
    from snellen.sources.demo import write_competition

    write_competition(scratch / "demo", on_progress=on_progress)
    return scratch / "demo"


def _holds_pictures(path: Path) -> bool:
    try:
        return path.is_dir() and any(is_picture(name) for name, _ in Folder(path).entries())
    except DataError:  # the word does not refer to that folder
        return False


def _no_files(path: Path) -> str:
    is_empty = path.is_dir() and not any(path.iterdir())
    return "the folder is empty." if is_empty else "it contains only hidden files and files that snellen wrote."


def _with_test(files: dict[str, Place], test: str | Path, scratch: Path) -> tuple[dict[str, Place], set[str]]:
    """Return the files, with those of `test` below test/ and no other test pictures, and the names of its pictures."""
    inside = str(test).replace("\\", "/").strip("/") + "/"
    on_disk = f"{Path(test).resolve().as_posix()}/"  # forward slashes, as in names
    roots = {id(place.container): place.container.path.resolve().as_posix() for place in files.values()}
    chosen = {
        name: place
        for name, place in files.items()
        if name.startswith(inside) or f"{roots[id(place.container)]}/{place.name}".startswith(on_disk)
    }
    if not chosen and Path(test).exists():
        chosen = gather(Path(test), scratch=scratch)
    top = common_folder(chosen)
    given = {"test/" + name.removeprefix(top): place for name, place in chosen.items() if is_picture(name)}
    if not given:
        raise DataError(
            f'"{test}" contains no pictures.'
            if chosen or Path(test).exists()
            else f'"{test}" is neither on disk nor in the source.',
            where="--test",
            expected="a folder or archive of test pictures",
            do="check the path",
        )
    rest = {name: place for name, place in files.items() if name not in chosen}
    roles = folder_roles([name for name in rest if is_picture(name)])
    others = [name for name, below in roles.items() if below.role == "test"]
    if others:
        log.warning("%d pictures in other test folders are left out, first %s", len(others), first_few(others))
    return {name: place for name, place in rest.items() if name not in set(others)} | given, set(given)


def _given_table(option: str, path: str | Path | None, files: dict[str, Place]) -> Table | None:
    if path is None:
        return None
    data = _given_file(option, path, files)
    if Path(path).suffix.lower() == ".txt" and (table := read_annotations(str(path), data)):
        return table
    return read_table(str(path), data)


def _given_file(option: str, path: str | Path, files: dict[str, Place]) -> bytes:
    """Return the bytes of a file that the user named, on disk or in the source."""
    name = str(path).replace("\\", "/").removeprefix("./")
    if Path(path).is_file():
        folder = Folder(Path(path).parent)
        return read_whole({name: Place(folder, Path(path).name)}, [name], tables.MAX_BYTES)[name]
    if name in files:
        return read_whole(files, [name], tables.MAX_BYTES)[name]
    raise DataError(
        f'"{path}" is neither on disk nor in the source.',
        where=f"--{option}",
        expected="a JSON or CSV file" if option == "class-names" else "a CSV file",
        do=did_you_mean(name, _csv_names(files), "check the path"),
    )


def _csv_names(files: dict[str, Place]) -> list[str]:
    return [name for name in files if name.lower().endswith(TABLE_SUFFIXES)]


def _tables(files: dict[str, Place], given: list[Table]) -> tuple[list[Table], dict[str, DataError]]:
    """Return the CSV files that no option names, and the errors of those that cannot be read."""
    readable: list[Table] = []
    unreadable: dict[str, DataError] = {}
    for name in _csv_names(files):
        try:
            data = read_whole(files, [name], tables.MAX_BYTES)[name]
            if all(data != table.data for table in [*given, *readable]):
                readable.append(read_table(name, data))
        except DataError as problem:
            unreadable[name] = problem
    texts = [name for name in files if name.lower().endswith(".txt")]
    for name in texts if len(texts) <= MAX_TEXTS else []:
        with contextlib.suppress(DataError):
            data = read_whole(files, [name], tables.MAX_BYTES)[name]
            if all(data != table.data for table in given) and (annotations := read_annotations(name, data)):
                readable.append(annotations)
    return readable, unreadable


def _no_labels(path: Path, paths: list[str], guesses: list[Table], sample: Table | None) -> DataError:
    expected = "a CSV file with a column of file names and one of labels, or one folder for each class"
    labelled = [path for path, below in folder_roles(paths).items() if below.role != "test"]
    if sample and find_labels([sample], labelled):
        return DataError(
            f"{sample.name} is the sample submission, and no other file lists the labelled pictures.",
            where="--sample",
            expected=expected,
            do="if it contains the labels, leave out --sample or pass another; if not, add the labels: --labels CSV",
        )
    bare = [table.name for table in guesses if len(table.lines) == 1 and not is_sample_name(table.name)]
    others = [table.name for table in guesses if table.name not in bare]
    seen = [f"{first_few(bare)} has no lines below its header"] if bare else []
    if others:
        table = next(table for table in guesses if table.name == others[0])
        values = [shown(value) for value in table.lines[1][1][:3]]
        seen.append(
            f"{first_few(others)} lists none of them (its first line: {first_few(values)}; a picture: {paths[0]})"
        )
    return DataError(
        "; ".join([f"{len(paths)} pictures were found, but no labels", *seen]) + ".",
        where=str(path),
        expected=expected,
        do="add the labels file, or pass it: --labels CSV",
    )


def _warn_of_samples(tables: list[Table], rows: list[Row]) -> None:
    """Log why tables that are named like sample submissions are not used."""
    num_test = sum(row.split == "test" for row in rows)
    for table in tables:
        if not is_sample_name(table.name) or table.width < 2:
            continue
        ids = [shown(id) for id in table.column(0)[1:]]
        if not ids:
            log.warning("%s has no lines below its header: it is not used", table.name)
        elif not num_test:
            log.warning("%s has %d ids, but no test pictures were found", table.name, len(ids))
        else:
            log.warning(
                '%s lists none of the %d test pictures (first id "%s"): it is not used; pass the right file with '
                "--sample",
                table.name,
                num_test,
                ids[0],
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
    log.info("source: %s; %d labelled, %d test, %d classes", kind, len(rows) - num_test, num_test, len(task.classes))
    answer = FORMS[task.form] + (f' ("{task.positive}")' if task.positive else "")
    log.info("labels: %s; answer: %s; metric: %s", told, answer, task.metric)
    examples: dict[str, str] = {}
    for row in rows:
        if row.label is not None and row.label not in examples and len(examples) < 3:
            examples[row.label] = row.path
    log.info("for example: %s", ", ".join(f"{path} -> {task.display(label)}" for label, path in examples.items()))
    if sample_lines and len(sample_lines.columns) == 1 and (hint := probability_hint(task, sample_lines.distinct)):
        log.warning("%s", hint)
    return Source(kind, rows, task, sample, read)


def _of_arrays(arrays: Arrays, files: dict[str, Place], sample: str | Path | None, options: TaskOptions) -> Source:
    """Return a source of arrays or pixel tables; the sample refers to test images by number."""
    rows = arrays.rows()
    tests = [row for row in rows if row.split == "test"]
    found = _given_table("sample", sample, files)
    if found is None:
        named = [name for name in _csv_names(files) if is_sample_name(name)]
        found = next(iter(_tables({name: files[name] for name in named}, [])[0]), None)
    lines = None
    if found is not None:
        if {*found.column(0)[1:]} != {row.id for row in tests}:
            raise DataError(
                f"{found.name} has {len(found.lines) - 1} ids, first {first_few(found.column(0)[1:])}; there are "
                f"{len(tests)} test images without names.",
                where=found.name,
                expected=f"their numbers, 1 to {len(tests)}",
                do="pass the right sample: --sample CSV",
            )
        found.check_width()
        lines = SampleLines.of(found, 0, 1)
        log.info("sample submission: %s, %d ids", found.name, len(lines.cells))
    labels = [row.label for row in rows if row.split != "test" and row.label is not None]
    classes = classes_of(rows)
    warn_of_variants(labels)
    task = decide_task(
        labels,
        classes,
        lines,
        options,
        display_names=_display_names(options.class_names, classes, files),
        is_named=options.label is not None,
    )
    data = found.data if found else None
    return _listed(arrays.kind, rows, task, data, arrays.read, told=arrays.told, sample_lines=lines)


def _display_names(file: str | None, classes: tuple[str, ...], files: dict[str, Place]) -> tuple[str, ...] | None:
    if file is None:
        return None
    data = _given_file("class-names", file, files)
    table = None if file.lower().endswith(".json") else read_table(file, data)
    return read_class_names(file, data, table, classes)
