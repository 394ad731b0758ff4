"""The web application: the page, its JSON API, and access control."""

import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from snellen import __version__
from snellen.prediction import calibrate
from snellen.serving.schema import Answer, ClassProbability, Limits, ModelFacts, Problem, Refusal, Size
from snellen.serving.service import Refused, Service

log = logging.getLogger("snellen")

PAGE = {  # path: file in page/, media type
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
# Sent with every response. The page may communicate only with this server, and no page may frame it.
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
PICTURE = {"requestBody": {"required": True, "content": {"application/octet-stream": {}, "image/*": {}}}}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The body is not a picture that can be read, or a parameter is invalid"},
    408: {"model": Refusal, "description": "The picture arrived too slowly"},
    413: {"model": Refusal, "description": "The picture is too large"},
    503: {
        "model": Refusal,
        "description": "Too many pictures are waiting; retry after the number of seconds in the retry-after header",
    },
}


def application(service: Service, hosts: frozenset[str] | None) -> FastAPI:
    """Return the application. hosts: the host names that requests may use; None: any name."""
    app = FastAPI(
        title="snellen",
        version=__version__,
        description="Classifies one picture per request and stores none. Pages from other sites cannot use it.",
        license_info={"name": "MIT", "identifier": "MIT"},
        docs_url=None,  # the pages for docs and redoc load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        responses={"default": {"model": Refusal, "description": "Why the request was refused"}},
        exception_handlers={HTTPException: _refused, RequestValidationError: _invalid, Exception: _our_bug},
    )
    app.add_middleware(OwnPagesOnly, hosts=hosts)
    for path, (file, media_type) in PAGE.items():
        app.add_api_route(path, _file(file, media_type), methods=["GET", "HEAD"], include_in_schema=False)

    @app.post(
        "/api/classify",
        operation_id="classify",
        summary="Classify one picture",
        response_model=Answer,
        responses=REFUSALS,
        openapi_extra=PICTURE,
    )
    async def classify(
        request: Request,
        top: Annotated[int, Query(ge=1, le=9_999_999, description="Number of the most probable classes to return")] = 5,
    ) -> Any:
        """Send the file as the body: `curl --data-binary @cat.jpg http://localhost:8000/api/classify`

        The picture is rotated according to its EXIF data, and resized like the images that the model was trained on.
        """
        try:
            found = await service.classify(request)
        except ClientDisconnect:
            return Response(status_code=400)  # the client has disconnected and cannot read it
        is_known = not math.isnan(found.strangeness)
        return Answer(
            labels=found.labels(service.model.task.names),
            classes=[
                ClassProbability(name=name, probability=p) for name, p in found.top(service.model.task.names, top)
            ],
            strangeness=found.strangeness if is_known else None,
            is_strange=found.is_strange if is_known else None,
        )

    @app.get("/api/model", operation_id="model", summary="Describe the model and the limits", response_model=ModelFacts)
    async def model() -> ModelFacts:
        height, width = service.model.size
        typical, limit = service.model.familiar.tolist()
        return ModelFacts(
            model=service.model.name,
            classes=list(service.model.task.names),
            kind=service.model.task.kind,
            size=Size(height=height, width=width),
            false_alarm_rate=calibrate.LIMIT if typical > limit else None,
            limits=Limits(bytes=service.max_bytes, memory=service.max_memory),
            snellen=__version__,
        )

    return app


class OwnPagesOnly:
    """Middleware that refuses requests for other host names (DNS rebinding) and requests from other sites' pages."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None):
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            host, origin = headers.get(b"host", ""), headers.get(b"origin")
            name = re.sub(r":\d*$", "", host.lower()).strip("[]")
            if self.hosts is not None and name not in self.hosts:
                await _error(
                    421, f'this server is not "{host[:100]}".', expected="localhost, or a name given with --allow-host"
                )(scope, receive, send)
                return
            if origin is not None and origin.partition("://")[2] != host:
                await _error(403, "pages from other sites cannot use this server.")(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _file(name: str, media_type: str) -> Callable[[], Response]:
    """Return an endpoint that serves a file from page/, read once at startup."""
    content = (Path(__file__).parent / "page" / name).read_bytes()

    async def answer() -> Response:
        return Response(content, media_type=media_type)

    return answer  # type: ignore[return-value]


async def _refused(request: Request, problem: Any) -> Response:
    what = {
        404: f'there is nothing at "{request.url.path[:100]}".',
        405: f"{request.method[:20]} is not allowed here.",
    }.get(problem.status_code, problem.detail)
    parts = {"expected": problem.expected, "do": problem.do} if isinstance(problem, Refused) else {}
    return _error(problem.status_code, what, headers=problem.headers, **parts)


async def _invalid(request: Request, problem: Any) -> Response:
    error = problem.errors()[0]
    return _error(400, f'{error["loc"][-1]}="{str(error["input"])[:20]}" is invalid.', expected=error["msg"])


async def _our_bug(request: Request, problem: Exception) -> Response:
    log.error("a request failed", exc_info=problem)
    return _error(500, "the server failed.", do="see the server's log")


def _error(status: int, what: str, *, headers: Any = None, **parts: str | None) -> Response:
    refusal = Refusal(error=Problem(status=status, what=what, **parts))
    return JSONResponse(refusal.model_dump(exclude_none=True), status, headers)
