"""Find out by looking what raw files a person has, and list them: a row for each picture, then the pictures."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snellen.errors import DataError, did_you_mean, first_few
from snellen.sources import tables
from snellen.sources.archives import Contents, Folder, open_container
from snellen.sources.cifar import MAX_BYTES, find_cifar, read_cifar
from snellen.sources.class_folders import class_rows
from snellen.sources.csv_labels import find_competition, find_labels, is_sample_name, with_sample
from snellen.sources.decode import is_picture
from snellen.sources.downloads import DOWNLOADS, download
from snellen.sources.names import shown
from snellen.sources.rows import Row, common_folder, is_in_test_folder
from snellen.sources.source_files import Place, gather, read_pictures, read_whole
from snellen.sources.tables import Table, read_table
from snellen.system.progress import Progress
from snellen.task import Task

log = logging.getLogger("snellen")
WORDS = ("demo", *DOWNLOADS)


@dataclass(frozen=True, eq=False)
class Source:
    """The pictures that a person has, not yet decoded."""

    kind: str  # what it was found to be, for people
    rows: list[Row]  # labelled ones in the order of their list, then test; ids are unique among each of the two
    task: Task  # its classes are sorted, unless the source has an order of its own
    sample: bytes | None  # the sample submission, where there is one
    read: Callable[[], Iterator[tuple[int, Contents | np.ndarray]]]
    """Yields (index into `rows`, file contents or uint8 (H, W, 3)) once for each row, in the order that costs least."""

    @property
    def classes(self) -> tuple[str, ...]:
        return self.task.classes


def open_source(
    source: str | Path,
    *,
    labels: str | Path | None = None,
    test: str | Path | None = None,
    sample: str | Path | None = None,
    scratch: Path,
    skip: Path | None = None,
    on_progress: Progress | None = None,
) -> Source:
    """Look what `source` is and list its pictures.

    source: a folder or archive, or one of the words cifar10, cifar10-tiny, demo.
    labels, test, sample: override what would be guessed; paths on the disk or within the source.
    scratch: a folder for what must be a file for a while; it must live as long as the Source.
    skip: a place within a source folder that is left out.

    Raises DataError where the source is none, or contradicts itself.
    """
    path = _located(source, scratch, on_progress)
    files = gather(path, scratch=scratch, skip=skip)
    if cifar := find_cifar(list(files)):
        _refuse_options("is CIFAR in its author's form", labels=labels, test=test, sample=sample)
        names = (*cifar.train, *cifar.test, cifar.meta)
        rows, classes, pixels = read_cifar(cifar, read_whole(files, names, MAX_BYTES))
        kind = f"{cifar.kind}, {'binary' if cifar.is_binary else 'Python'} form"
        return _listed(kind, rows, classes, None, lambda: enumerate(pixels))

    test_paths = None
    if test is not None:
        files, test_paths = _with_test(files, test, scratch)
    paths = [name for name in files if is_picture(name)]
    if not paths:
        raise DataError(
            f"there are no pictures in it, only {first_few(files)}." if files else _no_files(path),
            where=str(path),
            expected="pictures (.png, .jpg and the like) with a labels CSV, class folders, or the files of CIFAR",
            do="check the path",
        )
    if test_paths and len(test_paths) == len(paths):
        raise DataError(
            f'"{test}" holds all {len(paths)} pictures: none is left for the labels to name.',
            where="--test",
            expected="a folder or archive of test pictures beside the labelled ones",
            do="name the folder of the test pictures, or leave out --test",
        )
    labels_table = _given_table("labels", labels, files)
    sample_table = _given_table("sample", sample, files)
    guesses, unreadable = _tables(files, [table for table in (labels_table, sample_table) if table])
    found = find_competition(paths, guesses, labels=labels_table, sample=sample_table, test=test_paths)
    # A CSV that names few of the pictures is not about the class folders that they lie in.
    folders = None if labels_table or (found and found.labels.score >= 0.5) else class_rows(paths)
    if folders is not None:
        rows, match = with_sample(folders, guesses, sample_table)
        kind = "class folders"
    elif found:
        rows, match = found.rows(), found.sample
        kind = f"pictures with labels from {found.labels.table.name}"
    else:
        raise next(iter(unreadable.values()), _no_labels(path, paths, guesses, sample_table))
    for name, problem in unreadable.items():
        if not match and is_sample_name(name):
            raise problem
        log.warning("%s is left aside: %s", name, problem.what)
    if match is None:
        labels_used = found.labels.table if found and folders is None else None
        _warn_of_samples([table for table in guesses if table is not labels_used], rows)
    index = {row.path: i for i, row in enumerate(rows)}

    def read() -> Iterator[tuple[int, Contents]]:
        return ((index[name], contents) for name, contents in read_pictures(files, index))

    classes = tuple(sorted({row.label for row in rows if row.label is not None}))
    return _listed(kind, rows, classes, match.table.data if match else None, read)


def results_inside(source: str | Path, out: Path) -> Path | None:
    """Where `out` lies in a folder `source`: the top folder there that holds it. It is no part of the source then."""
    if source in WORDS or not Path(source).is_dir():
        return None
    root, target = Path(source).resolve(), out.resolve()
    if root == target or not target.is_relative_to(root):
        return None
    return root / target.relative_to(root).parts[0]


def is_source(source: str | Path, out: Path) -> bool:
    """Whether results would be written over `source` itself, or among its files."""
    return source not in WORDS and Path(source).resolve() == out.resolve()


def identity(
    source: str | Path,
    *,
    labels: str | Path | None = None,
    test: str | Path | None = None,
    sample: str | Path | None = None,
    skip: Path | None = None,
) -> dict[str, Any]:
    """What tells one source from another without reading it: paths, sizes and times of change, as JSON.

    Raises DataError for a path that does not exist or is no archive.
    """
    if source in WORDS:
        known: dict[str, Any] = {"source": source}
        if source in DOWNLOADS:
            known["checksum"] = DOWNLOADS[source].checksum  # type: ignore[index]
    else:
        open_container(Path(source))
        known = {"source": str(Path(source).resolve())} | _stamp(Path(source), skip)
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


def _refuse_options(what: str, **options: str | Path | None) -> None:
    """Raise DataError for an option that this source has no use for: what is asked for is not ignored."""
    for name, value in options.items():
        if value is not None:
            raise DataError(f"the source {what}: --{name} {value} has no meaning for it.", do=f"leave out --{name}")


def _located(source: str | Path, scratch: Path, on_progress: Progress | None) -> Path:
    if source not in WORDS:
        return Path(source)
    if _holds_pictures(Path(source)):  # a folder that compete made by that name holds none of a person's
        log.info('"%s" is taken for the word; for the folder of that name write ./%s', source, source)
    if source in DOWNLOADS:
        return download(DOWNLOADS[source], on_progress=on_progress)  # type: ignore[index]
    from snellen.sources.demo import write_competition

    write_competition(scratch / "demo", on_progress=on_progress)
    return scratch / "demo"


def _holds_pictures(path: Path) -> bool:
    try:
        return path.is_dir() and any(is_picture(name) for name, _ in Folder(path).entries())
    except DataError:  # who gave the word does not ask for that folder
        return False


def _no_files(path: Path) -> str:
    is_empty = path.is_dir() and not any(path.iterdir())
    return "the folder is empty." if is_empty else "there are no files in it but hidden ones and what snellen wrote."


def _with_test(files: dict[str, Place], test: str | Path, scratch: Path) -> tuple[dict[str, Place], set[str]]:
    """The files, with those of `test` below test/ and no other test pictures; and the names of the pictures there."""
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
            f'"{test}" holds no pictures.'
            if chosen or Path(test).exists()
            else f'"{test}" is neither on the disk nor in the source.',
            where="--test",
            expected="a folder or archive of test pictures",
            do="check the path",
        )
    rest = {name: place for name, place in files.items() if name not in chosen}
    others = [name for name in rest if is_picture(name) and is_in_test_folder(name)]
    if others:
        log.warning("%d pictures in other test folders are left out, first %s", len(others), first_few(others))
    return {name: place for name, place in rest.items() if name not in set(others)} | given, set(given)


def _given_table(option: str, path: str | Path | None, files: dict[str, Place]) -> Table | None:
    if path is None:
        return None
    name = str(path).replace("\\", "/").removeprefix("./")
    if Path(path).is_file():
        folder = Folder(Path(path).parent)
        return read_table(str(path), read_whole({name: Place(folder, Path(path).name)}, [name], tables.MAX_BYTES)[name])
    if name in files:
        return read_table(name, read_whole(files, [name], tables.MAX_BYTES)[name])
    raise DataError(
        f'"{path}" is neither on the disk nor in the source.',
        where=f"--{option}",
        expected="a CSV file",
        do=did_you_mean(name, _csv_names(files), "check the path"),
    )


def _csv_names(files: dict[str, Place]) -> list[str]:
    return [name for name in files if name.lower().endswith(".csv")]


def _tables(files: dict[str, Place], given: list[Table]) -> tuple[list[Table], dict[str, DataError]]:
    """The CSV files that nobody has named, and what is wrong with those that cannot be read."""
    readable, unreadable = [], {}
    for name in _csv_names(files):
        try:
            data = read_whole(files, [name], tables.MAX_BYTES)[name]
            if all(data != table.data for table in given):
                readable.append(read_table(name, data))
        except DataError as problem:
            unreadable[name] = problem
    return readable, unreadable


def _no_labels(path: Path, paths: list[str], guesses: list[Table], sample: Table | None) -> DataError:
    expected = "a CSV file with a column of file names and one of labels, or one folder for each class"
    if sample and find_labels([sample], [path for path in paths if not is_in_test_folder(path)]):
        return DataError(
            f"{sample.name} was named as the sample submission, and no other file names the labelled pictures.",
            where="--sample",
            expected=expected,
            do="if it holds the labels, leave out --sample or name another; if not, add the labels: --labels CSV",
        )
    bare = [table.name for table in guesses if len(table.lines) == 1 and not is_sample_name(table.name)]
    others = [table.name for table in guesses if table.name not in bare]
    seen = [f"{first_few(bare)} has no lines below its header"] if bare else []
    seen += [f"{first_few(others)} names none of them"] if others else []
    return DataError(
        "; ".join([f"{len(paths)} pictures were found, but no labels", *seen]) + ".",
        where=str(path),
        expected=expected,
        do="add the labels file, or name it: --labels CSV",
    )


def _warn_of_samples(tables: list[Table], rows: list[Row]) -> None:
    """Say of what is called a sample submission why it is not used."""
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
                '%s names none of the %d test pictures (first id "%s"): it is not used; name the right file with '
                "--sample",
                table.name,
                num_test,
                ids[0],
            )


def _listed(
    kind: str,
    rows: list[Row],
    classes: tuple[str, ...],
    sample: bytes | None,
    read: Callable[[], Iterator[tuple[int, Contents | np.ndarray]]],
) -> Source:
    num_test = sum(row.split == "test" for row in rows)
    log.info("source: %s; %d labelled, %d test, %d classes", kind, len(rows) - num_test, num_test, len(classes))
    return Source(kind, rows, Task(classes), sample, read)
