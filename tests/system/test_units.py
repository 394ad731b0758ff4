from snellen.system.units import counted, minutes, percent, percents, points, size


def test_lengths_of_time():
    assert [minutes(s) for s in (0.04, 8.11, 59.96, 125, 3600, 7261)] == [
        "0.0 s", "8.1 s", "60.0 s", "2 min 5 s", "1 h 0 min", "2 h 1 min",
    ]  # fmt: skip


def test_numbers_of_bytes():
    assert [size(n) for n in (12, 999, 1000, 7_905_684, 3_200_000_000)] == [
        "12 bytes", "999 bytes", "1 kB", "7.9 MB", "3.2 GB",
    ]  # fmt: skip


def test_shares_intervals_and_differences():
    assert percent(0.83125) == "83.12%"
    assert percent(1, 0) == "100%"
    assert percents(0.8104, 0.852) == "81.04 to 85.20%"
    assert percents(0.8104, 0.852, 0) == "81 to 85%"
    assert [points(d) for d in (0.0052, -0.01, 0)] == ["+0.52", "-1.00", "+0.00"]


def test_counts():
    assert [counted(n, "image") for n in (0, 1, 2000)] == ["0 images", "1 image", "2,000 images"]
