"""The server as strangers meet it: a real process on loopback and real sockets. No client can stop or bloat it."""

import contextlib
import http.client
import io
import itertools
import json
import signal
import socket
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import snellen
from made import noise, small_model
from run_server import answer_of, read, running
from snellen.errors import SnellenError
from snellen.models.model_file import load_model, save_model
from snellen.prediction.pictures import classify
from snellen.prediction.probabilities import features
from snellen.serving.serve import serve
from snellen.sources.decode import decode
from snellen.system.device import choose_runtime

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

CLASSES = ("cat", "dog", "owl", "élan")
MAX_BYTES, MAX_MEMORY, PATIENCE = 1_000_000, 40_000_000, 1
FLOAT32 = {"precision": "float32", "views": 2}


def picture(pixels, kind="PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


NOISE, GREY = picture(noise(1, size=40)[0]), picture(np.full((20, 30, 3), 90, np.uint8))


def make_model(path, *, knows_strangeness=True) -> Path:
    """Write a model with a random network, to which pictures like NOISE are familiar and GREY is strange."""
    torch.manual_seed(0)
    model = small_model(CLASSES, name="cifar_resnet8_v1").eval()
    if knows_strangeness:
        pixels = np.stack([decode(file, 16)[0] for file in (NOISE, GREY)])
        known, strange = torch.from_numpy(features(model, pixels, choose_runtime("float32", "cpu")))
        model.directions[0] = known / known.norm()
        model.familiar.copy_(torch.tensor([1.0, (1 + torch.cosine_similarity(known, strange, dim=0)) / 2]))
    model.temperature.fill_(0.1)
    return save_model(path, model, recipe=FLOAT32)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    limits = {"max_bytes": MAX_BYTES, "max_memory": MAX_MEMORY, "patience": PATIENCE, "allow_hosts": ["Cats.example"]}
    with running(model, tmp_path_factory.mktemp("server") / "cwd", **limits) as server:
        before = sorted(server.folder.rglob("*"))  # torch may have made a folder for its own use by now
        yield server
        status, _, value = server.ask("POST", "/api/classify", NOISE)
        assert status == 200, f"it no longer works: {value}"
        assert sorted(server.folder.rglob("*")) == before, "a request wrote files"


@pytest.fixture(scope="module")
def description(server) -> dict:
    status, _, description = server.ask("GET", "/openapi.json")
    assert status == 200
    return description


def fits(description: dict, schema: str, value) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{schema}", **description})
    assert [error.message for error in validator.iter_errors(value)] == []


def test_answers_are_those_of_classify(server, model, description):
    photo = picture(noise(1, size=200)[0][:120], "JPEG")
    files = {"noise": NOISE, "grey": GREY, "photo": photo}
    wanted = classify(load_model(model), list(files.items()), choose_runtime("float32", "cpu"))
    assert [guess.is_strange for guess in wanted[:2]] == [False, True]
    for guess in wanted:
        status, _, value = server.ask("POST", "/api/classify?top=9", files[guess.name])
        assert status == 200
        fits(description, "Answer", value)
        assert [c["name"] for c in value["classes"]] == [name for name, _ in guess.top(CLASSES, 9)]
        assert [c["probability"] for c in value["classes"]] == pytest.approx(
            [p for _, p in guess.top(CLASSES, 9)], abs=1e-5
        )
        assert value["strangeness"] == pytest.approx(guess.strangeness, abs=1e-3)
        assert value["is_strange"] == guess.is_strange


def test_as_many_classes_are_given_as_asked_for(server):
    for top, given in ((1, 1), (3, 3), (9999999, 4)):
        assert len(server.ask("POST", f"/api/classify?top={top}", NOISE)[2]["classes"]) == given


def test_the_model_is_described(server, description):
    status, _, value = server.ask("GET", "/api/model")
    assert status == 200
    fits(description, "ModelFacts", value)
    assert value["classes"] == list(CLASSES)
    assert value["limits"] == {"bytes": MAX_BYTES, "memory": MAX_MEMORY}
    assert value["size"] == {"height": 16, "width": 16}
    assert 0 < value["false_alarm_rate"] < 0.1


def test_every_path_that_is_described_answers(server, description):
    for path, methods in description["paths"].items():
        for method in methods:
            assert server.ask(method.upper(), path, NOISE if method == "post" else b"")[0] == 200
    assert description["info"]["version"] == snellen.__version__


def claim(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds no pixels."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT"]
    parts = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bomb(side: int) -> bytes:
    """Return a PNG of side x side pixels in a few kilobytes."""
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/api/classify", b"", 400, "the file is empty"),
        ("POST", "/api/classify", b"<svg/>", 400, "not a picture of a known format"),
        ("POST", "/api/classify", b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc) run\n", 400, "not a picture of a known format"),
        ("POST", "/api/classify", NOISE[:-500], 400, "cannot be read"),
        ("POST", "/api/classify", NOISE[:60] + bytes(100) + NOISE[160:], 400, "cannot be read"),
        ("POST", "/api/classify", b"x" * (MAX_BYTES + 1), 413, "more than 1,000,000 bytes"),
        ("POST", "/api/classify", bomb(3000), 413, "3,000 x 3,000 pixels"),
        ("POST", "/api/classify", bomb(10_000), 413, "10,000 x 10,000 pixels"),
        ("POST", "/api/classify", claim(60_000, 60_000), 413, "100 million pixels"),
        ("POST", "/api/classify?top=0", NOISE, 400, 'top="0"'),
        ("POST", "/api/classify?top=-1", NOISE, 400, 'top="-1"'),
        ("POST", "/api/classify?top=²", NOISE, 400, "top="),
        ("POST", "/api/classify?top=" + "9" * 5000, NOISE, 400, "top="),
        ("GET", "/api/classify", b"", 405, "GET is not allowed here"),
        ("PUT", "/api/classify", NOISE, 405, "PUT"),
        ("DELETE", "/", b"", 405, "DELETE"),
        ("POST", "/api/model", b"x" * 3_000_000, 405, "POST"),
        ("GET", "/api", b"", 404, 'nothing at "/api"'),
        ("GET", "/api/model/", b"", 404, "nothing at"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)  # fmt: skip
def test_bad_requests_get_a_reason_and_the_right_status(server, description, method, path, body, status, words):
    path = path.replace("²", "%C2%B2")
    got, headers, value = server.ask(method, path, body)
    assert (got, words in value["error"]["what"]) == (status, True), value
    assert value["error"]["status"] == status
    fits(description, "Refusal", value)
    if status == 405:
        assert headers["allow"]
    if path == "/api/classify" and method == "POST":
        assert str(status) in description["paths"]["/api/classify"]["post"]["responses"]


@pytest.mark.parametrize(
    "target",
    [
        "/../../../../etc/passwd", "/..%2f..%2f..%2fetc%2fpasswd", "/%2e%2e/%2e%2e/pyproject.toml", "//etc/passwd",
        "/app.js/../app.py", "/app.py", "/__init__.py", "/web/app.py", "/app.js%00.py", "/..\\..\\etc\\passwd",
        "file:///etc/passwd", "http://127.0.0.1/etc/passwd", "/etc/passwd", "/." * 2000 + "/etc/passwd",
    ],
)  # fmt: skip
def test_no_path_leads_to_the_file_system(server, target):
    status, _, value = server.raw(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert status == 404
    assert "root:" not in json.dumps(value)


def flat(kind: str, mode: str, width: int, height: int, **options) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height), 1).save(file, kind, **options)
    return file.getvalue()


LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")


LARGE = {  # functions of 1, allowed at 40 MB of memory, or 2: twice as much
    "PNG": lambda times: flat("PNG", "RGB", 2100, 2000 * times),
    "transparent PNG": lambda times: flat("PNG", "RGBA", 1400, 2000 * times),
    "16-bit PNG": lambda times: flat("PNG", "I;16", 2100, 2000 * times),
    "WebP": lambda times: flat("WEBP", "RGB", 1300, 1400 * times, lossless=True, method=0),
    "transparent WebP": lambda times: flat("WEBP", "RGBA", 1000, 1500 * times, lossless=True, method=0),
    "float TIFF": lambda times: flat("TIFF", "F", 1100, 1400 * times, compression="tiff_adobe_deflate"),
    "one-strip TIFF": lambda times: flat("TIFF", "RGB", 1500, 2000 * times, compression="tiff_lzw", strip_size=2**30),
    "tiled TIFF": lambda times: tiled_tiff(2048, 4096 * times),
    "GIF": lambda times: flat("GIF", "P", 2100, 2000 * times),
    "JPEG": lambda times: flat("JPEG", "RGB", 4000, 3100 * times),
    "progressive JPEG": lambda times: flat("JPEG", "RGB", 4000, 3100 * times, progressive=True),
    "JPEG 2000": lambda times: flat("JPEG2000", "RGB", 1300, 1400 * times),
}


