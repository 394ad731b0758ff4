"""Exceptions that a user can cause. Messages have four parts: what is wrong, where, what was expected, what to do."""

import difflib
from collections.abc import Iterable, Sequence

MAX_SHOWN = 200  # characters of a name that a message shows


class SnellenError(Exception):
    """Something a user can fix. `what` is a full sentence that includes the invalid value."""

    def __init__(self, what: str, *, where: str = "", expected: str = "", do: str = ""):
        self.what, self.where, self.expected, self.do = what, where, expected, do
        parts = [what]
        parts += [f"  {name}: {text}" for name, text in (("in", where), ("expected", expected), ("do", do)) if text]
        super().__init__("\n".join(parts))


class DataError(SnellenError):
    """A problem with a file: images, labels, archives, prepared data, predictions, submissions."""


class RecipeError(SnellenError):
    """Settings."""


class RunError(SnellenError):
    """A problem with a run folder, a checkpoint or a model file."""


class DivergedError(RunError):
    """Infinite or NaN values in a training run or a model."""


class OutOfMemoryError(RunError):
    """Too little memory on the device or the machine for a training run."""


def shown(name: str) -> str:
    """Return an untrusted name in a form that is safe to print: control characters escaped, long names cut."""
    if name.isprintable():
        return name[:MAX_SHOWN]
    spelt = (c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name[:MAX_SHOWN])
    return "".join(spelt)[:MAX_SHOWN]


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return the `do` part of a message about a misspelt name: the closest known name, or `otherwise`."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'did you mean "{shown(near[0])}"?' if near else otherwise


def some_of(names: Sequence[str], most: int = 5) -> str:
    """Return the first few names, for a list of classes: "cat, deer, ..."."""
    return ", ".join(map(shown, names[:most])) + (", ..." if len(names) > most else "")


def first_few(names: Iterable[str], most: int = 3) -> str:
    """Return up to `most` names in quotes, for messages that also give a count: '"3", "17", "9"'."""
    names = list(names)
    return ", ".join(f'"{shown(name)}"' for name in names[:most]) + (", ..." if len(names) > most else "")
