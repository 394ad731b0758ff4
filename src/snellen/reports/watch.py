"""A run's live view in the browser, served to this machine only."""

import base64
import hashlib
import http.server
import json
import logging
import math
import os
import re
import sys
import time
import webbrowser
from http import HTTPStatus
from pathlib import Path
from typing import Any

from snellen.errors import RunError, SnellenError
from snellen.runs.recipe import Recipe, show_value
from snellen.runs.run import Run

log = logging.getLogger("snellen")

HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("watch.html")


def watch(run: Run | str | Path, *, port: int = 0, browser: bool = True) -> None:
    """Serve the live view of a run until interrupted (Ctrl-C), and open it in the browser where there is a screen.

    run: a Run or its folder, in training or finished; only its recipe, facts and metrics are read.
    port: of 127.0.0.1; 0 takes a free one. The address is logged.
    Raises RunError where the folder holds no run, SnellenError where the port is taken.
    """
    folder = run.folder if isinstance(run, Run) else Run.open(run).folder
    with watching(folder, port) as server:
        address = f"http://{HOST}:{server.server_port}/"
        log.info("live view of %s: %s (Ctrl-C ends it)", folder, address)
        if browser and _has_screen():
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log.info("the live view has ended; a training goes on by itself")


def watching(folder: Path, port: int = 0) -> http.server.ThreadingHTTPServer:
    """The server of a run's live view, bound and not yet serving."""
    page = PAGE.read_bytes()
    security = {
        # The page may run its own script and style, ask this server, and nothing else.
        "Content-Security-Policy": f"default-src 'none'; connect-src 'self'; img-src data:; "
        f"script-src {_hash(page, b'script')}; style-src {_hash(page, b'style')}; "
        f"frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 10  # seconds that a client may take to ask

        def do_GET(self) -> None:
            # Another site's page could reach this server under a name of its own (DNS rebinding).
            name = self.headers.get("Host", "").rpartition(":")[0]
            if name not in ("127.0.0.1", "localhost"):
                self._answer(HTTPStatus.FORBIDDEN, {"error": "this page is for 127.0.0.1 only"})
            elif self.path == "/":
                self._send(HTTPStatus.OK, "text/html; charset=utf-8", page)
            elif self.path == "/run.json":
                try:
                    self._answer(HTTPStatus.OK, snapshot(folder))
                except SnellenError as problem:
                    self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": problem.what})
            else:
                self._answer(HTTPStatus.NOT_FOUND, {"error": "there is only / and /run.json"})

        do_HEAD = do_GET

        def _answer(self, status: HTTPStatus, value: dict[str, Any]) -> None:
            self._send(status, "application/json", json.dumps(value, allow_nan=False).encode())

        def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **security}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def version_string(self) -> str:
            return "snellen"

        def log_message(self, *arguments) -> None:
            """Requests are not news."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128  # connections that wait; by itself 5, and the next one a second later

        def handle_error(self, request, client_address) -> None:
            """A browser that leaves in the middle of an answer is no news either."""
            if not isinstance(sys.exception(), OSError):
                super().handle_error(request, client_address)

    try:
        return Server((HOST, port), Handler)
    except (OSError, OverflowError) as problem:
        raise SnellenError(
            f"port {port} cannot be used: {getattr(problem, 'strerror', None) or problem}.",
            where=f"--port {port}",
            expected="a free port from 1024 to 65535, or 0 for any",
            do="leave --port out, or name another one",
        ) from None


def snapshot(folder: Path) -> dict[str, Any]:
    """What the page shows of a run, ready for JSON. Raises RunError where the folder holds no run any more."""
    run = Run.open(folder)
    rows = [{name: _finite(value) for name, value in row.items()} for row in run.metrics]
    newest = run.folder / ("metrics.jsonl" if rows else "about.json")
    try:
        since = max(0.0, time.time() - newest.stat().st_mtime)
    except OSError as problem:
        raise RunError(f"{newest.name} cannot be read: {problem.strerror}.", where=str(newest)) from None
    changed = run.recipe.differences(Recipe())
    facts = {"device": run.about.get("runtime", ""), "data": run.about.get("data", "")} | run.about.get("versions", {})
    return {
        "name": run.folder.resolve().name,
        "model": run.recipe.model,
        "on": run.about.get("on", ""),
        "epochs": run.recipe.num_epochs,
        "rows": rows,
        "finished": run.finished,
        "seconds_since": round(since, 1),  # the last epoch ended, or training began
        "recipe": [[name, show_value(getattr(run.recipe, name)), name in changed] for name in run.recipe.to_dict()],
        "machine": [[name, str(value)] for name, value in facts.items()],
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _hash(page: bytes, element: bytes) -> str:
    """How a content security policy names the page's one inline script or style."""
    found = re.search(rb"<%b>(.*?)</%b>" % (element, element), page, re.DOTALL)
    assert found, f"watch.html has no {element.decode()} element"
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1]).digest()).decode()}'"


def _has_screen() -> bool:
    """Elsewhere `webbrowser` would start a browser of text in the terminal."""
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
