"""Model -> a web page on which pictures are dropped, and the JSON interface behind it."""

import contextlib
import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import numpy as np

from snellen.errors import SnellenError
from snellen.models.classifier import Classifier
from snellen.prediction.opening import opened, place_of
from snellen.prediction.probabilities import probabilities
from snellen.runs.run import Run

log = logging.getLogger("snellen")

LAST_ANSWERS = 30  # seconds for what was begun before the stop
LONGEST_HEAD = 16 * 1024  # bytes of a request's first line and headers


def serve(
    model: Run | Classifier | str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    views: int | None = None,
    device: str | None = None,
    max_bytes: int = 16 * 2**20,
    max_pixels: int = 50_000_000,
    patience: float = 20.0,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the page and the JSON interface of /openapi.json until Ctrl-C or SIGTERM; what was begun is finished.

    host: 127.0.0.1 is this machine alone; 0.0.0.0 is everyone who can reach it. port: 0 = any free one.
    max_bytes, max_pixels: of one picture. patience: seconds that a client may take to send a request or to be idle.
    on_ready: called with the address once it can be opened.

    Pictures are classified one at a time, in memory; requests neither read nor write any file.
    Raises SnellenError where the packages are missing or the address cannot be used.
    """
    try:
        import starlette  # noqa: F401 (app.py uses it)
        import uvicorn
    except ImportError as problem:
        raise SnellenError(
            f"the web page needs a package that is not installed: {problem.name}.",
            do="pip install 'snellen[serve]'",
        ) from None
    from snellen.serving.app import HEADERS, Service, application
    from snellen.serving.connection import Connection

    model = opened(model)
    place = place_of(model, device)
    log.info("%s", place.why)
    # The first picture costs more than the others, and a network that cannot run fails here, not at a visitor.
    probabilities(model, np.zeros((1, *model.size, 3), dtype=np.uint8), place, views=views)
    service = Service(model, place, views=views, max_bytes=max_bytes, max_pixels=max_pixels, patience=patience)
    with _listening(host, port) as sock:
        address = ipaddress.ip_address(sock.getsockname()[0])
        if not address.is_loopback:
            log.warning("everyone who can reach this machine at %s can use the page", address)
        own_names = frozenset({"localhost", "127.0.0.1", "::1", host.lower()})
        config = uvicorn.Config(
            application(service, own_names if address.is_loopback else None),
            http=Connection,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # malformed requests are answered, not reported; our own errors are logged by app.py
            access_log=False,
            server_header=False,
            proxy_headers=False,
            headers=HEADERS,
            timeout_keep_alive=patience,  # type: ignore[arg-type]  # only ever given to call_later
            timeout_graceful_shutdown=LAST_ANSWERS,
            h11_max_incomplete_event_size=LONGEST_HEAD,
        )
        url = _url(address, sock.getsockname()[1])
        log.info("%s is served until Ctrl-C", model.name)
        if on_ready:
            on_ready(url)
        else:
            log.info("open %s", url)
        server = uvicorn.Server(config)
        with _outliving_the_signal(server.handle_exit):
            server.run(sockets=[sock])
    service.worker.shutdown(cancel_futures=True)
    log.info("stopped")


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that takes connections from here on. Raises SnellenError where the address cannot be had."""
    try:
        if not 0 <= port <= 65535:
            raise OverflowError("there is no such port")  # some systems would take another one
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.create_server(address[:2], family=family, backlog=512)  # type: ignore[arg-type]
    except (OSError, OverflowError, UnicodeError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise SnellenError(
            f'the address "{host}", port {port}, cannot be used: {reason}.',
            expected="an address of this machine and a free port from 1024 to 65535",
            do="choose another --port (0 takes any that is free), or stop the program that uses it",
        ) from None
    with sock:
        yield sock


def _url(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"http://[{address}]:{port}/" if address.version == 6 else f"http://{address}:{port}/"


@contextlib.contextmanager
def _outliving_the_signal(stop: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """uvicorn stops in good order at a signal and then raises it again, which would end the caller as well.

    stop: what a signal does that comes before uvicorn listens for it.
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
