"""A curve in one line of text."""

from collections.abc import Sequence

HEIGHTS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], low: float, high: float, width: int) -> str:
    """Draw values between low and high as blocks of rising height, at most `width` of them, evenly chosen."""
    num = min(width, len(values))
    chosen = [values[(len(values) - 1) * i // max(1, num - 1)] for i in range(num)]
    steps = (len(HEIGHTS) - 1) / max(high - low, 1e-9)
    return "".join(HEIGHTS[round(steps * (min(max(value, low), high) - low))] for value in chosen)
