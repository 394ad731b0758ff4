"""Draw a curve in one line of text."""

from collections.abc import Sequence

HEIGHTS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], low: float, high: float, width: int) -> str:
    """Draw at most `width` evenly spaced values as blocks, whose height shows the position between `low` and `high`."""
    num = min(width, len(values))
    chosen = [values[(len(values) - 1) * i // max(1, num - 1)] for i in range(num)]
    steps = (len(HEIGHTS) - 1) / max(high - low, 1e-9)
    return "".join(HEIGHTS[round(steps * (min(max(value, low), high) - low))] for value in chosen)
