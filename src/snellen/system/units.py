"""Format seconds, bytes and shares for people."""


def percent(share: float, digits: int = 2) -> str:
    """Return a share as a percentage, such as 83.12%."""
    return f"{100 * share:.{digits}f}%"


def percents(low: float, high: float, digits: int = 2) -> str:
    """Return an interval of shares as percentages, such as 81.04 to 85.20%."""
    return f"{100 * low:.{digits}f} to {percent(high, digits)}"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, such as +0.52."""
    return f"{100 * difference:+.2f}"


def minutes(seconds: float) -> str:
    """Return a duration such as 8.1 s, 2 min 5 s or 1 h 40 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def size(num_bytes: float) -> str:
    """Return a size such as 812 kB or 7.9 MB; 1 kB is 1,000 bytes."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000 or unit == "GB":
            break
        num_bytes /= 1000
    return f"{num_bytes:,.0f} {unit}" if unit in ("bytes", "kB") else f"{num_bytes:,.1f} {unit}"


def counted(num: int, noun: str) -> str:
    """Return a number with its noun, such as 1 image or 2,000 images."""
    return f"{num:,} {noun}{'s' * (num != 1)}"
