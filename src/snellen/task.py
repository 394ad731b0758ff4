"""Task: what is asked of a model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """The classes that images belong to, and how many of them an image has."""

    classes: tuple[str, ...]  # K names, in the order of labels and of the columns of probabilities
    kind: str = "single"  # labels per image: "single"