def tiled_tiff(tile_width: int, tile_height: int) -> bytes:
    """Return a grey TIFF of 64 x 64 pixels in one tile, which is larger and takes few bytes when compressed."""
    data = zlib.compress(bytes(tile_width * tile_height))
    start = 8 + 2 + 12 * 10 + 4
    entries = [(256, 64), (257, 64), (258, 8), (259, 8), (262, 1), (277, 1), (322, tile_width), (323, tile_height)]
    entries += [(324, start), (325, len(data))]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + bytes(4) + data


@LINUX
@pytest.mark.parametrize("kind", LARGE)
def test_the_memory_that_a_picture_takes_is_bounded(server, kind):
    allowed, refused = LARGE[kind](1), LARGE[kind](2)
    assert len(refused) < MAX_BYTES, "only its memory is too much"
    server.forget_peak()
    before = server.memory()
    status, _, value = server.ask("POST", "/api/classify", refused)
    assert (status, value["error"]["expected"]) == (413, "40.0 MB or less")
    assert "decoding the picture would need" in value["error"]["what"]
    assert server.memory("VmHWM") - before < 5e6
    assert server.ask("POST", "/api/classify", allowed)[0] == 200
    assert server.memory("VmHWM") - before < MAX_MEMORY + 5e6


@LINUX
def test_the_memory_that_a_picture_took_is_given_back(model, tmp_path):
    photo = flat("WEBP", "RGB", 4000, 3000, method=0)
    with running(model, tmp_path / "cwd") as server:
        server.forget_peak()
        before = server.memory()
        for _ in range(3):
            assert server.ask("POST", "/api/classify", photo)[0] == 200
        assert 150e6 < server.memory("VmHWM") - before < 256 * 2**20
        assert server.memory() - before < 100e6


SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def test_every_answer_has_the_headers_of_a_careful_server(server):
    answers = [
        server.ask("GET", "/"),
        server.ask("GET", "/app.js"),
        server.ask("HEAD", "/style.css"),
        server.ask("GET", "/nothing"),
        server.ask("POST", "/api/classify", NOISE),
        server.ask("POST", "/api/classify", b"nothing"),
        server.ask("GET", "/", Host="evil.example"),
    ]
    for _, headers, _ in answers:
        assert headers | SECURITY == headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "//" not in policy, "another host is allowed"
        assert "camera=(self)" in headers["permissions-policy"]
        assert "server" not in headers


def test_other_names_and_other_sites_are_refused(server):
    for host in (
        "evil.example",
        f"evil.example:{server.port}",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "[::",
    ):
        assert server.raw(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())[0] in (400, 421), host
    own = f"127.0.0.1:{server.port}"
    for host in (own, "localhost", f"LOCALHOST:{server.port}", "[::1]:8000"):
        assert server.ask("GET", "/", Host=host)[0] == 200, host
    name = {"Host": "cats.example", "Origin": "https://cats.example"}
    assert server.ask("POST", "/api/classify", NOISE, **name)[0] == 200, "as a reverse proxy passes it on"
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "http://[", f"http://{own}@evil.example"):
        assert server.ask("POST", "/api/classify", NOISE, Host=own, Origin=origin)[0] == 403, origin
    assert server.ask("POST", "/api/classify", NOISE, Host=own, Origin=f"http://{own}")[0] == 200


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # https
        b"GET / HTTP/1.1\r\n\r\n",  # no host
        b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
        b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\nhello",
        b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
    ],
)
def test_what_is_not_http_gets_400(server, bytes_sent):
    assert server.raw(bytes_sent)[0] == 400


