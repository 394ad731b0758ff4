"""The live view in the browser: what the server tells and refuses, and what a real browser makes of it."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from snellen.errors import RunError, SnellenError
from snellen.reports.watch import snapshot, watch, watching
from snellen.runs.recipe import Recipe
from snellen.runs.run import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def row(epoch, **changes):
    figures = {"train_loss": 2 / epoch, "train_accuracy": 1 - 0.5 / epoch, "lr": 0.1, "images_per_second": 11250.4}
    figures |= {"valid_loss": 2.2 / epoch, "valid_accuracy": 0.9 - 0.5 / epoch, "train_seconds": 4.0, "seconds": 4.5}
    return {"epoch": epoch, "step": 90 * epoch, **figures, **changes}


@pytest.fixture
def run(tmp_path):
    about = {"fingerprint": "x", "on": "train", "runtime": "device cpu", "data": "data", "versions": {"torch": "2.9"}}
    run = Run.start(tmp_path / "<i>run", Recipe(epochs=5, batch_size=64), about)
    run.checkpoint.write_bytes(b"")
    run.save_metrics([row(1), row(2)])
    return run


def finish(run):
    run.save_metrics([row(epoch) for epoch in range(1, 6)])
    run.model.write_bytes(b"")
    run.checkpoint.unlink()


@pytest.fixture
def server(run):
    with watching(run.folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path="/", method="GET", **headers):
    """(status, headers, body)"""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


# What is told


def test_the_run_is_told_as_it_is_now(server, run):
    told = json.loads(ask(server, "/run.json")[2])
    assert told["rows"] == run.metrics
    assert (told["name"], told["model"], told["epochs"], told["finished"]) == ("<i>run", "resnet18", 5, False)
    assert 0 <= told["seconds_since"] < 60
    assert ["batch_size", "64", True] in told["recipe"]
    assert ["epochs", "5", True] in told["recipe"]
    assert ["seed", "0", False] in told["recipe"]
    assert ["torch", "2.9"] in told["machine"]
    finish(run)
    told = json.loads(ask(server, "/run.json")[2])
    assert (len(told["rows"]), told["finished"]) == (5, True)


def test_a_run_without_an_epoch_yet_is_told_too(run):
    (run.folder / "metrics.jsonl").unlink()
    assert snapshot(run.folder)["rows"] == []
    assert snapshot(run.folder)["seconds_since"] < 60


def test_a_figure_that_is_no_number_is_still_json(server, run):
    run.save_metrics([row(1, valid_loss=float("nan"))])
    status, _, body = ask(server, "/run.json")
    assert status == 200
    assert json.loads(body, parse_constant=pytest.fail)["rows"][0]["valid_loss"] is None


@pytest.mark.parametrize("damage", ["metrics.jsonl", "recipe.json", "about.json"])
def test_a_damaged_run_is_said_and_does_not_end_the_server(server, run, damage):
    kept = (run.folder / damage).read_text()
    (run.folder / damage).write_text("{")
    status, _, body = ask(server, "/run.json")
    assert status == 503
    assert "damaged" in json.loads(body)["error"]
    (run.folder / damage).write_text(kept)
    assert ask(server, "/run.json")[0] == 200


def test_a_run_that_was_removed_is_said(server, run):
    shutil.rmtree(run.folder)
    status, _, body = ask(server, "/run.json")
    assert (status, "does not exist" in body) == (503, True)


# What is refused


@pytest.mark.parametrize(
    "path",
    ["/x", "/run.json/..", "/../metrics.jsonl", "/metrics.jsonl", "/%2e%2e/about.json", "/?x", "*"],
)
def test_there_are_two_paths_and_no_way_to_a_file(server, path):
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_it_can_only_be_read(server, method):
    assert ask(server, "/run.json", method)[0] == 501


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:1", "", "localhost.:1"])
def test_another_sites_page_cannot_read_it_under_its_own_name(server, host):
    status, _, body = ask(server, "/run.json", Host=host)
    assert status == 403
    assert "rows" not in body


def test_localhost_is_this_machine_too(server):
    assert ask(server, Host=f"localhost:{server.server_port}")[0] == 200


def test_it_listens_to_this_machine_only(server):
    assert server.server_address[0] == "127.0.0.1"


def test_the_page_may_load_nothing_from_elsewhere(server):
    _, headers, body = ask(server)
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; connect-src 'self';")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "http" not in body.replace("http://www.w3.org/2000/svg", "")
    assert ask(server, method="HEAD")[2] == ""


def test_silent_and_broken_clients_hinder_nobody(server):
    silent = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(20)]
    silent[0].sendall(b"GET /run.json HTTP/1.1\r\nHos")
    silent[1].sendall(b"\x16\x03\x01\x02\x00" * 100 + b"\r\n\r\n")
    silent[2].sendall(b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n")
    silent[3].sendall(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n")
    silent[4].sendall(f"GET / HTTP/1.1\r\nHost: localhost:{server.server_port}\r\n\r\n".encode())
    silent[4].close()
    assert ask(server)[0] == 200
    for client in silent:
        client.close()


# The command


def test_watching_ends_with_ctrl_c_and_says_where_it_is(run):
    code = (
        "import logging, sys\nfrom snellen.reports.watch import watch\n"
        "logging.basicConfig(level=20, format='%(message)s')\n"
        "watch(sys.argv[1])\nprint('torch' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(run.folder)],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        said = process.stderr.readline()
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", said)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/run.json")
        assert json.load(connection.getresponse())["epochs"] == 5
        connection.close()
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    assert printed == "False\n"
    assert said == "the live view has ended; a training goes on by itself\n"


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="does not hold a run"):
        watch(tmp_path)


@pytest.mark.parametrize("taken", [True, False])
def test_a_port_that_cannot_be_used_is_named(run, taken):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1] if taken else 70_000
        with pytest.raises(SnellenError, match=rf"port {port} cannot be used[\s\S]*leave --port out"):
            watch(run, port=port)


# In a browser


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    """The open page; at its end nothing has been complained of and nothing asked of another host."""
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda problem: complaints.append(str(problem)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    page.wait_for_selector("polyline")
    yield page
    page.close()
    assert complaints == []
    assert all(url.startswith((f"http://127.0.0.1:{server.server_port}/", "data:")) for url in asked)


def wait_for(page, place, text):
    """The page asks every second."""
    page.locator(place, has_text=text).wait_for(timeout=8000)


def tile(page, name):
    return page.locator("#tiles div", has=page.get_by_text(name, exact=True)).locator("dd").inner_text()


def test_the_page_shows_the_run_and_follows_it(page, run):
    assert page.inner_text("h1") == "<i>run"
    assert page.inner_text("#state") == "training"
    assert page.inner_text("#news").startswith("epoch 3 of 5, ")
    assert page.title() == "65.00% · 2/5 · <i>run"
    assert tile(page, "valid accuracy").split("\n") == ["65.00%", "best 65.00% in epoch 2"]
    assert re.fullmatch(r"\d+(\.\d)?s", tile(page, "time left, about").strip())
    assert page.locator("#accuracy polyline").count() == 2
    run.save_metrics([row(1), row(2), row(3, valid_accuracy=0.5)])
    wait_for(page, "#news", "epoch 4 of 5, ")
    assert tile(page, "valid accuracy").split("\n") == ["50.00%", "best 65.00% in epoch 2"]
    finish(run)
    wait_for(page, "#state", "finished")
    assert page.inner_text("#news") == "in 23s"
    assert page.locator("#accuracy circle").count() == 10
    page.click("summary >> nth=0")
    assert page.locator("#epochs tbody tr").count() == 5
    assert page.locator("#epochs tr.best td").first.inner_text() == "5"


def test_the_curves_can_be_read_by_mouse_and_by_keyboard(page):
    box = page.locator("#loss").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 100)
    assert page.inner_text("figure:has(#loss) p") == "epoch 1: train 2.0000, valid 2.2000"
    assert page.inner_text("figure:has(#accuracy) p") == "epoch 1: train 50.00%, valid 40.00%"
    page.mouse.move(5, 5)
    page.focus("#accuracy")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("figure:has(#accuracy) p").startswith("epoch 2")
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#accuracy", "aria-label") == "accuracy by epoch; epoch 1: train 50.00%, valid 40.00%"


def test_the_page_fits_a_phone(page):
    page.set_viewport_size({"width": 360, "height": 700})
    page.click("summary >> nth=0")
    page.click("summary >> nth=1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_run_without_validation_has_one_curve(page, run):
    run.save_metrics([{k: v for k, v in row(e).items() if "valid" not in k} for e in (1, 2, 3)])
    wait_for(page, "#news", "epoch 4 of 5, ")
    assert page.locator("#accuracy polyline").count() == 1
    assert page.locator("#tiles").get_by_text("valid accuracy").count() == 0
    assert page.title().startswith("83.33% · 3/5")


def test_no_news_for_long_is_said(page, run):
    old = time.time() - 7200
    os.utime(run.folder / "metrics.jsonl", (old, old))
    wait_for(page, "#state", "no news")
    assert page.inner_text("#news").startswith("for 2h 00m: it may have been stopped")
