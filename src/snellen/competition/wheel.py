"""Rebuild the wheel of the installed package, without network or build tools.

The format is that of https://packaging.python.org/en/latest/specifications/binary-distribution-format/.
"""

import base64
import hashlib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import snellen
from snellen.errors import DataError

PACKAGE = "snellen"
METADATA = ("METADATA", "entry_points.txt")  # of the installed distribution
WHEEL = "Wheel-Version: 1.0\nGenerator: snellen\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
MADE = (1980, 1, 1, 0, 0, 0)  # the same for all files, so that equal installations give equal bytes


def rebuilt_wheel(folder: Path) -> Path:
    """Write the wheel into the folder and return its path. Raises DataError if snellen is not installed."""
    try:
        installed = distribution(PACKAGE)
    except PackageNotFoundError:
        raise DataError(
            "snellen is not installed, so its wheel cannot be rebuilt.",
            expected="an installation by pip",
            do="install it first: pip install .",
        ) from None
    root = Path(snellen.__file__).parent
    contents = {
        f"{PACKAGE}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }
    info = f"{PACKAGE}-{installed.version}.dist-info"
    for name in METADATA:
        contents[f"{info}/{name}"] = (installed.read_text(name) or "").encode()
    contents[f"{info}/WHEEL"] = WHEEL.encode()
    record = f"{info}/RECORD"
    lines = [f"{name},{_digest(data)},{len(data)}" for name, data in contents.items()]
    contents[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    wheel = folder / f"{PACKAGE}-{installed.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name, MADE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return wheel


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
