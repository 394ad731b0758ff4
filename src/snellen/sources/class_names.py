"""Compare the names of classes, and read names to display."""

import json
import logging
import unicodedata
from collections import Counter
from collections.abc import Sequence

from snellen.errors import DataError, first_few
from snellen.sources.columns import is_number
from snellen.sources.names import CONTROL, MAX_LETTERS
from snellen.sources.tables import Table

log = logging.getLogger("snellen")
MISSING = {"", "-1", "?", "nan", "<na>", "n/a", "null", "unlabeled", "unlabelled", "missing"}


def plain_form(name: str) -> str:
    """Return a label without case, spaces, invisible characters or Unicode composition; 1.0 becomes 1."""
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(letter for letter in text if unicodedata.category(letter) not in ("Cf", "Zs") and letter != "_")
    return f"{float(text):g}" if is_number(text) and len(text) < 16 else text


def warn_of_labels(labels: Sequence[str]) -> None:
    """Warn about labels that look the same ("Cat" and "cat", "1" and "1.0"), or that often stand for a missing one."""
    counts = Counter(labels)
    if missing := {name: num for name, num in counts.items() if name.lower() in MISSING}:
        told = ", ".join(f'"{name}" ({num:,})' for name, num in missing.items())
        log.warning("labels that may mean a missing label are classes: %s; if they do, remove these lines", told)
    groups: dict[str, list[str]] = {}
    for name in counts:
        groups.setdefault(plain_form(name), []).append(name)
    for names in [names for names in groups.values() if len(names) > 1][:5]:
        told = ", ".join(
            f"{json.dumps(name, ensure_ascii=not name.isprintable())} ({counts[name]:,})" for name in names
        )
        log.warning("labels that look alike are different classes: %s; correct them if they mean the same thing", told)


def read_class_names(name: str, data: bytes, table: Table | None, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return a display name for each class, from JSON ({"0": "blight"} or a list) or a CSV of class and name.

    Raises DataError if a class has no name.
    """

    def wrong(what: str) -> DataError:
        return DataError(
            what,
            where=name,
            expected='JSON such as {"0": "blight"}, or a CSV with a column of classes and a column of names',
            do="pass the right file: --class-names FILE",
        )

    if table is None:
        try:
            values = json.loads(data.decode("utf-8-sig"))
        except (ValueError, RecursionError) as problem:
            raise wrong(f"the class names cannot be read: {problem}.") from None
        if isinstance(values, list):
            values = {str(number): text for number, text in enumerate(values)}
        if not isinstance(values, dict):
            raise wrong("the JSON of the class names is neither an object nor a list.")
        names = {str(key): str(text) for key, text in values.items() if isinstance(text, str | int | float)}
    else:
        column = next((c for c in range(table.width) if {*classes} <= {*table.column(c)}), None)
        other = next((c for c in range(table.width) if c != column), None)
        if column is None or other is None:
            raise wrong(f"no column of the class names contains all {len(classes)} classes.")
        names = dict(zip(table.column(column), table.column(other), strict=True))
    if missing := [known for known in classes if not names.get(known)]:
        raise wrong(f"{len(missing)} of {len(classes)} classes have no name, first {first_few(missing)}.")
    found = tuple(names[known] for known in classes)
    if repeated := [text for text, num in Counter(found).items() if num > 1]:
        raise wrong(f"{len(repeated)} names belong to several classes, first {first_few(repeated)}.")
    if any(len(text) > MAX_LETTERS or CONTROL.search(text) for text in found):
        raise wrong("a class name contains control characters or is too long.")
    return found
