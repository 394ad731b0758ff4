"""Find the sample submission, and put the test pictures in its order."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from snellen.errors import DataError, first_few
from snellen.sources import columns
from snellen.sources.lookup import Lookup, Match, match_ids
from snellen.sources.rows import Row, common_folder, ids_of, natural_key, short_ids
from snellen.sources.table_checks import Problems, check_names, count, names_nothing
from snellen.sources.tables import Table

log = logging.getLogger("snellen")


def is_sample_name(name: str) -> bool:
    """Return whether a table is named like a sample submission."""
    name = name.rpartition("/")[2].lower()
    return "submi" in name or "sample" in name


def find_sample(tables: Sequence[Table], paths: Sequence[str], *, is_known: bool) -> Match | None:
    """Return the table that lists the test pictures: one named like a sample, or one with more than half of them.

    A table that is not named like a sample must look like one: the same value on each line, or numbers from 0 to 1.
    """
    pictures = Lookup(paths)
    matches = [match for table in tables if table.width > 1 and (match := match_ids(table, pictures, len(paths)))]
    if not is_known:
        matches = [
            match
            for match in matches
            if is_sample_name(match.table.name) or (match.score > 0.5 and _looks_like_sample(match))
        ]
    return max(matches, key=lambda match: (is_sample_name(match.table.name), match.score), default=None)


def _looks_like_sample(match: Match) -> bool:
    others = [match.values(c) for c in range(match.table.width) if c != match.column][: columns.MAX_COLUMNS]
    if len(others) == 1:
        return len({*others[0]}) == 1
    return all(columns.is_number(value) and 0 <= float(value) <= 1 for values in others for value in values[:50])


def rows_of_test(found: Match | None, paths: Sequence[str], labels: Mapping[str, str] | None = None) -> list[Row]:
    """Return one row for each test picture, in the order of the sample if there is one. Raises DataError."""
    labels = labels or {}
    if found is None:
        folder = common_folder(paths)
        ids = ids_of([path.removeprefix(folder) for path in paths])
        rows = [Row(id, labels.get(path), "test", path) for id, path in zip(ids, paths, strict=True)]
        return sorted(rows, key=lambda row: natural_key(row.id))
    log.info("sample submission: %s, %d ids", found.table.name, len(found.ids))
    found.table.check_width()
    check_names(found, found.column)
    place: dict[str, str] = {}
    missing: Problems = []
    repeated: Problems = []
    for (line, _), id, where in zip(found.table.lines[found.first :], found.ids, found.where, strict=True):
        if len(where) != 1:
            missing.append((line, id))
        elif where[0] in place:
            repeated.append((line, id))
        else:
            place[where[0]] = id
    extra = sorted((path for path in paths if path not in place), key=natural_key)
    total = len(found.where)
    complaints = [
        count(missing, total, "ids of the sample have no test picture, or more than one"),
        count(repeated, total, "ids of the sample are repeated"),
        f"{len(extra)} of {len(paths)} test pictures are not in the sample, first {first_few(extra)}" if extra else "",
    ]
    if any(complaints):
        raise DataError(
            "the sample submission and the test pictures do not match: " + "; ".join(filter(None, complaints)) + ".",
            where=found.table.name,
            expected="each test picture named once",
            do="were all test files unpacked? is it this competition's sample? pass another with --sample CSV",
        )
    ids = short_ids(list(place.values()))
    return [Row(id, labels.get(path), "test", path) for id, path in zip(ids, place, strict=True)]


def with_sample(rows: list[Row], tables: Sequence[Table], sample: Table | None) -> tuple[list[Row], Match | None]:
    """Return the rows, with test pictures in the order of the sample submission if one of the tables is a sample.

    sample: passed by the user. Raises DataError if it does not match the test pictures.
    """
    test = {row.path: row for row in rows if row.split == "test"}
    match = find_sample([sample] if sample else tables, list(test), is_known=sample is not None)
    if match is None:
        if sample:
            raise names_nothing(sample, "sample submission", list(test))
        return rows, None
    ordered = [replace(row, label=test[row.path].label) for row in rows_of_test(match, list(test))]
    return [row for row in rows if row.split != "test"] + ordered, match
