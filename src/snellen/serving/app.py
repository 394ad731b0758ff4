"""The answers to requests: the page, and a small JSON interface (described in openapi.json)."""

import asyncio
import json
import logging
import math
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from snellen import __version__
from snellen.models.classifier import Classifier
from snellen.prediction import calibrate
from snellen.prediction.pictures import Classified, classify
from snellen.serving.connection import error_json
from snellen.sources.decode import TOO_MANY_PIXELS, UnreadablePicture, picture_size
from snellen.system import runtime

log = logging.getLogger("snellen")

PAGE = {  # path -> file beside this one, type
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/openapi.json": ("openapi.json", "application/json"),
}
# On every answer. The page may load and send nothing except from and to here, and no other page may frame it.
HEADERS = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    ("permissions-policy", "camera=(self), microphone=(), geolocation=(), display-capture=(), usb=(), payment=()"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
]
MOST_WAITING = 32  # pictures that wait for the one that is being classified
MOST_HELD = 16  # times max_bytes: what all pictures in memory may take together


class Refused(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, status: int, what: str, *, expected: str = "", do: str = "", headers: dict | None = None):
        self.status, self.headers = status, headers
        self.body = error_json(status, what, expected=expected, do=do)


class Service:
    """A model that classifies one picture at a time in a thread of its own, and the pictures that wait for it.

    max_bytes, max_pixels: of one picture. patience: seconds that sending it may take.
    """

    def __init__(
        self,
        model: Classifier,
        place: runtime.Runtime,
        *,
        views: int | None,
        max_bytes: int,
        max_pixels: int,
        patience: float,
    ):
        self.model, self.place, self.views = model, place, views
        self.max_bytes, self.max_pixels, self.patience = max_bytes, max_pixels, patience
        self.worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="classify")
        self.waiting = 0  # pictures given to the worker and not yet answered
        self.held = 0  # bytes of all pictures being received or waiting

    async def classify(self, request: Request) -> Response:
        """POST /api/classify: the bytes of one picture file to its classes."""
        top = _top(request.query_params.get("top", "5"), len(self.model.classes))
        chunks: list[bytes] = []
        try:
            await self._receive(request, chunks)
            picture = b"".join(chunks)
            if self.waiting > MOST_WAITING:
                raise _busy()
            self.waiting += 1
            try:
                found = await asyncio.get_running_loop().run_in_executor(self.worker, self._classify, picture)
            finally:
                self.waiting -= 1
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        finally:
            self.held -= sum(map(len, chunks))
        known = not math.isnan(found.strangeness)
        return _json(
            {
                "classes": [{"name": name, "probability": p} for name, p in found.top(self.model.classes, top)],
                "strangeness": found.strangeness if known else None,
                "is_strange": found.is_strange if known else None,
            }
        )

    async def about(self, request: Request) -> Response:
        """GET /api/model: what the page and other programs must know of the model."""
        height, width = self.model.size
        typical, limit = self.model.familiar.tolist()
        return _json(
            {
                "model": self.model.name,
                "classes": list(self.model.classes),
                "size": {"height": height, "width": width},
                "false_alarm_rate": calibrate.LIMIT if typical > limit else None,
                "limits": {"bytes": self.max_bytes, "pixels": self.max_pixels},
                "snellen": __version__,
            }
        )

    async def _receive(self, request: Request, chunks: list[bytes]) -> None:
        """Collect the body, never more of it than allowed, whatever its head says of its length."""
        too_large = Refused(
            413,
            f"the picture has more than {self.max_bytes:,} bytes.",
            expected=f"{self.max_bytes:,} bytes at most",
            do="scale it down, or start the server with a larger limit",
        )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self.max_bytes:
            raise too_large
        received = 0
        try:
            async with asyncio.timeout(self.patience):
                async for chunk in request.stream():
                    received += len(chunk)
                    if received > self.max_bytes:
                        raise too_large
                    if self.held + len(chunk) > MOST_HELD * self.max_bytes:
                        raise _busy()
                    self.held += len(chunk)
                    chunks.append(chunk)
        except TimeoutError:
            raise Refused(
                408,
                f"the picture did not arrive within {self.patience:g} seconds.",
                do="send it faster, or a smaller one",
                headers={"connection": "close"},
            ) from None

    def _classify(self, picture: bytes) -> Classified:
        try:
            width, height = picture_size(picture)
            pixels = f"{width:,} x {height:,}" if width * height > self.max_pixels else ""
        except UnreadablePicture as problem:
            if str(problem) != TOO_MANY_PIXELS:
                raise _unreadable(str(problem)) from None
            pixels = TOO_MANY_PIXELS.removesuffix(" pixels")
        if pixels:
            raise Refused(
                413,
                f"the picture has {pixels} pixels.",
                expected=f"{self.max_pixels:,} pixels at most",
                do="scale it down, or start the server with a larger limit",
            )
        (found,) = classify(self.model, [("picture", picture)], self.place, views=self.views)
        if found.problem:
            raise _unreadable(found.problem)
        return found


