"""Download known files once and verify their checksums."""

import hashlib
import http.client
import logging
import os
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from snellen.errors import DataError
from snellen.system import files
from snellen.system.progress import Progress
from snellen.system.units import size

log = logging.getLogger("snellen")
TIMEOUT = 30  # seconds without data


@dataclass(frozen=True)
class Download:
    """A file on the web."""

    name: str
    urls: tuple[str, ...]
    algorithm: str  # of hashlib
    checksum: str  # hexadecimal
    max_bytes: int


DOWNLOADS = {
    "cifar10-tiny": Download(
        "kaggle_cifar10_tiny.zip",
        ("http://d2l-data.s3-accelerate.amazonaws.com/kaggle_cifar10_tiny.zip",),
        "sha1",
        "2068874e4b9a9f0fb07ebe0ad2b29754449ccacd",
        100 * 10**6,
    ),
    "cifar10": Download(
        "cifar-10-python.tar.gz",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        "md5",
        "c58f30108f718f92721af3b95e74349a",
        500 * 10**6,
    ),
}


def download(wanted: Download, *, on_progress: Progress | None = None) -> Path:
    """Return the path of the file in the cache. Download it first if it is missing or has changed.

    The cache is ~/.cache/snellen or $SNELLEN_CACHE. $SNELLEN_MIRRORS is a comma-separated list of URLs of the file or
    its folder, which are tried first.
    on_progress: called with ("download", bytes, total bytes or 0 if unknown).

    Raises DataError with the error from each URL, or the reason why the cache cannot be used.
    """
    path = Path(os.environ.get("SNELLEN_CACHE") or "~/.cache/snellen").expanduser() / wanted.name
    if path.exists():
        with files.disk_errors(path), open(path, "rb") as file:
            if hashlib.file_digest(file, lambda: _digest(wanted)).hexdigest() == wanted.checksum:
                return path
        log.warning("%s has changed since it was downloaded: downloading it again", path)
    answers = []
    for url in (*_mirrors(wanted.name), *wanted.urls):
        log.info("download: %s", url)
        try:
            with files.replacing(path) as file:
                _fetch(url, wanted, file, on_progress)
            return path
        # OSError: urllib's errors and timeouts. An unwritable cache raises DataError, which is not caught.
        except (OSError, http.client.HTTPException, ValueError) as problem:
            answers.append(f"{url} ({problem})")
            log.warning("download failed: %s", answers[-1])
    raise DataError(
        f"{wanted.name} could not be downloaded.",
        where="; ".join(answers),
        expected=f"a file with the {wanted.algorithm.upper()} checksum {wanted.checksum}",
        do=f"check the connection, save the file as {path} yourself, or set a mirror in SNELLEN_MIRRORS",
    )


def _mirrors(name: str) -> list[str]:
    mirrors = [mirror.strip() for mirror in os.environ.get("SNELLEN_MIRRORS", "").split(",") if mirror.strip()]
    return [mirror if mirror.endswith("/" + name) else mirror.rstrip("/") + "/" + name for mirror in mirrors]


def _digest(wanted: Download) -> Any:
    """Return an empty digest. FIPS systems allow MD5 and SHA-1 only for purposes other than security."""
    return hashlib.new(wanted.algorithm, usedforsecurity=False)


def _fetch(url: str, wanted: Download, file: BinaryIO, on_progress: Progress | None) -> None:
    """Write the file at `url` to `file`. Raises ValueError unless it has the right checksum."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("only http and https are allowed")
    digest = _digest(wanted)
    request = urllib.request.Request(url, headers={"User-Agent": "snellen"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        total, done = int(answer.headers.get("Content-Length") or 0), 0
        while part := answer.read(2**18):
            file.write(part)
            digest.update(part)
            done += len(part)
            if done > wanted.max_bytes:
                raise ValueError(f"the server sent more than {size(wanted.max_bytes)}")
            if on_progress:
                on_progress("download", done, total)
    if done < total:
        raise ValueError(f"the connection ended after {done:,} of {total:,} bytes")
    if digest.hexdigest() != wanted.checksum:
        raise ValueError(f"its {wanted.algorithm.upper()} checksum is {digest.hexdigest()}")
