"""Verbs: download a Kaggle competition's files and submit to it. Both need Kaggle's own libraries (an extra)."""

import contextlib
import csv
import hashlib
import io
import json
import logging
import os
import re
import shutil
import sys
import time
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from snellen.competition.kaggle_client import SITE, TIMEOUT, KaggleError, answer, explained, signed_in
from snellen.competition.submission import check_submission
from snellen.errors import DataError
from snellen.images.imageset import ImageSet
from snellen.runs.run import Run
from snellen.system import files
from snellen.system.contents import Contents, contents_of
from snellen.system.folders import locked
from snellen.system.shared import environment

log = logging.getLogger("snellen")

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
    """Check a submission, send it to Kaggle, wait for its score, and return the result.

    images: prepared images, against which every line is checked before anything is sent; or the competition's sample
    submission (CSV), against which header and ids are checked. run: the run whose submissions.jsonl records the result.
    By default both are those that `compete` wrote beside the submission (data/; refit/ or run/).
    competition: its name or address. message: Kaggle shows it beside the score. wait_seconds: 0 returns at once.

    The result: ref (Kaggle's number), competition, file, sha256, message, sent (UTC), status ("pending", "complete" or
    "error"), public_score and private_score (None until they are available).
    Raises DataError for a submission that differs from the sample, KaggleError if Kaggle refuses it.
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
        _record(opened, result)  # before waiting for the score: the submission counts from now on, whatever happens
        log.info("sent to %s as submission %d", name, result["ref"])
        changed, reason = _wait(client, result["ref"], wait_seconds)
    result |= changed
    _record(opened, result)
    page = f"{SITE}/competitions/{name}/submissions"
    if result["status"] == "error":
        raise KaggleError(
            f"Kaggle could not score the submission: {reason or 'Kaggle gave no reason'}.",
            where=f"{path}, submission {result['ref']} to {name}",
            expected="the form of the competition's sample submission",
            do=f"see {page}",
        )
    if result["status"] == "pending":
        log.warning("no score yet; it will appear at %s", page)
    return result


def download(competition: str, out: str | Path | None = None) -> Path:
    """Download the files of a competition into a folder that `prepare` takes, and return the folder.

    competition: its name or address. out: the folder to write (default: the name of the competition). If it exists,
    nothing is downloaded. An interrupted download resumes. In a Kaggle notebook the files already exist, in a folder
    that Kaggle provides; that folder is returned.
    Raises KaggleError if Kaggle refuses, DataError if the files are damaged or cannot be written, RunError if another
    command is downloading them.
    """
    name = competition_name(competition)
    out = Path(out) if out is not None else Path(name)
    if out.exists():
        log.info("%s already exists: nothing to do", out)
        return out
    partial = out.parent.resolve() / f".{out.name}.download"
    with signed_in() as client, locked(partial):
        # kagglehub resumes a download from its cache.
        cache = environment("KAGGLEHUB_CACHE", str(partial))
        with explained(client, name), files.disk_errors(partial), cache:
            folder = _downloaded(name, partial)
        if not folder.is_relative_to(partial):
            return folder
        with files.disk_errors(out):
            os.replace(folder, out)
    shutil.rmtree(partial, ignore_errors=True)
    return out


def competition_name(text: str) -> str:
    """Return the name of a competition, given its name or address. Raises KaggleError for anything else."""
    address = ADDRESS.fullmatch(text.strip())
    name = address[1] if address else text.strip()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise KaggleError(
            f'"{text}" is not the name of a competition.',
            expected=f"the last part of its address, for example cifar-10 in {SITE}/c/cifar-10",
            do="copy it from the browser",
        )
    return name


def _run_beside(path: Path) -> Run | None:
    """Return the run that made the predictions in this file, if `compete` wrote it."""
    for name in ("refit", "run"):
        if contents_of(path.parent / name) in (Contents.RUN, Contents.UNFINISHED_RUN):
            return Run.open(path.parent / name)
    return None


def _check(path: Path, images: ImageSet | str | Path) -> int:
    """Return the number of lines. Raises DataError if the submission does not match the sample."""
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
            there = f'"{ours[line][0]}" and {ours[line][1] - 1} values' if line < len(ours) else "missing"
            wanted = f'"{sample[line][0]}" and {sample[line][1] - 1} values' if line < len(sample) else "no line"
            raise DataError(
                f"line {line + 1} is {there}.",
                where=str(path),
                expected=f"{wanted}, as in {images}",
                do="write it again",
            )
    return len(ours) - 1


def _send(client: Any, competition: str, path: Path, content: bytes, message: str) -> int:
    """Upload the file, submit it, and return Kaggle's number for the submission."""
    import requests
    from kagglesdk.competitions.types.competition_api_service import (
        ApiCreateSubmissionRequest,
        ApiStartSubmissionUploadRequest,
    )

    api = client.competitions.competition_api_client
    start = ApiStartSubmissionUploadRequest()
    start.competition_name, start.file_name, start.content_length = competition, path.name, len(content)
    start.last_modified_epoch_seconds = int(path.stat().st_mtime)
    upload = answer(lambda: api.start_submission_upload(start))
    # Not through the client: this request goes to a file store, which must not receive the token.
    requests.put(upload.create_url, data=content, timeout=TIMEOUT).raise_for_status()
    entry = ApiCreateSubmissionRequest()
    entry.competition_name, entry.blob_file_tokens, entry.submission_description = competition, upload.token, message
    return answer(lambda: api.create_submission(entry)).ref


