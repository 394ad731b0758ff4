"""Verb: model -> a web page that classifies pictures, and its JSON API."""

import asyncio
import contextlib
import errno
import io
import ipaddress
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from PIL import Image

from snellen.errors import SnellenError
from snellen.models.classifier import Classifier
from snellen.prediction.opening import opened, runtime_of
from snellen.prediction.pictures import classify
from snellen.runs.run import Run
from snellen.serving.limits import HOST, MAX_BYTES, MAX_MEMORY, PORT
from snellen.system.device import Runtime

log = logging.getLogger("snellen")

MAX_CONNECTIONS = 256  # the usual limit of open files is 1,024
MAX_HEAD = 16 * 1024  # bytes of a request's first line and headers
STOP_SECONDS = 30  # for requests in progress when the server is stopped
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def serve(
    model: Run | Classifier | str | Path,
    *,
    host: str = HOST,
    port: int = PORT,
    allow_hosts: Sequence[str] = (),
    views: int | None = None,
    device: str | None = None,
    max_bytes: int = MAX_BYTES,
    max_memory: int = MAX_MEMORY,
    patience: int = 20,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the page, and the API that /openapi.json describes, until Ctrl-C or SIGTERM.

    host: 127.0.0.1 accepts only this machine; 0.0.0.0 accepts everyone who can reach it. port: 0 picks a free one.
    allow_hosts: names under which a reverse proxy on this machine serves the page.
    max_bytes: maximum size of a picture file. max_memory: maximum memory for decoding a picture, in bytes.
    patience: seconds allowed for sending a picture or the next request.
    on_ready: called with the address as soon as the page can be opened.

    Pictures are classified one at a time, in memory; requests neither read nor write files. Requests in
    progress are answered before the server stops.
    Raises SnellenError if packages are missing, the model yields invalid numbers or the address cannot be used.
    """
    try:
        import fastapi  # noqa: F401 (app.py uses it)
        import uvicorn  # noqa: F401
    except ImportError as problem:
        raise SnellenError(
            f"serve needs a package that is not installed: {problem.name}.", do="pip install 'snellen[serve]'"
        ) from None
    from snellen.serving.app import application
    from snellen.serving.service import Service

    model = opened(model)
    runtime = runtime_of(model, device)
    log.info("%s", runtime.why)
    _classify_blank(model, runtime, views)
    service = Service(model, runtime, views=views, max_bytes=max_bytes, max_memory=max_memory, patience=patience)
    with _listening(host, port) as sock:
        address = ipaddress.ip_address(sock.getsockname()[0])
        if not address.is_loopback:
            log.warning("everyone who can reach this machine at %s can use the page", address)
        own_names = frozenset(name.lower() for name in ("localhost", "127.0.0.1", "::1", host, *allow_hosts))
        server = _server(application(service, own_names if address.is_loopback else None), patience)
        url = _url(address, sock.getsockname()[1])
        log.info("serving %s; press Ctrl-C to stop", model.name)
        if on_ready:
            on_ready(url)
        else:
            log.info("open %s", url)
        with _surviving_the_signal(server.handle_exit):
            asyncio.run(_run(server, sock))
    service.worker.shutdown(cancel_futures=True)
    log.info("stopped")


def _server(app: Any, patience: int) -> Any:
    """Return a uvicorn server for the application, with limits."""
    import uvicorn

    from snellen.serving.app import HEADERS

    config = uvicorn.Config(
        app,
        http="h11",  # the only implementation with a limit on the size of headers
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # malformed requests are not logged; app.py logs our own errors
        access_log=False,
        server_header=False,
        proxy_headers=False,
        headers=HEADERS,
        backlog=MAX_CONNECTIONS,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=patience,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=MAX_HEAD,
    )
    return uvicorn.Server(config)


async def _run(server: Any, sock: socket.socket) -> None:
    """Run the uvicorn server, and log at most once a minute that the system has run out of file descriptors."""
    quiet_until = 0.0

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal quiet_until
        problem = context.get("exception")
        if not isinstance(problem, OSError) or problem.errno not in OUT_OF_FILES:
            loop.default_exception_handler(context)
        elif time.monotonic() >= quiet_until:
            quiet_until = time.monotonic() + 60
            log.warning("new connections have to wait: %s", problem.strerror)

    asyncio.get_running_loop().set_exception_handler(report)
    await server.serve(sockets=[sock])


def _classify_blank(model: Classifier, runtime: Runtime, views: int | None) -> None:
    """Classify a blank picture, so that the first request is fast and a broken model fails at startup."""
    blank = io.BytesIO()
    Image.new("RGB", model.size[::-1]).save(blank, "PNG")
    classify(model, [("blank", blank.getvalue())], runtime, views=views)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Open a socket that accepts connections. Raises SnellenError if the address cannot be used."""
    try:
        if not 0 <= port <= 65535:
            raise OverflowError("this port does not exist")  # some systems would use another one
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.create_server(address[:2], family=family, backlog=MAX_CONNECTIONS)  # type: ignore[arg-type]
    except (OSError, OverflowError, UnicodeError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise SnellenError(
            f'the address "{host}", port {port}, cannot be used: {reason}.',
            expected="an address of this machine and a free port from 1024 to 65535",
            do="choose another --port (0 picks a free one), or stop the program that uses it",
        ) from None
    # Connections inherit this option. Without it, the second part of a response waits 40 ms for an acknowledgement.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock:
        yield sock


def _url(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"http://[{address}]:{port}/" if address.version == 6 else f"http://{address}:{port}/"


@contextlib.contextmanager
def _surviving_the_signal(stop: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let the caller continue after a signal: uvicorn shuts down and then raises the signal again.

    stop: handles a signal that arrives before uvicorn handles signals itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
