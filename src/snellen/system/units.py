"""Seconds, bytes and shares as people read them."""


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f}%"


def minutes(seconds: float) -> str:
    """For people: 8.1 s, 2 min 5 s, 1 h 40 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def size(num_bytes: float) -> str:
    """For people: 812 kB, 7.9 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000 or unit == "GB":
            break
        num_bytes /= 1000
    return f"{num_bytes:,.0f} {unit}" if unit in ("bytes", "kB") else f"{num_bytes:,.1f} {unit}"
