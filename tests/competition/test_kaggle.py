"""Kaggle, through its real client libraries, against a stand-in for its server on loopback."""

import base64
import hashlib
import http.server
import io
import json
import os
import socketserver
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from made import make_images, noise
from snellen.errors import DataError, RunError, SnellenError
from snellen.runs.recipe import Recipe
from snellen.system.folders import locked

pytest.importorskip("kagglesdk")
pytest.importorskip("kagglehub")

from snellen.competition.kaggle import competition_name, download, submit
from snellen.competition.kaggle_client import KaggleError
from snellen.training.record import start_run

SAMPLE = b"id,label\n3,cat\n1,cat\n2,cat\n"
ABOUT = {"fingerprint": "x", "on": "train", "metric": "accuracy"}  # of a run
GOOD = "id,label\n3,dog\n1,cat\n2,dog\n"
API = "http://localhost/api/v1/competitions.CompetitionApiService/"


class Kaggle(http.server.ThreadingHTTPServer):
    """Answers as Kaggle does, and keeps what it was sent. It is the HTTP proxy through which localhost is reached."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.store = self.url  # of the files
        self.asked: list[tuple[str, dict]] = []
        self.uploads: dict[str, bytes] = {}
        self.upload_headers: dict = {}
        self.competition = {"ref": f"{self.url}/competitions/cifar-10", "userHasEntered": True}
        self.limits = {"numToday": 1, "numTotal": 7, "numAllowedNow": 4}
        self.refuse: dict[str, tuple[int, dict]] = {}  # request -> status and answer
        self.states = [{"status": "COMPLETE", "publicScore": "0.9123", "privateScore": "0.9045"}]
        self.archive = b""
        self.checksum = True  # sent with the archive
        self.cut_after: int | None = None  # bytes of the archive, then the connection ends
        self.ranges: list[str | None] = []

    def handle_error(self, request, client_address):
        """A client may leave before the end."""

    def stop(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Kaggle

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        assert self.path.startswith(API), self.path
        name = self.path.removeprefix(API)
        self.server.asked.append((name, body))
        if self.headers.get("Authorization") != "Bearer secret":
            return self.answer(401, {"code": 401, "message": "Unauthenticated"})
        if name in self.server.refuse:
            return self.answer(*self.server.refuse[name])
        if body.get("competitionName", "cifar-10") != "cifar-10":
            return self.answer(403, {"code": 403, "message": "Permission 'competitions.get' was denied"})
        if name == "DownloadDataFiles":
            self.send_response(302)
            self.send_header("Location", f"{self.server.url}/files/archive")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if name == "GetSubmission":
            state = self.server.states.pop(0) if len(self.server.states) > 1 else self.server.states[0]
            return self.answer(200, {"ref": 4711, **state})
        answers = {
            "GetCompetition": self.server.competition,
            "ListCompetitions": {"competitions": [{"ref": "https://www.kaggle.com/competitions/cifar-10"}]},
            "GetSubmissionLimits": self.server.limits,
            "StartSubmissionUpload": {"token": "blob", "createUrl": f"{self.server.store}/upload/blob"},
            "CreateSubmission": {"message": "Successfully submitted", "ref": 4711},
        }
        return self.answer(200, answers[name])

    def do_PUT(self):
        self.server.uploads[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.upload_headers = dict(self.headers)
        self.answer(200, {})

    def do_GET(self):
        whole, wanted = self.server.archive, self.headers.get("Range")
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Last-Modified", "Tue, 24 Nov 2026 08:00:00 GMT")
        if self.server.checksum:
            digest = base64.b64encode(hashlib.md5(whole).digest()).decode()
            self.send_header("x-goog-hash", f"crc32c=AAAAAA==, md5={digest}")
        self.send_header("Content-Length", str(len(whole) - start))
        self.end_headers()
        self.wfile.write(whole[start : self.server.cut_after])

    def answer(self, status, value):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(value, bytes) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_KERNEL_RUN_TYPE", "KAGGLEHUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "secret")
    server = Kaggle()
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, server.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")  # the store of files
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.stop()
    thread.join()


@pytest.fixture
def images(tmp_path):
    names, splits = ["cat", "dog", "", "", ""], ["train", "train", "test", "test", "test"]
    return make_images(tmp_path / "data", noise(5), names, splits, ids=["a", "b", "1", "2", "3"], sample=SAMPLE)


@pytest.fixture
def submission(tmp_path):
    path = tmp_path / "submission.csv"
    path.write_text(GOOD)
    return path


def hand_in(submission, images, **changes):
    return submit(submission, images, **{"competition": "cifar-10", "message": "fast, 8 epochs"} | changes)


def requests_of(kaggle):
    return [name for name, _ in kaggle.asked]


# Submitting


def test_the_file_arrives_and_its_score_is_recorded_in_the_run(kaggle, images, submission, tmp_path):
    run = start_run(tmp_path / "run", Recipe(), ABOUT)
    result = hand_in(submission, images, run=run.folder)
    assert kaggle.uploads == {"/upload/blob": GOOD.encode()}
    told = dict(kaggle.asked)
    assert told["StartSubmissionUpload"]["fileName"] == "submission.csv"
    assert told["StartSubmissionUpload"]["contentLength"] == len(GOOD)
    assert told["CreateSubmission"]["blobFileTokens"] == "blob"
    assert told["CreateSubmission"]["submissionDescription"] == "fast, 8 epochs"
    assert result["ref"] == 4711
    assert (result["status"], result["public_score"], result["private_score"]) == ("complete", 0.9123, 0.9045)
    assert [json.loads(line) for line in (run.folder / "submissions.jsonl").read_text().splitlines()] == [result]


def test_the_token_does_not_go_to_the_store_of_files(kaggle, images, submission):
    hand_in(submission, images)
    assert "Authorization" not in kaggle.upload_headers


def test_what_compete_wrote_needs_no_paths(kaggle, images, submission, tmp_path):
    runs = [start_run(tmp_path / name, Recipe(), ABOUT) for name in ("run", "refit")]
    result = submit(submission, competition="cifar-10", message="all of it")
    assert not (runs[0].folder / "submissions.jsonl").exists()
    assert json.loads((runs[1].folder / "submissions.jsonl").read_text()) == result
    images.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="does not exist"):
        submit(submission, competition="cifar-10", message="all of it")


def test_a_second_submission_is_a_second_line(kaggle, images, submission, tmp_path):
    run = start_run(tmp_path / "run", Recipe(), ABOUT)
    old = '{"ref": 1, "competition": "cifar-10"}\n'
    (run.folder / "submissions.jsonl").write_text(old)
    hand_in(submission, images, run=run)
    lines = (run.folder / "submissions.jsonl").read_text().splitlines(keepends=True)
    assert lines[0] == old
    assert len(lines) == 2


def test_it_waits_for_the_score_over_short_faults(kaggle, images, submission, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    kaggle.states = [{"status": "PENDING"}, {"status": "SUBMISSION_NEW"}, *kaggle.states]
    assert hand_in(submission, images)["public_score"] == 0.9123
    assert requests_of(kaggle).count("GetSubmission") == 3


def test_waiting_ends_and_the_record_says_pending(kaggle, images, submission, tmp_path, caplog):
    run = start_run(tmp_path / "run", Recipe(), ABOUT)
    kaggle.states = [{"status": "PENDING"}]
    result = hand_in(submission, images, run=run, wait_seconds=0.2)
    assert result["status"] == "pending"
    assert "no score yet" in caplog.text
    assert '"status": "pending"' in (run.folder / "submissions.jsonl").read_text()


def test_a_submission_that_cannot_be_scored_says_why(kaggle, images, submission, tmp_path):
    run = start_run(tmp_path / "run", Recipe(), ABOUT)
    kaggle.states = [{"status": "ERROR", "errorDescription": "Evaluation raised an unexpected error."}]
    with pytest.raises(KaggleError, match=r"could not score the submission: Evaluation raised an unexpected error\."):
        hand_in(submission, images, run=run)
    assert '"status": "error"' in (run.folder / "submissions.jsonl").read_text()


@pytest.mark.parametrize(
    "wrong", ["id,label\n1,cat\n3,dog\n2,dog\n", "id,label\n3,dog\n1,cow\n2,dog\n", "id,label\n3,dog\n"]
)
def test_a_wrong_submission_is_not_sent(kaggle, images, submission, wrong):
    submission.write_text(wrong)
    with pytest.raises(DataError, match=r"submission\.csv"):
        hand_in(submission, images)
    assert kaggle.asked == []


def test_a_sample_file_does_for_the_check(kaggle, submission, tmp_path):
    sample = tmp_path / "sample.csv"
    sample.write_bytes(b"\xef\xbb\xbf" + SAMPLE)
    hand_in(submission, sample)
    for wrong, words in [
        ("id,label\n1,cat\n3,dog\n2,dog\n", 'line 2 is "1" and 1 values.[^$]*expected: "3" and 1 values'),
        ("id,label\n3,dog\n1,cat\n", 'line 4 is missing[^$]*expected: "2" and 1 values'),
        (GOOD + "9,cat\n", 'line 5 is "9" and 1 values[^$]*expected: no line'),
        ("id,label\n3,dog,cat\n", 'line 2 is "3" and 2 values'),
    ]:
        submission.write_text(wrong)
        with pytest.raises(DataError, match=words):
            hand_in(submission, sample)
    with pytest.raises(DataError, match="cannot be read"):
        hand_in(tmp_path / "nothing.csv", sample)


# Refusals


def refused(kaggle, images, submission, **changes):
    """The message of a submission that Kaggle refuses."""
    with pytest.raises(KaggleError) as caught:
        hand_in(submission, images, **changes)
    message = str(caught.value)
    assert "\n  do: " in message
    assert "<" not in message, "an object was printed"
    return message


BARE = (400, {"code": 400, "message": "Bad Request"})


def test_no_token(kaggle, images, submission, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    message = refused(kaggle, images, submission)
    assert "no Kaggle token" in message
    assert "https://www.kaggle.com/settings/api" in message
    assert kaggle.asked == []


def test_unreadable_token_file(kaggle, images, submission, monkeypatch, tmp_path):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "kaggle.json").write_text("{username: me}")
    assert "token cannot be read" in refused(kaggle, images, submission)


def test_token_that_is_not_accepted(kaggle, images, submission, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "old")
    assert "does not accept the token" in refused(kaggle, images, submission)


def test_wrong_name_offers_the_near_one(kaggle, images, submission):
    message = refused(kaggle, images, submission, competition="cifar10")
    assert 'the competition "cifar10" does not exist' in message
    assert 'did you mean "cifar-10"?' in message


@pytest.mark.parametrize("name", ["", "../cifar-10", "a b", "cifar-10/data", "https://example.com/c/x"])
def test_what_can_be_no_name_is_not_asked_for(kaggle, images, submission, name):
    assert "is not the name of a competition" in refused(kaggle, images, submission, competition=name)
    assert kaggle.asked == []


@pytest.mark.parametrize(
    "address",
    ["cifar-10", " cifar-10 ", "https://www.kaggle.com/c/cifar-10", "kaggle.com/competitions/cifar-10/overview?x=1"],
)
def test_an_address_is_a_name_too(address):
    assert competition_name(address) == "cifar-10"


def test_rules_not_accepted(kaggle, images, submission):
    kaggle.competition["userHasEntered"] = False
    kaggle.refuse["StartSubmissionUpload"] = BARE
    message = refused(kaggle, images, submission)
    assert "has not accepted the rules of cifar-10" in message
    assert "https://www.kaggle.com/competitions/cifar-10/rules" in message


def test_daily_limit(kaggle, images, submission):
    kaggle.limits = {"numToday": 5, "numTotal": 40, "numAllowedNow": 0}
    kaggle.refuse["CreateSubmission"] = BARE
    message = refused(kaggle, images, submission)
    assert "today's 5 submissions to cifar-10 are used up" in message
    assert "after midnight UTC" in message


def test_limit_for_good(kaggle, images, submission):
    kaggle.limits = {"numTotal": 2, "numAllowedNow": 0, "limitedByTotal": True}
    kaggle.refuse["CreateSubmission"] = BARE
    with pytest.raises(KaggleError, match="all 2 submissions that cifar-10 allows"):
        hand_in(submission, images)


@pytest.mark.parametrize(
    ("fact", "words"),
    [("isKernelsSubmissionsOnly", "only from Kaggle notebooks"), ("submissionsDisabled", "cifar-10 is closed")],
)
def test_competition_that_takes_no_files(kaggle, images, submission, fact, words):
    kaggle.competition[fact] = True
    kaggle.refuse["CreateSubmission"] = BARE
    assert words in refused(kaggle, images, submission)


def test_any_other_refusal_is_shown_in_kaggles_words_without_its_control_characters(kaggle, images, submission):
    kaggle.refuse["CreateSubmission"] = (400, {"code": 400, "message": "File is\n empty \x1b[31m!"})
    kaggle.limits = {}  # an account without a team: nothing is used up
    assert "Kaggle refused the request: File is empty [31m! (error 400)." in refused(kaggle, images, submission)


def test_trouble_at_kaggle(kaggle, images, submission):
    kaggle.refuse["StartSubmissionUpload"] = (503, b"<html>busy</html>")
    assert "has a problem (error 503)" in refused(kaggle, images, submission)


def test_no_connection(kaggle, images, submission):
    kaggle.store = "http://127.0.0.1:1"
    assert "cannot be reached: there is no connection" in refused(kaggle, images, submission)
    kaggle.stop()
    assert "cannot be reached: the proxy refuses the connection" in refused(kaggle, images, submission)


def test_a_login_page_of_the_network_is_not_taken_for_kaggle(kaggle, images, submission):
    kaggle.refuse["StartSubmissionUpload"] = (200, b"<html>please log in to the hotel</html>")
    assert "another server responded in its place" in refused(kaggle, images, submission)


def test_a_server_that_does_not_answer_is_given_up(kaggle, images, submission, monkeypatch):
    monkeypatch.setattr("snellen.competition.kaggle_client.TIMEOUT", 0.2)
    with socketserver.TCPServer(("127.0.0.1", 0), None) as silent:  # the system accepts, nobody reads
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{silent.server_address[1]}")
        assert "it does not respond" in refused(kaggle, images, submission)


# Downloading


def a_zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for n in range(3):
            archive.writestr(f"train/{n}.bin", noise(1, 800, seed=n).tobytes())
    return file.getvalue()


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


THREE = {f"train/{n}.bin": noise(1, 800, seed=n).tobytes() for n in range(3)}


def test_the_files_arrive_in_a_folder(kaggle, tmp_path, capfd):
    kaggle.archive = a_zip()
    folder = download("cifar-10", tmp_path / "new" / "cifar")
    assert folder == tmp_path / "new" / "cifar"
    assert files_in(folder) == THREE
    assert os.listdir(folder.parent) == ["cifar"]
    num = len(kaggle.asked)
    assert download("https://www.kaggle.com/c/cifar-10", folder) == folder
    assert len(kaggle.asked) == num, "downloaded twice"
    assert capfd.readouterr() == ("", "")
    assert "KAGGLEHUB_CACHE" not in os.environ


def test_by_default_the_folder_has_the_name_of_the_competition(kaggle, tmp_path, monkeypatch):
    kaggle.archive = a_zip()
    monkeypatch.chdir(tmp_path)
    assert download("cifar-10") == Path("cifar-10")
    assert files_in(tmp_path / "cifar-10") == THREE


def test_an_interrupted_download_resumes(kaggle, tmp_path):
    kaggle.archive, kaggle.cut_after = a_zip(), 2**20 + 1000  # kagglehub keeps whole MiB
    with pytest.raises(KaggleError, match=r"the connection was lost|there is no connection"):
        download("cifar-10", tmp_path / "cifar-10")
    assert not (tmp_path / "cifar-10").exists()
    kaggle.cut_after = None
    assert files_in(download("cifar-10", tmp_path / "cifar-10")) == THREE
    start = int(kaggle.ranges[-1].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 2**20 + 1000
    assert os.listdir(tmp_path) == ["cifar-10"]


def test_a_second_download_to_the_same_place_is_refused(kaggle, tmp_path):
    kaggle.archive = a_zip()
    with locked(tmp_path / ".cifar-10.download"), pytest.raises(RunError, match="another snellen command is using"):
        download("cifar-10", tmp_path / "cifar-10")
    assert files_in(download("cifar-10", tmp_path / "cifar-10")) == THREE


@pytest.mark.parametrize("checksum", [True, False])
def test_damaged_files_are_refused_and_not_resumed(kaggle, tmp_path, checksum):
    good, kaggle.checksum = a_zip(), checksum
    for bad in (b"", b"PK\x03\x04 and no more", good[:30_000] + b"?" + good[30_001:]):
        kaggle.archive = bad
        with pytest.raises(DataError, match="the files from Kaggle are damaged"):
            download("cifar-10", tmp_path / "cifar-10")
        assert not os.listdir(tmp_path)
    kaggle.archive = good
    assert files_in(download("cifar-10", tmp_path / "cifar-10")) == THREE


def test_refusals_of_a_download_are_explained_too(kaggle, tmp_path):
    kaggle.competition["userHasEntered"] = False
    kaggle.refuse["DownloadDataFiles"] = (403, {"code": 403, "message": "Forbidden"})
    with pytest.raises(KaggleError, match="has not accepted the rules"):
        download("cifar-10", tmp_path / "cifar-10")


def test_a_place_that_cannot_be_written_is_named(kaggle, tmp_path):
    kaggle.archive = a_zip()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="a file cannot be used: Not a directory"):
        download("cifar-10", tmp_path / "file" / "cifar-10")


def test_what_was_downloaded_can_be_prepared(kaggle, world, tmp_path):
    from snellen.images.prepare import prepare

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(world.folder.rglob("*")):
            archive.write(path, path.relative_to(world.folder))
    kaggle.archive = file.getvalue()
    images = prepare(download("cifar-10", tmp_path / "cifar-10"), tmp_path / "data")
    assert images.counts["test"] == len(world.test_labels)


def test_without_the_extra_the_message_names_the_command(tmp_path):
    code = (
        "import sys\nsys.modules['kagglehub'] = None\n"
        "from snellen.competition.kaggle import download\nfrom snellen.errors import SnellenError\n"
        "try:\n    download('cifar-10')\nexcept SnellenError as problem:\n    print(problem)\n"
        "print('torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 'pip install "snellen[kaggle]"' in printed
    assert printed.endswith("False\n")


def test_errors_are_ours():
    assert issubclass(KaggleError, SnellenError)
