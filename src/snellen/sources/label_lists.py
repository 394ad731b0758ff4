"""The labels of an image that can have several, as one text: a JSON list, because names may contain any character."""

import json
from collections.abc import Iterable, Sequence


def as_list(names: Iterable[str]) -> str:
    """Return the text of these labels, sorted and once each: '["forest", "river"]'; '[]' if there are none."""
    return json.dumps(sorted({*names}), ensure_ascii=False)


def in_list(text: str) -> list[str]:
    """Return the labels in a text written by `as_list`. Raises ValueError if it is something else."""
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{text[:60]} is not a list of labels")
    return names


def labels_in(text: str | None, has_several: bool) -> Sequence[str]:
    """Return the labels of a row: one name, or those of the list; none if the labels are unknown."""
    if not text:
        return ()
    return in_list(text) if has_several else (text,)


def shown_list(names: Sequence[str]) -> str:
    """Return labels for display: "forest, river"; "none" if there are none."""
    return ", ".join(names) or "none"
