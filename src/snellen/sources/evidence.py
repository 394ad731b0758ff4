"""Collect the pictures and tables that may contain labels."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from snellen.sources.columns import is_number
from snellen.sources.csv_labels import TableLabels, is_own_predictions
from snellen.sources.forms import SampleLines
from snellen.sources.lookup import Lookup, Match
from snellen.sources.roles import Below, folder_roles
from snellen.sources.rows import Row
from snellen.sources.sample_rows import find_sample, is_sample_name
from snellen.sources.tables import Table


@dataclass(frozen=True, eq=False)
class Labelled:
    """The rows of a picture source, and the origin of its labels."""

    kind: str  # for messages
    rows: list[Row]  # labelled, then test
    classes: tuple[str, ...]
    told: str  # the origin of the labels, for messages
    sample: Match | None
    hint: Match | None  # the sample, or one that matches no picture here but still shows the form of the answers
    table: TableLabels | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """The pictures and tables that may contain labels."""

    roles: dict[str, Below]
    labelled: list[str]  # pictures outside the test split
    tests: list[str]
    tables: list[Table]  # without the sample passed by the user
    sample: Table | None  # passed by the user
    hint: Match | None

    @cached_property
    def pictures(self) -> Lookup:
        """Return the pictures outside the test split, by id."""
        return Lookup(self.labelled)

    @property
    def usable(self) -> list[Table]:
        """Return the tables that may hold labels: neither submissions nor predictions."""
        usable = [t for t in self.tables if "submission" not in t.name.lower() and not is_own_predictions(t)]
        return [table for table in usable if not is_sample_name(table.name)] or usable

    @property
    def known(self) -> set[str]:
        """Return the classes in the sample, as columns or as labels."""
        if self.hint is None:
            return set()
        lines = SampleLines.of(self.hint.table, self.hint.column, self.hint.first)
        if len(lines.columns) > 1:
            return {*lines.columns}
        cells = lines.distinct
        return {word for cell in cells for word in (cell, *cell.split()) if not is_number(word)}


def evidence_of(
    paths: Sequence[str], tables: Sequence[Table], sample: Table | None, test: Collection[str] | None
) -> Evidence:
    """Return the evidence in these pictures and tables. sample, test: as in `read_labelled`."""
    roles = folder_roles(paths)
    if test is not None:
        roles = {
            path: replace(below, role="test" if path in test else "" if below.role == "test" else below.role)
            for path, below in roles.items()
        }
    groups: dict[str, dict[str, str]] = {role: {} for role in ("train", "valid", "test", "all", "unlabelled", "")}
    for path, below in roles.items():
        groups[below.role][path] = below.path
    tests = groups["test"] or groups["unlabelled"]
    labelled = [path for path in paths if roles[path].role in ("train", "valid", "")]
    if not groups["train"]:
        labelled += groups["all"]
    tables = [table for table in tables if table is not sample]
    named = [sample] if sample else [table for table in tables if is_sample_name(table.name) and table.width > 1]
    hint = find_sample(named, list(tests) or labelled, is_known=True) or next(
        (Match(table, 0, 1, [[] for _ in table.lines[1:]], 0.0) for table in named if len(table.lines) > 1), None
    )
    return Evidence(roles, labelled, list(tests), tables, sample, hint)


def train_names(roles: Mapping[str, Below]) -> dict[str, str]:
    """Return the training pictures: path -> path below the folder of the role."""
    for wanted in ("train", "all", ""):
        if found := {path: below.path for path, below in roles.items() if below.role == wanted}:
            return found
    return {}
