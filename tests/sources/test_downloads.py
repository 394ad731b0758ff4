import hashlib
import http.server
import socket
import threading
from dataclasses import replace

import pytest

from snellen.errors import DataError
from snellen.sources.downloads import DOWNLOADS, Download, download

BODY = b"an archive " * 5000
WANTED = Download("a.zip", (), "sha1", hashlib.sha1(BODY).hexdigest(), 10**6)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        kind = self.path.split("/")[1]
        if kind == "missing":
            return self.send_error(404)
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/good/a.zip")
            return self.end_headers()
        self.send_response(200)
        length = len(BODY) * (2 if kind == "short" else 1)
        if kind not in ("unsized", "endless"):
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if kind == "endless":
            while True:
                self.wfile.write(BODY)
        if kind == "silent":
            self.server.released.wait(10)
        self.wfile.write(BODY[:-1] + b"?" if kind == "wrong" else BODY)

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # a client that hangs up is what some tests are about


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SNELLEN_MIRRORS", raising=False)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked, server.released = [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def from_(server, *kinds):
    return replace(WANTED, urls=tuple(f"{server.url}/{kind}/a.zip" for kind in kinds))


@pytest.mark.parametrize("kind", ["good", "unsized", "moved"])
def test_a_file_is_downloaded_once_and_then_taken_from_the_cache(server, tmp_path, kind):
    progress = []
    path = download(from_(server, kind), on_progress=lambda *news: progress.append(news))
    assert path == tmp_path / "cache" / "a.zip"
    assert path.read_bytes() == BODY
    assert progress[-1] == ("download", len(BODY), 0 if kind == "unsized" else len(BODY))
    asked = len(server.asked)
    assert download(from_(server, kind)) == path
    assert len(server.asked) == asked


def test_addresses_are_tried_in_order_until_one_has_the_right_file(server):
    assert download(from_(server, "missing", "wrong", "short", "good", "unused")).read_bytes() == BODY
    assert [path.split("/")[1] for path in server.asked] == ["missing", "wrong", "short", "good"]


def test_mirrors_of_the_environment_come_first(server, monkeypatch):
    monkeypatch.setenv("SNELLEN_MIRRORS", f" {server.url}/wrong , {server.url}/good/a.zip,")
    download(from_(server, "unused"))
    assert server.asked == ["/wrong/a.zip", "/good/a.zip"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "404"),
        ("wrong", "its SHA1 checksum is"),
        ("short", f"after {len(BODY):,} of {2 * len(BODY):,} bytes"),
        ("endless", "more than 1.0 MB"),
        ("silent", "timed out"),
    ],
)
def test_a_failed_download_leaves_no_file_and_gives_the_reason(server, tmp_path, kind, reason, monkeypatch):
    monkeypatch.setattr("snellen.sources.downloads.TIMEOUT", 0.3)
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        download(from_(server, kind))
    assert reason in str(caught.value)
    assert f"{server.url}/{kind}/a.zip" in str(caught.value)
    assert "SNELLEN_MIRRORS" in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_download_interrupted_half_way_leaves_no_file(server, tmp_path):
    def stop(*news):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(from_(server, "good"), on_progress=stop)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cached_file_that_has_changed_is_downloaded_again(server, tmp_path, caplog):
    path = download(from_(server, "good"))
    path.write_bytes(BODY[:100])
    assert download(from_(server, "good")).read_bytes() == BODY
    assert "has changed" in caplog.text


def test_a_cached_file_is_checked_on_systems_that_restrict_old_checksums(server, monkeypatch):
    wanted = replace(from_(server, "good"), algorithm="md5", checksum=hashlib.md5(BODY).hexdigest())
    download(wanted)
    new = hashlib.new

    def strict(name, data=b"", *, usedforsecurity=True):
        if usedforsecurity:
            raise ValueError("disabled for FIPS")
        return new(name, data, usedforsecurity=False)

    monkeypatch.setattr(hashlib, "new", strict)
    download(wanted)
    assert len(server.asked) == 1


def test_a_cache_that_cannot_be_written_is_not_blamed_on_the_addresses(server, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="a file cannot be used") as caught:
        download(from_(server, "good", "good"))
    assert str(tmp_path / "cache") in str(caught.value)
    (tmp_path / "cache").unlink()
    (tmp_path / "cache" / "a.zip").mkdir(parents=True)
    with pytest.raises(DataError, match="a file cannot be used: Is a directory"):
        download(from_(server, "good"))
    assert not server.asked


def test_without_a_server_and_with_other_schemes_the_message_names_the_addresses(tmp_path, monkeypatch):
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("SNELLEN_MIRRORS", f"http://127.0.0.1:{unused.getsockname()[1]}, file:///etc")
        with pytest.raises(DataError, match="refused") as caught:
            download(WANTED)
    assert "file:///etc/a.zip (only http and https are allowed)" in str(caught.value)


def test_the_known_files_have_the_published_checksums():
    assert DOWNLOADS["cifar10-tiny"].checksum == "2068874e4b9a9f0fb07ebe0ad2b29754449ccacd"
    assert DOWNLOADS["cifar10-tiny"].urls == ("http://d2l-data.s3-accelerate.amazonaws.com/kaggle_cifar10_tiny.zip",)
    assert DOWNLOADS["cifar10"].checksum == "c58f30108f718f92721af3b95e74349a"
