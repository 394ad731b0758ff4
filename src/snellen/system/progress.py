"""How the verbs report their progress."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # (stage, such as "decode"; done; in all, or 0 if unknown)
