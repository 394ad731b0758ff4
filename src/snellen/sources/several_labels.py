"""Detect several labels per image in one value, such as "haze primary"."""

import logging
from collections import Counter
from collections.abc import Sequence

from snellen.errors import DataError, some_of
from snellen.sources.names import shown
from snellen.sources.roles import words_of
from snellen.task import Task

log = logging.getLogger("snellen")
PLURALS = {"labels", "tags", "classes", "attributes", "diseases", "findings"}
SEPARATORS = (";", "|", ",", " ")


def separator_of(values: Sequence[str], header: str, kind: str | None) -> str | None:
    """Return the separator between several labels in one value, or None if each value is one label.

    A separator counts if splitting leaves fewer distinct labels, which recur. Spaces count only if the words also occur
    alone or in other combinations: "golden retriever" stays one label. Raises DataError if the values are ambiguous.
    """
    if kind == "single":
        return None
    values = [value for value in dict.fromkeys(values) if value]
    for separator in SEPARATORS:
        split = {value: tuple(part.strip() for part in value.split(separator) if part.strip()) for value in values}
        several = {value: parts for value, parts in split.items() if len(parts) > 1}
        if not several:
            continue
        uses = Counter(part for parts in split.values() for part in set(parts))
        recurring = {part for parts in several.values() for part in parts if uses[part] > 1}
        alone = {parts[0] for parts in split.values() if len(parts) == 1}
        all_recur = all(part in recurring for parts in several.values() for part in parts)
        is_plural = bool(words_of(header) & PLURALS)
        if kind == "multi" or (is_plural and recurring):
            return separator
        lengths = {len(parts) for parts in split.values()}
        if separator != " ":
            if all_recur and len(uses) < len(values):
                return separator
            continue
        if all_recur and len(uses) < len(values) and {part for parts in several.values() for part in parts} <= alone:
            return separator
        if all_recur and len(uses) < len(values):
            if len(lengths) > 2:
                return separator
            one = next(iter(several))
            raise DataError(
                f'labels such as "{shown(one)}" could be one label, or several separated by spaces.',
                where=f'column "{shown(header)}"' if header else "",
                expected="one label or several, but not both",
                do="pass --kind single or --kind multi",
            )
        if alone & recurring:
            log.warning(
                'labels such as "%s" are read as one label each; if each holds several, run again with --kind multi',
                shown(next(value for value, parts in several.items() if set(parts) & alone)),
            )
    return None


def refuse_multi(task: Task, what: str) -> None:
    """Raise DataError for a task with several labels per image."""
    if task.kind == "multi":
        raise DataError(
            f"the images have several labels each: {what}.",
            where="",
            expected=f"one label per image (here the labels are {some_of(task.classes, 6)})",
            do="this version trains on one label per image; if each value is one label, pass --kind single",
        )