def application(service: Service, hosts: frozenset[str] | None) -> ASGIApp:
    """The ASGI application. hosts: the names by which it may be called; None: any."""
    routes = [Route(path, _answer(*file), methods=["GET"]) for path, file in PAGE.items()]
    routes.append(Route("/api/model", service.about, methods=["GET"]))
    routes.append(Route("/api/classify", service.classify, methods=["POST"]))
    errors: dict[Any, Any] = {HTTPException: _not_here, Refused: _refused, Exception: _our_bug}
    app = Starlette(routes=routes, exception_handlers=errors)
    app.router.redirect_slashes = False

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        name = re.sub(r":\d*$", "", host.lower()).strip("[]")
        if hosts is not None and name not in hosts:
            # A page of another site whose name was made to point at this machine (DNS rebinding).
            await _error(421, f'this server is not "{host[:100]}".', expected="localhost")(scope, receive, send)
        elif origin is not None and origin.partition("://")[2] != host:
            await _error(403, "pages of other sites may not use this server.")(scope, receive, send)
        else:
            await app(scope, receive, send)

    return guarded


def _answer(file: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that gives the file as it is now."""
    content = (Path(__file__).parent / "page" / file).read_text(encoding="utf-8").replace("{{version}}", __version__)

    async def answer(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return answer


def _top(text: str, num_classes: int) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 8 and int(text) > 0):
        raise Refused(400, f'top="{text[:20]}" is not a number of classes.', expected=f"1 to {num_classes}")
    return min(int(text), num_classes)


def _unreadable(reason: str) -> Refused:
    return Refused(
        400,
        f"the picture cannot be read: {reason}.",
        expected="the bytes of one PNG, JPEG, WebP, GIF, BMP or TIFF file as the body, with nothing around them",
        do="send another picture",
    )


def _busy() -> Refused:
    return Refused(503, "too many pictures are waiting.", do="send it again in a second", headers={"retry-after": "1"})


async def _refused(request: Request, problem: Refused) -> Response:
    return Response(problem.body, problem.status, problem.headers, "application/json")


async def _not_here(request: Request, problem: HTTPException) -> Response:
    what = {
        404: f'there is nothing at "{request.url.path[:100]}".',
        405: f"{request.method[:20]} is not possible here.",
    }
    return _error(problem.status_code, what.get(problem.status_code, problem.detail), headers=problem.headers)


async def _our_bug(request: Request, problem: Exception) -> Response:
    log.error("a request failed", exc_info=problem)
    return _error(500, "the server made a mistake.", do="look at what it printed")


def _error(status: int, what: str, *, expected: str = "", do: str = "", headers: Any = None) -> Response:
    return Response(error_json(status, what, expected=expected, do=do), status, headers, "application/json")


def _json(value: Any) -> Response:
    return Response(json.dumps(value, ensure_ascii=False, allow_nan=False), media_type="application/json")
