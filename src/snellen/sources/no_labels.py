"""Explain what a source lacks: pictures, labels, or the test pictures of a sample submission."""

import logging
from collections.abc import Collection
from pathlib import Path

from snellen.errors import DataError, first_few
from snellen.sources.csv_labels import find_labels
from snellen.sources.names import shown
from snellen.sources.origin import is_table
from snellen.sources.roles import folder_roles
from snellen.sources.rows import Row
from snellen.sources.sample_rows import is_sample_name
from snellen.sources.tables import Table

log = logging.getLogger("snellen")


def no_pictures(path: Path, files: Collection[str]) -> DataError:
    """Return the error for a source without pictures or arrays."""
    return DataError(
        f"the source contains no pictures, only {first_few(files)}." if files else _no_files(path),
        where=str(path),
        expected="pictures (.png, .jpg and the like) with a labels CSV or class folders; pixels in a CSV or "
        ".npz file; or the files of CIFAR",
        do="check the path"
        if not is_table(path)
        else f"if its ids are pictures in a folder, pass the folder as SOURCE with --labels {path.name}",
    )


def _no_files(path: Path) -> str:
    is_empty = path.is_dir() and not any(path.iterdir())
    return "the folder is empty." if is_empty else "the source contains only hidden files and files that snellen wrote."


def no_labels(path: Path, paths: list[str], guesses: list[Table], sample: Table | None) -> DataError:
    """Return the error for pictures without labels. guesses: the tables of the source. sample: named by the user."""
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


def warn_of_samples(tables: list[Table], rows: list[Row]) -> None:
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
