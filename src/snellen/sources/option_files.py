"""Read the files that options name (--labels, --sample, --test, --class-names), and the tables of a source."""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from snellen.errors import DataError, did_you_mean, first_few
from snellen.sources import tables
from snellen.sources.annotations import read_annotations
from snellen.sources.archives import Folder
from snellen.sources.class_names import read_class_names
from snellen.sources.decode import is_picture
from snellen.sources.labelled import WORDS as WORDS_FOR_LABELS
from snellen.sources.origin import TABLE_SUFFIXES
from snellen.sources.roles import folder_roles
from snellen.sources.rows import common_folder
from snellen.sources.source_files import Place, gather, read_whole
from snellen.sources.tables import Table, read_table

log = logging.getLogger("snellen")
MAX_TEXTS = 100  # .txt files searched for labels; if there are more, each belongs to one picture


def with_test(files: dict[str, Place], test: str | Path, scratch: Path) -> tuple[dict[str, Place], set[str]]:
    """Return the files with those of `test` as the only ones below test/, and the names of its pictures."""
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
    added = {"test/" + name.removeprefix(top): place for name, place in chosen.items() if is_picture(name)}
    if not added:
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
    others = {name for name, below in roles.items() if below.role == "test"}
    if others:
        log.warning("%d pictures in other test folders are left out, first %s", len(others), first_few(others))
    if others == roles.keys():
        raise DataError(
            f'"{test}" contains all {len(added)} pictures, so no labelled pictures remain.',
            where="--test",
            expected="a folder or archive of test pictures, separate from the labelled ones",
            do="pass the folder of the test pictures, or leave out --test",
        )
    return {name: place for name, place in rest.items() if name not in others} | added, set(added)


def table_of(option: str, path: str | Path, files: dict[str, Place]) -> Table:
    """Return the table that an option names, on disk or in the source. Raises DataError."""
    data = _file_of(option, path, files)
    if Path(path).suffix.lower() == ".txt" and (table := read_annotations(str(path), data)):
        return table
    return read_table(str(path), data)


def _file_of(option: str, path: str | Path, files: dict[str, Place]) -> bytes:
    """Return the bytes of the file that an option names, on disk or in the source."""
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
        do=did_you_mean(name, csv_names(files), "check the path"),
    )


def csv_names(files: dict[str, Place]) -> list[str]:
    """Return the names of the CSV files of a source."""
    return [name for name in files if name.lower().endswith(TABLE_SUFFIXES)]


@dataclass(frozen=True, eq=False)
class Tables:
    """The tables of a source."""

    labels: Table | str | None  # named by --labels, or one of its words
    sample: Table | None  # named by --sample
    others: list[Table]
    unreadable: dict[str, DataError]  # by name

    @classmethod
    def read(cls, files: dict[str, Place], labels: str | Path | None, sample: str | Path | None) -> "Tables":
        """Read all tables of a source, and those that options name. Raises DataError for the latter."""
        from_labels: Table | str | None = None
        if labels is not None:
            from_labels = str(labels) if labels in WORDS_FOR_LABELS else table_of("labels", labels, files)
        from_sample = None if sample is None else table_of("sample", sample, files)
        named = [table for table in (from_labels, from_sample) if isinstance(table, Table)]
        return cls(from_labels, from_sample, *tables_of(files, named))

    @property
    def all(self) -> list[Table]:
        """Return the tables that options name, then the others."""
        return [*(table for table in (self.labels, self.sample) if isinstance(table, Table)), *self.others]


def tables_of(files: dict[str, Place], named: list[Table] | None = None) -> tuple[list[Table], dict[str, DataError]]:
    """Return the tables of a source, except `named`, and the errors of those that cannot be read."""
    named = named or []
    readable: list[Table] = []
    unreadable: dict[str, DataError] = {}
    for name in csv_names(files):
        try:
            data = read_whole(files, [name], tables.MAX_BYTES)[name]
            if all(data != table.data for table in [*named, *readable]):
                readable.append(read_table(name, data))
        except DataError as problem:
            unreadable[name] = problem
    texts = [name for name in files if name.lower().endswith(".txt")]
    for name in texts if len(texts) <= MAX_TEXTS else []:
        with contextlib.suppress(DataError):
            data = read_whole(files, [name], tables.MAX_BYTES)[name]
            if all(data != table.data for table in named) and (annotations := read_annotations(name, data)):
                readable.append(annotations)
    return readable, unreadable


def refuse_options(what: str, **options: str | Path | None) -> None:
    """Raise DataError for an option that does not apply to this source, instead of ignoring it."""
    for name, value in options.items():
        if value is not None:
            option = "--" + name.replace("_", "-")
            raise DataError(f"the source {what}: {option} {value} does not apply.", do=f"leave out {option}")


def display_names(file: str | None, classes: tuple[str, ...], files: dict[str, Place]) -> tuple[str, ...] | None:
    """Return the names that --class-names gives to the classes, or None without it. Raises DataError."""
    if file is None:
        return None
    data = _file_of("class-names", file, files)
    table = None if file.lower().endswith(".json") else read_table(file, data)
    return read_class_names(file, data, table, classes)
