"""How the verbs tell how far they are."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # (stage, for example "decode"; done; in all, or 0 where that is not known)
