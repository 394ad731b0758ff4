"""The type of the functions to which the verbs report their progress."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # (stage, such as "decode"; done; total, or 0 if unknown)