def _wait(client: Any, ref: int, seconds: float) -> tuple[dict[str, Any], str]:
    """Poll until the submission is scored or the time is up. Return the changed values and the reason for an error."""
    from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionRequest
    from requests import RequestException

    request = ApiGetSubmissionRequest()
    request.ref = ref
    deadline, pause = time.monotonic() + seconds, 0.5
    while ref and time.monotonic() < deadline:
        try:
            state = answer(lambda: client.competitions.competition_api_client.get_submission(request))
            if state.status.name != "PENDING":
                scores = {name: _score(getattr(state, name)) for name in ("public_score", "private_score")}
                return {"status": state.status.name.lower(), **scores}, state.error_description.strip().rstrip(".")
        # The submission is already sent, so an error here only costs time. KeyError: the client lacks this status.
        except (RequestException, json.JSONDecodeError, KeyError) as problem:
            log.info("cannot get the score (%s); trying again", problem)
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        pause = min(1.5 * pause, 10.0)
    return {}, ""


def _score(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _record(run: Run | None, result: dict[str, Any]) -> None:
    """Add the result to the run's submissions.jsonl, replacing any earlier result of the same submission."""
    if run is None:
        return
    path = run.folder / "submissions.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    others = [line for line in lines if not line.startswith(f'{{"ref": {result["ref"]},')]
    files.write_text(path, "".join(f"{line}\n" for line in [*others, json.dumps(result, ensure_ascii=False)]))


def _downloaded(competition: str, partial: Path) -> Path:
    """Download and unpack the competition's files with kagglehub, and return their folder."""
    import kagglehub
    from kagglehub.exceptions import DataCorruptionError
    from requests import RequestException

    logging.getLogger("kagglehub").setLevel(logging.WARNING)  # it prints to stdout, which is for results
    try:
        with contextlib.redirect_stdout(sys.stderr), _without_bar():
            return Path(kagglehub.competition_download(competition))
    except (RequestException, json.JSONDecodeError):  # some are also ValueErrors
        raise
    except (DataCorruptionError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as problem:
        shutil.rmtree(partial, ignore_errors=True)  # otherwise the next download would resume the damaged one
        reason = next(iter(str(problem).split("\n")), "").strip(" .:") or type(problem).__name__
        raise DataError(
            f"the files from Kaggle are damaged ({reason}).",
            where=competition,
            expected="a complete archive of the competition's files",
            do="try again; or download it in a browser and run `snellen prepare` on it",
        ) from None


def _without_bar() -> contextlib.AbstractContextManager[Any]:
    """Hide kagglehub's progress bar unless stderr is a terminal: in a file, every step would add a line."""
    return contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
