"""The exceptions a user can cause, each a message with four parts: what, where, what was expected, what to do."""

import difflib
from collections.abc import Iterable, Sequence


class SnellenError(Exception):
    """Something a user can mend. `what` is a whole sentence that holds the wrong value."""

    def __init__(self, what: str, *, where: str = "", expected: str = "", do: str = ""):
        self.what, self.where, self.expected, self.do = what, where, expected, do
        parts = [what]
        parts += [f"  {name}: {text}" for name, text in (("in", where), ("expected", expected), ("do", do)) if text]
        super().__init__("\n".join(parts))


class DataError(SnellenError):
    """Files: images, labels, archives, prepared data, predictions, submissions."""


class RecipeError(SnellenError):
    """Settings."""


class RunError(SnellenError):
    """A run folder, a checkpoint or a model file."""


class DivergedError(RunError):
    """A training or a model whose numbers are infinite or not numbers."""


class OutOfMemoryError(RunError):
    """A device or the machine without enough memory for a training."""


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """The `do` part for a misspelt name: the nearest known one, or `otherwise`."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else otherwise


def some_of(names: Sequence[str], most: int = 5) -> str:
    """The first of a list of classes: "cat, deer, ..."."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def first_few(names: Iterable[str], most: int = 3) -> str:
    """Up to `most` names in quotes, for messages that count many: '"3", "17", "9"'."""
    names = list(names)
    return ", ".join(f'"{name}"' for name in names[:most]) + (", ..." if len(names) > most else "")
