"""Read labels from a table."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from snellen.errors import first_few
from snellen.sources.csv_labels import TableLabels, describe_columns, is_own_predictions, more_labels
from snellen.sources.evidence import Evidence, Labelled
from snellen.sources.label_lists import as_list
from snellen.sources.rows import Row, classes_of, natural_key
from snellen.sources.sample_rows import find_sample, is_sample_name, rows_of_test
from snellen.sources.several_labels import reading_of
from snellen.sources.table_checks import names_nothing
from snellen.sources.table_rows import labelled_rows, table_role
from snellen.sources.tables import Table
from snellen.sources.task_options import TaskOptions

log = logging.getLogger("snellen")


def by_table(best: TableLabels, seen: Evidence, options: TaskOptions) -> Labelled:
    """Return the rows of the pictures, with the labels of a table."""
    best = replace(best, reading=reading_of(best.match, best.chosen, best.cells(), options))
    values = best.values()
    others = [table for table in seen.tables if table is not best.match.table and not is_own_predictions(table)]
    labelled, tests = seen.labelled, seen.tests
    classes = {value for value in values if value}
    rest = [path for path in labelled if path not in best.match.named]
    sample = find_sample([seen.sample] if seen.sample else others, tests, is_known=seen.sample is not None)
    parts = [best]
    if rest:
        parts += more_labels(best, [t for t in others if not is_sample_name(t.name)], rest, classes, options.id)
    if not tests and rest:
        # All pictures in one folder: unlabelled pictures that another table lists are the test pictures.
        named = {path for part in parts for path in part.match.named}
        rest = [path for path in labelled if path not in named]
        sample = find_sample([seen.sample] if seen.sample else others, rest, is_known=seen.sample is not None)
        if sample or any(_names_most(table, rest) for table in others):
            tests, labelled = rest, [path for path in labelled if path in named]
    if seen.sample and not sample:
        raise names_nothing(seen.sample, "sample submission", tests)
    if tests:
        others = [t for t in others if not (sample and t is sample.table) and not is_sample_name(t.name)]
        used = [part.match.table for part in parts]
        parts += more_labels(best, [t for t in others if all(t is not u for u in used)], tests, classes, options.id)
    folders = {path: below.role for path, below in seen.roles.items()}
    roles = [table_role(part.match, folders) if part is not best or len(parts) > 1 else "" for part in parts]
    loose = {path for path in labelled if folders[path] == "" and "train" in folders.values()}
    loose -= {path for part in parts for path in part.match.named}
    if loose:
        log.warning("%d pictures outside the train folder are left out, first %s", len(loose), _first(loose))
        labelled = [path for path in labelled if path not in loose]
    log.info("labels: %s, %s", best.match.table.name, describe_columns(best))
    for part, role in zip(parts[1:], roles[1:], strict=True):
        log.info("labels%s: %s, %s", f" ({role})" if role else "", part.match.table.name, describe_columns(part))
    rows = labelled_rows(list(zip(parts, roles, strict=True)), labelled, tests)
    rows = _with_folder_split(rows, folders)
    label_of = {row.path: row.label for row in rows if row.split == "test" and row.label}
    if not any(label != as_list(()) for label in label_of.values()):
        label_of = {}  # empty cells of test pictures are unknown labels, unless others are known
    own_tests = [row for row in rows if row.split == "test"]
    rows = [row for row in rows if row.split != "test"]
    all_tests = [*dict.fromkeys([*tests, *(row.path for row in own_tests)])]
    if sample is None and own_tests and len(own_tests) == len(all_tests):
        rows += own_tests
    else:
        rows += rows_of_test(sample, all_tests, label_of)
    if len(best.chosen.columns) > 1:
        classes_here = tuple(sorted(map(best.match.header, best.chosen.columns)))
    else:
        classes_here = classes_of(rows, best.reading is not None)
    return Labelled(
        f"pictures with labels from {best.match.table.name}",
        rows,
        classes_here,
        best.told,
        sample,
        sample or seen.hint,
        best,
    )


def _with_folder_split(rows: list[Row], folders: Mapping[str, str]) -> list[Row]:
    """Return the rows with the split of a valid folder, unless a table or column already decides it."""
    if any(row.split == "valid" for row in rows) or "valid" not in {folders[row.path] for row in rows}:
        return rows
    log.info("the source has a valid folder: its split is kept, --valid-share has no effect")
    return [
        row if row.split == "test" else replace(row, split="valid" if folders[row.path] == "valid" else "train")
        for row in rows
    ]


def _names_most(table: Table, paths: Sequence[str]) -> bool:
    match = find_sample([table], paths, is_known=True)
    if match is None and table.width == 1:
        stems = {path.rpartition("/")[2].rpartition(".")[0] for path in paths}
        return len(stems & {row[0].rpartition("/")[2] for _, row in table.lines if row}) > len(paths) / 2
    return match is not None and match.score > 0.5


def _first(paths: Collection[str]) -> str:
    return first_few(sorted(paths, key=natural_key))