def test_endless_heads_are_cut_off(server):
    before = server.memory()
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        assert taken(sock, itertools.repeat(b"x" * 100_000)) < 100e6
    assert server.memory() - before < 10e6


def taken(sock: socket.socket, pieces) -> int:
    """Return how many bytes the server took before it hung up. Raises TimeoutError if it stops reading."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            sock.sendall(piece)
            sent += len(piece)
    return sent


def chunked(total: int, piece: bytes = bytes(64 * 1024)):
    for _ in range(total // len(piece)):
        yield b"%x\r\n" % len(piece) + piece + b"\r\n"
    yield b"0\r\n\r\n"


def test_huge_bodies_are_refused_before_they_are_read(server):
    head = b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\n"
    before = server.memory()
    status, _, value = server.raw(head + b"Content-Length: 2000000000\r\n\r\n")
    assert (status, "more than 1,000,000 bytes" in value["error"]["what"]) == (413, True)
    assert server.raw(head + b"Content-Length: " + b"9" * 15 + b"\r\nExpect: 100-continue\r\n\r\n")[0] == 413
    with server.connect() as sock:  # without a length, from a client that reads nothing until it has sent everything
        sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        taken(sock, chunked(100_000_000))
        assert answer_of(sock)[0] == 413
    with server.connect() as sock:  # a little too much: the answer must arrive even though the client reads it late
        sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunked(3_000_000)))
        assert answer_of(sock)[0] == 413
        sock.sendall(b"GET /api/model HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer_of(sock)[0] == 200, "the connection can be used after a small body was refused"
    assert server.memory() - before < 50e6


def test_all_pictures_together_have_a_bound(server):
    head = b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % MAX_BYTES
    before = server.memory()
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(server.connect()) for _ in range(24)]
        for sock in socks:
            sock.sendall(head + bytes(MAX_BYTES - 1))  # one byte is missing: none of them is done
        statuses = [answer_of(sock)[0] for sock in socks]
    assert statuses.count(503) == 24 - 16, "no more than 16 times max_bytes are held"
    assert statuses.count(408) == 16
    assert server.memory() - before < 40e6


def test_a_length_that_lies_is_not_trusted(server):
    head = b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    for end in (socket.SHUT_WR, socket.SHUT_RDWR):  # claims 1,000 bytes, sends fewer, and hangs up
        with server.connect() as sock:
            sock.sendall(head + b"1000\r\n\r\n" + NOISE[:100])
            sock.shutdown(end)
            assert sock.recv(100) == b""
    with server.connect() as sock:  # claims 10 bytes; the rest is read as another request, which it is not
        sock.sendall(head + b"10\r\n\r\n" + NOISE)
        assert answer_of(sock)[0] == 400


def test_slow_uploads_are_cut_off_while_others_are_served(server):
    head = b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(server.connect()) for _ in range(20)]
        for sock in socks:
            sock.sendall(head + NOISE[:100])
        assert server.ask("POST", "/api/classify", NOISE)[0] == 200
        for sock in socks:
            status, _, value = answer_of(sock)
            assert (status, value["error"]["what"]) == (408, "the picture did not arrive within 1 seconds.")
            assert sock.recv(100) == b"", "the connection is closed"


def test_many_at_once_are_answered_or_sent_away(server):
    slow = bomb(1999)  # allowed, and some 20 ms of work
    request = b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(slow) + slow
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(server.connect()) for _ in range(80)]
        for sock in socks:
            sock.sendall(request)
        assert server.ask("GET", "/api/model")[0] == 200, "the page is served meanwhile"
        answers = [answer_of(sock) for sock in socks]
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 33
    for status, headers, value in answers:
        if status == 503:
            assert headers["retry-after"] == "1"
            assert value["error"]["what"] == "too many pictures are waiting."
    assert len({json.dumps(value) for status, _, value in answers if status == 200}) == 1


def test_too_many_connections_are_sent_away_and_forgotten(server):
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(server.connect())
        assert server.ask("GET", "/api/model")[0] == 503
    deadline = time.monotonic() + 5
    while server.ask("GET", "/")[0] != 200:  # until it has noticed that all of them are gone
        assert time.monotonic() < deadline


def test_out_of_files_it_logs_once_and_recovers(model, tmp_path):
    with running(model, tmp_path / "cwd", max_files=64) as server:
        early = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        with contextlib.closing(early), contextlib.ExitStack() as stack:
            early.connect()
            for _ in range(150):
                stack.enter_context(server.connect())
            deadline = time.monotonic() + 2.5  # asyncio tries again every second
            while time.monotonic() < deadline:
                early.request("POST", "/api/classify", NOISE)
                assert read(early.getresponse())[0] == 200, "open connections are served meanwhile"
                time.sleep(0.1)
        assert server.ask("POST", "/api/classify", NOISE)[0] == 200
        assert server.log == "new connections have to wait: Too many open files\n"


def test_one_connection_serves_many_requests(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    with contextlib.closing(connection):
        before, fastest = server.memory(), 1.0
        for turn in range(100):
            started = time.perf_counter()
            connection.request("POST", "/api/classify", (NOISE, b"no picture")[turn % 2])
            assert read(connection.getresponse())[0] == (200, 400)[turn % 2]
            fastest = min(fastest, time.perf_counter() - started)
        assert server.memory() - before < 20e6
        assert fastest < 0.03, "answers wait for TCP's delayed acknowledgements, 40 ms each"


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_requests_under_way_are_answered_before_a_stop_and_unknown_strangeness_is_null(tmp_path, stop):
    model = make_model(tmp_path / "model.safetensors", knows_strangeness=False)
    with running(model, tmp_path / "cwd", patience=20) as server, contextlib.ExitStack() as stack:
        idle = stack.enter_context(server.connect())
        status, _, value = server.ask("GET", "/api/model")
        assert (status, value["false_alarm_rate"]) == (200, None)
        slow = bomb(3000)
        socks = [stack.enter_context(server.connect()) for _ in range(4)]
        for sock in socks:
            sock.sendall(b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(slow))
            sock.sendall(slow)
        time.sleep(0.1)
        server.process.send_signal(stop)
        for sock in socks:
            status, _, value = answer_of(sock)
            assert status == 200
            assert (value["strangeness"], value["is_strange"]) == (None, None)
        assert idle.recv(10) == b""
        assert server.process.wait(timeout=10) == 0
        assert server.process.stdout.read() == "stopped\n"
        assert server.log == ""
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_without_its_packages_it_names_the_command_that_installs_them(model, monkeypatch):
    for package in ("uvicorn", "fastapi"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(SnellenError, match=rf"not installed: {package}\.[\s\S]*pip install 'snellen\[serve\]'"):
                serve(model)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", None), ("no.such.host.invalid", 0), ("127.0.0.1", 70_000)])
def test_address_that_cannot_be_used_is_named(model, server, host, port):
    port = server.port if port is None else port
    with pytest.raises(SnellenError, match=f'the address "{host}", port {port}, cannot be used'):
        serve(model, host=host, port=port)


@pytest.mark.parametrize("name", ["temperature", "network.output.bias"])
def test_a_model_with_weights_that_are_not_numbers_is_refused(model, name):
    broken = load_model(model)
    broken.state_dict()[name].fill_(float("nan"))
    with pytest.raises(SnellenError, match="expected: finite weights"):
        serve(broken, port=0, on_ready=lambda url: pytest.fail("it is served"))


def test_it_warns_when_everyone_can_reach_it(model, caplog):
    urls = []
    with pytest.raises(TypeError), caplog.at_level("INFO", logger="snellen"):
        serve(model, host="0.0.0.0", port=0, on_ready=lambda url: 1 / urls.append(url))
    assert urls[0].startswith("http://127.0.0.1:")
    assert "everyone who can reach this machine" in caplog.text
