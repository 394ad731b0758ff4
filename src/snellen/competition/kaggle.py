"""Fetch a Kaggle competition's files and hand in a submission, through Kaggle's own client (an extra)."""

import contextlib
import csv
import hashlib
import json
import logging
import os
import re
import time
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from snellen.competition.kaggle_client import SITE, TIMEOUT, KaggleError, explained, signed_in
from snellen.competition.submission import check_submission
from snellen.errors import DataError
from snellen.images.imageset import ImageSet
from snellen.runs.run import Run
from snellen.system import files
from snellen.system.progress import Progress

log = logging.getLogger("snellen")

PART = 2**18  # bytes
ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?kaggle\.com/(?:c|competitions)/([^/?#]+).*")


def submit(
    submission: str | Path,
    images: ImageSet | str | Path | None = None,
    *,
    competition: str,
    message: str,
    run: Run | str | Path | None = None,
    wait_seconds: float = 300.0,
) -> dict[str, Any]:
    """Hand in a submission, wait for its score, and return what is known of it.

    images: the prepared images that the submission is checked against, line by line, before anything is sent; or the
    competition's sample submission, a CSV file: then header and ids are checked, labels cannot be.
    run: the result becomes a line of submissions.jsonl in its folder.
    Both may be left out where `compete` wrote the submission: they are found beside it (data/; refit/ or run/).
    competition: its name or address. message: what Kaggle shows beside the score. wait_seconds: 0 does not wait.

    The result: ref (Kaggle's number), competition, file, sha256, message, sent (UTC), status ("pending", "complete" or
    "error"), public_score and private_score (None while there is none).
    Raises DataError for a submission that differs from the sample, KaggleError with what to do where Kaggle refuses.
    """
    path, name = Path(submission), competition_name(competition)
    opened = _run_beside(path) if run is None else run if isinstance(run, Run) else Run.open(run)
    num = _check(path, path.parent / "data" if images is None else images)
    log.info("%s: %d lines, checked against the competition's sample", path, num)
    content = path.read_bytes()
    with signed_in() as client:
        with explained(client, name):
            result: dict[str, Any] = {
                "ref": _send(client, name, path, content, message),
                "competition": name,
                "file": path.name,
                "sha256": hashlib.sha256(content).hexdigest(),
                "message": message,
                "sent": datetime.now(UTC).isoformat(timespec="seconds"),
                "status": "pending",
                "public_score": None,
                "private_score": None,
            }
        _record(opened, result)  # before the score: it is handed in, whatever happens now
        log.info("sent to %s as submission %d", name, result["ref"])
        found, reason = _wait(client, result["ref"], wait_seconds)
    result |= found
    _record(opened, result)
    page = f"{SITE}/competitions/{name}/submissions"
    if result["status"] == "error":
        raise KaggleError(
            f"Kaggle could not score the submission: {reason or 'it gives no reason'}.",
            where=f"{path}, submission {result['ref']} to {name}",
            expected="the form of the competition's sample submission",
            do=f"see {page}",
        )
    if result["status"] == "pending":
        log.warning("there is no score yet; it will be at %s", page)
    return result


def download(competition: str, out: str | Path | None = None, *, on_progress: Progress | None = None) -> Path:
    """Fetch all files of a competition as the zip that Kaggle serves and `prepare` takes; returns its path.

    out: the zip to write, or a folder to write NAME.zip into; by default the current one. Run again, an interrupted
    download goes on where it stopped, and a finished one is left alone.
    on_progress: called with ("download", bytes, bytes in all or 0 where Kaggle does not say).
    Raises KaggleError with what to do where Kaggle refuses, DataError where the file arrives damaged or has no room, or
    where another command fetches it now.
    """
    name = competition_name(competition)
    path = Path(out) if out is not None else Path()
    path = path if path.suffix == ".zip" else path / f"{name}.zip"
    if path.exists():
        log.info("%s is there already: nothing to do", path)
        return path
    with signed_in() as client, _alone(path):
        partial = path.with_name(f".{path.name}.partial")
        with explained(client, name):
            _fetch(client, name, partial, on_progress)
        _check_zip(partial, name)
        os.replace(partial, path)
    return path


def competition_name(text: str) -> str:
    """A competition's name, also out of its address. Raises KaggleError for what can be none."""
    found = ADDRESS.fullmatch(text.strip())
    name = found[1] if found else text.strip()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise KaggleError(
            f'"{text}" is not the name of a competition.',
            expected=f"the last part of its address, for example cifar-10 of {SITE}/c/cifar-10",
            do="copy it from the browser",
        )
    return name


def _run_beside(path: Path) -> Run | None:
    """The run whose predictions `compete` wrote into this file."""
    for name in ("refit", "run"):
        if (path.parent / name / "about.json").exists():
            return Run.open(path.parent / name)
    return None


def _check(path: Path, images: ImageSet | str | Path) -> int:
    """The number of lines of a submission that is in the sample's form. Raises DataError for any other."""
    if isinstance(images, ImageSet) or not Path(images).is_file():
        return check_submission(path, images if isinstance(images, ImageSet) else ImageSet.open(images))
    columns = []
    for file in (path, Path(images)):
        try:
            with open(file, newline="", encoding="utf-8-sig") as lines:
                columns.append([(row[0], len(row)) for row in csv.reader(lines) if row])
        except (OSError, UnicodeDecodeError, csv.Error) as problem:
            raise DataError(f"{file.name} cannot be read: {problem}.", where=str(file), do="check the path") from None
    ours, sample = columns
    for line in range(max(len(ours), len(sample))):
        if ours[line : line + 1] != sample[line : line + 1]:
            found = f'"{ours[line][0]}" and {ours[line][1] - 1} values' if line < len(ours) else "missing"
            wanted = f'"{sample[line][0]}" and {sample[line][1] - 1} values' if line < len(sample) else "no line"
            raise DataError(
                f"line {line + 1} is {found}.",
                where=str(path),
                expected=f"{wanted}, as in {images}",
                do="write it again",
            )
    return len(ours) - 1


def _send(client: Any, competition: str, path: Path, content: bytes, message: str) -> int:
    """Upload the file and enter it; returns Kaggle's number for it."""
    import requests
    from kagglesdk.competitions.types.competition_api_service import (
        ApiCreateSubmissionRequest,
        ApiStartSubmissionUploadRequest,
    )

    api = client.competitions.competition_api_client
    start = ApiStartSubmissionUploadRequest()
    start.competition_name, start.file_name, start.content_length = competition, path.name, len(content)
    start.last_modified_epoch_seconds = int(path.stat().st_mtime)
    upload = api.start_submission_upload(start)
    # Not over the client's session: this goes to a store of files, which is not to see the token.
    requests.put(upload.create_url, data=content, timeout=TIMEOUT).raise_for_status()
    entry = ApiCreateSubmissionRequest()
    entry.competition_name, entry.blob_file_tokens, entry.submission_description = competition, upload.token, message
    return api.create_submission(entry).ref


def _wait(client: Any, ref: int, seconds: float) -> tuple[dict[str, Any], str]:
    """Ask for the submission until it is scored or the time is over: what is new, and the reason of an error."""
    from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionRequest
    from requests import RequestException

    request = ApiGetSubmissionRequest()
    request.ref = ref
    deadline, pause = time.monotonic() + seconds, 0.5
    while ref and time.monotonic() < deadline:
        try:
            found = client.competitions.competition_api_client.get_submission(request)
            if found.status.name != "PENDING":
                scores = {name: _score(getattr(found, name)) for name in ("public_score", "private_score")}
                return {"status": found.status.name.lower(), **scores}, found.error_description.strip().rstrip(".")
        # It is handed in already: a fault here costs no more than a moment. KeyError: a status that the client lacks.
        except (RequestException, json.JSONDecodeError, KeyError) as problem:
            log.info("no answer about the score (%s); asking again", problem)
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        pause = min(1.5 * pause, 10.0)
    return {}, ""


def _score(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _record(run: Run | None, result: dict[str, Any]) -> None:
    """Add the result to the run's submissions, in the place of what was known of it before."""
    if run is None:
        return
    path = run.folder / "submissions.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    others = [line for line in lines if not line.startswith(f'{{"ref": {result["ref"]},')]
    files.write_text(path, "".join(f"{line}\n" for line in [*others, json.dumps(result, ensure_ascii=False)]))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep others from fetching the same file meanwhile. Raises DataError where another does, or the disk refuses."""
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise DataError(
            "another command is fetching this file.", where=str(path), do="wait for it, or choose another --out"
        ) from None
    except OSError as problem:
        raise _not_written(path, problem) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows lets nobody remove it yet, and does so on release
            os.unlink(lock.lock_file)
        lock.release()


def _not_written(path: Path, problem: OSError) -> DataError:
    return DataError(
        f"the download cannot be written: {problem.strerror}.", where=str(path), do="make room, or change --out"
    )


def _fetch(client: Any, competition: str, partial: Path, on_progress: Progress | None) -> None:
    """Write the competition's zip to `partial`, or the rest of it where the start is there."""
    import requests
    from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest

    request = ApiDownloadDataFilesRequest()
    request.competition_name = competition
    answer = client.competitions.competition_api_client.download_data_files(request)
    total, done = int(answer.headers.get("Content-Length") or 0), 0
    if partial.exists() and answer.headers.get("Accept-Ranges") == "bytes":
        done = partial.stat().st_size
        if 0 < done < total:
            answer.close()
            answer = requests.get(answer.url, headers={"Range": f"bytes={done}-"}, stream=True, timeout=TIMEOUT)
            answer.raise_for_status()
    with answer:
        if done == total > 0:
            return
        if answer.status_code == 206:
            log.info("the download goes on at %.0f of %.0f MB", done / 10**6, total / 10**6)
        else:
            done = 0
        try:
            with open(partial, "ab" if done else "wb") as file:
                for part in answer.iter_content(PART):
                    file.write(part)
                    done += len(part)
                    if on_progress:
                        on_progress("download", done, total)
        except requests.RequestException:
            raise
        except OSError as problem:
            raise _not_written(partial, problem) from None


def _check_zip(path: Path, competition: str) -> None:
    """Remove what is no whole zip, and raise DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as problem:
        damaged = str(problem)
    if damaged is not None:
        path.unlink()
        raise DataError(
            f"what Kaggle sent is damaged ({damaged}).",
            where=competition,
            expected="a whole zip of the competition's files",
            do="try again; or download it in the browser and give it to `snellen prepare`",
        )
