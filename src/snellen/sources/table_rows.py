"""Give each picture the label and the split of its line in a table."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from snellen.errors import DataError, first_few
from snellen.sources.columns import split_column
from snellen.sources.csv_labels import TableLabels
from snellen.sources.lookup import Lookup, Match
from snellen.sources.roles import role_of
from snellen.sources.rows import Row, natural_key, short_ids
from snellen.sources.table_checks import Problems, check_names, count


class TestPictures:
    """The pictures in test folders, which the lines of a table may also refer to."""

    def __init__(self, test: Sequence[str], paths: Sequence[str]):
        self.test, self.paths = test, paths

    @cached_property
    def pictures(self) -> Lookup:
        return Lookup(self.test)

    @cached_property
    def share_names(self) -> bool:
        """Return whether a test picture has the name of another picture. Then only a path can refer to it."""
        return not self.pictures.by_stem.keys().isdisjoint(Lookup(self.paths).by_stem)

    def find(self, id: str) -> list[str] | None:
        """Return the test pictures that match `id`, or None if it cannot refer to one."""
        return self.pictures.find(id) if self.test and ("/" in id or not self.share_names) else None


@dataclass(eq=False)
class Assigned:
    """The line that labels each picture, and the lines that do not match a picture."""

    owner: dict[str, tuple[int, str]] = field(default_factory=dict)  # path -> line and id
    labels: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    absent: Problems = field(default_factory=list)
    repeated: Problems = field(default_factory=list)
    ambiguous: Problems = field(default_factory=list)
    empty: Problems = field(default_factory=list)
    total: int = 0

    def add(self, part: TableLabels, role: str, wanted: Collection[str], tests: TestPictures) -> None:
        """Assign the lines of a table. role: of pictures in `wanted` if no column decides; others are test pictures."""
        match = part.match
        match.table.check_width()
        check_names(match, match.column, *part.chosen.columns)
        split = split_column(match)
        values = match.values(split[0]) if split else []
        lines = zip(match.table.lines[match.first :], match.ids, match.where, part.values(), strict=True)
        self.total += len(match.where)
        may_be_empty = len(part.chosen.columns) > 1 or part.reading is not None
        for number, ((line, _), id, where, label) in enumerate(lines):
            is_test = False
            if not where and id and (in_test := tests.find(id)) is not None:
                where, is_test = in_test, True
            if not id or not (label or may_be_empty):
                if not (is_test and id):
                    self.empty.append((line, id))
            elif len(where) > 1:
                self.ambiguous.append((line, f"{id} ({', '.join(where[:3])})"))
            elif not where:
                self.absent.append((line, id))
            elif where[0] in self.owner:
                self.repeated.append((line, f"{id} (first in line {self.owner[where[0]][0]})"))
            else:
                path = where[0]
                named = split[1].get(values[number], "") if split else ""
                self.owner[path], self.labels[path] = (line, id), label
                self.roles[path] = "test" if is_test or path not in wanted else named or role
                if split and is_test and named not in ("test", ""):
                    raise DataError(
                        f'{path} is in a test folder, but its {match.shown(split[0])} is "{values[number]}".',
                        where=f"{match.table.name}, line {line}",
                        expected="the same in both",
                        do="correct the table, or move the picture",
                    )

    def check(self, paths: Sequence[str], match: Match) -> None:
        """Raise DataError with the number and the first few of the lines that do not fit. match: of the main table."""
        unlabelled = [path for path in paths if path not in self.owner] if not self.ambiguous else []
        complaints = [
            count(self.empty, self.total, "lines have no id or no label"),
            count(self.repeated, self.total, "ids are repeated"),
            count(self.ambiguous, self.total, "ids match more than one picture"),
            count(self.absent, self.total, "labels have no picture"),
        ]
        if unlabelled:
            named = first_few(sorted(unlabelled, key=natural_key))
            complaints.append(f"{len(unlabelled)} of {len(paths)} pictures have no label, first {named}")
        if any(complaints):
            raise DataError(
                "labels and pictures do not match: " + "; ".join(filter(None, complaints)) + ".",
                where=f"{match.table.name}, column {match.shown(match.column)}",
                expected="each picture named once, with a label",
                do="correct the table, pass another one (--labels CSV, --id COLUMN), or add or remove the pictures; "
                "were all files unpacked?",
            )

    def rows(self) -> list[Row]:
        """Return the rows in the order of the lines, test pictures last."""
        has_valid = "valid" in self.roles.values()
        splits = {"valid": "valid", "test": "test", "train": "train" if has_valid else None, "": None}
        if has_valid and "" in self.roles.values():
            splits[""] = "train"
        ids = short_ids([id for _, id in self.owner.values()])
        rows = [
            Row(id, self.labels[path], splits[self.roles[path]], path) for id, path in zip(ids, self.owner, strict=True)
        ]
        return [row for row in rows if row.split != "test"] + [row for row in rows if row.split == "test"]


def labelled_rows(parts: Sequence[tuple[TableLabels, str]], paths: Sequence[str], test: Sequence[str]) -> list[Row]:
    """Return one row for each labelled picture, in the order of the tables; those of `test` last.

    parts: tables with the role of their pictures; "" if it is unknown or in a column. paths: the pictures that need a
    label. test: pictures in test folders; they may have labels too, and remain test pictures.
    Raises DataError with the number and the first few of the mismatches.
    """
    assigned, wanted, tests = Assigned(), set(paths), TestPictures(test, paths)
    for part, role in parts:
        assigned.add(part, role, wanted, tests)
    assigned.check(paths, parts[0][0].match)
    return assigned.rows()


def table_role(match: Match, folders: Mapping[str, str]) -> str:
    """Return the role of a table's pictures: that of their folders, or of the table's name, or ""."""
    roles = {folders[path] for path in match.named}
    if len(roles) == 1 and (role := roles.pop()) in ("train", "valid", "test"):
        return role
    role = role_of(match.table.name.rpartition("/")[2].partition(".")[0])
    return role if role in ("train", "valid", "test") else ""
