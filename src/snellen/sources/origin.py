"""Where a source comes from: a path, or the name of a built-in one; and what identifies its files."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from snellen.errors import DataError
from snellen.sources.archives import Folder, open_container
from snellen.sources.decode import is_picture
from snellen.sources.downloads import DOWNLOADS, download
from snellen.sources.source_files import listed_files
from snellen.system.progress import Progress

log = logging.getLogger("snellen")
DEMOS = ("demo", "demo-multi")
WORDS = (*DEMOS, *DOWNLOADS)
TABLE_SUFFIXES = (".csv", ".tsv")


def located(source: str | Path, scratch: Path, on_progress: Progress | None) -> Path:
    """Return the path of a source. A built-in one is downloaded, or written below `scratch`."""
    if source not in WORDS:
        return Path(source)
    if _holds_pictures(
        Path(source)
    ):  # a folder that compete wrote under that name contains none of the user's pictures
        log.info('"%s" is the built-in source; for the folder of that name pass ./%s', source, source)
    if source in DOWNLOADS:
        return download(DOWNLOADS[source], on_progress=on_progress)  # type: ignore[index]
    from snellen.sources import demo, demo_multi

    write = demo.write_competition if source == "demo" else demo_multi.write_competition
    write(scratch / str(source), on_progress=on_progress)
    return scratch / str(source)


def _holds_pictures(path: Path) -> bool:
    try:
        return path.is_dir() and any(is_picture(name) for name, _ in Folder(path).entries())
    except DataError:  # the word does not refer to that folder
        return False


def is_table(path: Path) -> bool:
    """Return whether a path is a CSV file."""
    return path.suffix.lower() in TABLE_SUFFIXES and path.is_file()


def results_inside(source: str | Path, out: Path) -> Path | None:
    """Return the top folder in `source` that contains `out`, if any. It is left out of the source."""
    if source in WORDS or not Path(source).is_dir():
        return None
    root, target = Path(source).resolve(), out.resolve()
    if root == target or not target.is_relative_to(root):
        return None
    return root / target.relative_to(root).parts[0]


def is_source(source: str | Path, out: Path) -> bool:
    """Return whether results would overwrite `source` or be written among its files."""
    return source not in WORDS and Path(source).resolve() == out.resolve()


def identity(
    source: str | Path,
    *,
    labels: str | Path | None = None,
    test: str | Path | None = None,
    sample: str | Path | None = None,
    skip: Path | None = None,
) -> dict[str, Any]:
    """Return what identifies a source without reading it: paths, sizes and modification times, as JSON values.

    Raises DataError for a path that does not exist or is not an archive.
    """
    if source in WORDS:
        known: dict[str, Any] = {"source": source}
        if source in DOWNLOADS:
            known["checksum"] = DOWNLOADS[source].checksum  # type: ignore[index]
    else:
        known = {"source": str(Path(source).resolve())}
        if is_table(Path(source)):
            known |= _stamp(Path(source), skip) | _stamp_of_listed(Path(source))
        else:
            open_container(Path(source))
            known |= _stamp(Path(source), skip)
    for name, path in (("labels", labels), ("test", test), ("sample", sample)):
        if path is not None:
            known[name] = {"path": str(path)} | (_stamp(Path(path), None) if Path(path).exists() else {})
    return known


def _stamp(path: Path, skip: Path | None) -> dict[str, Any]:
    if not path.is_dir():
        status = path.stat()
        return {"bytes": status.st_size, "changed": status.st_mtime_ns}
    digest, count = hashlib.sha256(), 0
    for name, status in Folder(path, skip).entries():
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        count += 1
    return {"files": count, "digest": digest.hexdigest()}


def _stamp_of_listed(table: Path) -> dict[str, Any]:
    """Return the count and the digest of the pictures that a CSV lists."""
    digest, files = hashlib.sha256(), listed_files(table) or {}
    for name, place in files.items():
        status = (place.container.path / place.name).stat()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return {"files": len(files), "digest": digest.hexdigest()}
