"""A curve in one line: heights in order of the values, never wider than allowed."""

import pytest

from snellen.charts.sparkline import HEIGHTS, sparkline


def test_rising_values_rise():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 0, 7, 80) == HEIGHTS
    assert sparkline([1, 0.5, 0], 0, 1, 80) == "█▅▁"


def test_a_longer_curve_is_thinned_out_and_keeps_its_ends():
    assert sparkline([*range(100)], 0, 99, 8) == HEIGHTS
    assert sparkline([0, 5, 9], 0, 9, 1) == "▁"


@pytest.mark.parametrize(("values", "drawn"), [([0.5, 0.5], "▁▁"), ([2, -2], "█▁")])
def test_a_flat_curve_and_values_out_of_range_are_drawn(values, drawn):
    low = 0.5 if values[0] == 0.5 else 0
    assert sparkline(values, low, max(low, 1 if low == 0 else low), 80) == drawn
