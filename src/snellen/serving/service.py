"""One model, and the pictures that wait for it: bounded in number, in bytes and in the memory that decoding takes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from fastapi import Request
from starlette.exceptions import HTTPException

from snellen.errors import SnellenError
from snellen.models.classifier import Classifier
from snellen.prediction.pictures import Classified, classify
from snellen.sources.decode import MAX_PIXELS, TooManyPixels, UnreadablePicture
from snellen.sources.header import read_header
from snellen.system.device import Runtime
from snellen.system.memory import return_freed_memory
from snellen.system.units import size

MAX_WAITING = 32  # pictures that wait for the one that is being classified
MAX_HELD = 16  # times max_bytes: what all pictures in memory may take together
LARGE = 32 * 2**20  # bytes; after a picture that took more, freed memory is returned to the system
# AVIF is left out: only decoding shows how large such a picture really is.
FORMATS = {"PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA", "JPEG2000"}


class Refused(HTTPException):
    """A request that is answered with an error, in the parts of our messages."""

    def __init__(
        self,
        status: int,
        what: str,
        *,
        expected: str | None = None,
        do: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(status, what, headers)
        self.expected, self.do = expected, do


class Service:
    """A model that classifies one picture at a time, in a thread of its own.

    max_bytes: of one file. max_memory: bytes that decoding one picture may take. patience: seconds that sending one
    may take.
    """

    def __init__(
        self,
        model: Classifier,
        runtime: Runtime,
        *,
        views: int | None,
        max_bytes: int,
        max_memory: int,
        patience: float,
    ):
        self.model, self.runtime, self.views = model, runtime, views
        self.max_bytes, self.max_memory, self.patience = max_bytes, max_memory, patience
        self.worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="classify")
        self.num_waiting = 0  # pictures handed to the worker and not yet classified
        self.held = 0  # bytes of all pictures that are being received or waiting

    async def classify(self, request: Request) -> Classified:
        """Classify the picture in the body. Raises Refused, or ClientDisconnect if the client has gone."""
        picture = bytearray()
        try:
            await self._receive(request, picture)
            if self.num_waiting > MAX_WAITING:
                raise _busy()
            self.num_waiting += 1
            try:
                return await asyncio.get_running_loop().run_in_executor(self.worker, self._classify, picture)
            finally:
                self.num_waiting -= 1
        finally:
            self.held -= len(picture)

    async def _receive(self, request: Request, picture: bytearray) -> None:
        """Fill `picture` with the body, up to the limit, whatever length the request claims."""
        too_large = Refused(
            413,
            f"the file has more than {self.max_bytes:,} bytes.",
            expected=f"{self.max_bytes:,} bytes or fewer",
            do="scale the picture down, or start the server with a larger --max-bytes",
        )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self.max_bytes:
            raise too_large
        try:
            async with asyncio.timeout(self.patience):
                async for chunk in request.stream():
                    if len(picture) + len(chunk) > self.max_bytes:
                        raise too_large
                    if self.held + len(chunk) > MAX_HELD * self.max_bytes:
                        raise _busy()
                    self.held += len(chunk)
                    picture += chunk
        except TimeoutError:
            raise Refused(
                408,
                f"the picture did not arrive within {self.patience:g} seconds.",
                do="send it faster, or send a smaller one",
                headers={"connection": "close"},
            ) from None

    def _classify(self, picture: bytearray) -> Classified:
        data = bytes(picture)
        memory = self._check_header(data)
        try:
            (found,) = classify(self.model, [("picture", data)], self.runtime, views=self.views)
        except SnellenError as problem:
            raise Refused(500, problem.what, expected=problem.expected or None, do=problem.do or None) from None
        finally:
            if memory > LARGE:
                return_freed_memory()
        if found.probabilities is None:
            raise _unreadable(found.problem)
        return found

    def _check_header(self, picture: bytes) -> int:
        """Return the bytes that decoding takes, or refuse the picture before any of it is decoded."""
        try:
            header = read_header(picture, self.model.size[0])
        except TooManyPixels as problem:
            raise Refused(413, f"the picture has {problem}.", expected=f"{MAX_PIXELS:,} pixels or fewer") from None
        except UnreadablePicture as problem:
            raise _unreadable(str(problem)) from None
        if header.format not in FORMATS:
            raise _unreadable(f"{header.format} is not supported here")
        if header.memory > self.max_memory:
            raise Refused(
                413,
                f"decoding the picture would take {size(header.memory)} of memory: "
                f"{header.width:,} x {header.height:,} pixels, {header.format}.",
                expected=f"{size(self.max_memory)} or less",
                do="scale the picture down, or start the server with a larger --max-memory",
            )
        return header.memory


def _unreadable(reason: str) -> Refused:
    return Refused(
        400,
        f"the picture cannot be read: {reason}.",
        expected="the bytes of one PNG, JPEG, WebP, GIF, BMP or TIFF file as the body, and nothing else",
        do="send another picture",
    )


def _busy() -> Refused:
    return Refused(503, "too many pictures are waiting.", do="send it again in a second", headers={"retry-after": "1"})
