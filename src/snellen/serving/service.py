"""One model and its queue of pictures, with limits on their number, size and decoding memory."""

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

MAX_WAITING = 32  # pictures in the queue
MAX_HELD = 16  # times max_bytes: the limit for all pictures in memory together
LARGE = 32 * 2**20  # bytes; after decoding a picture that needs more, freed memory is returned to the system
# AVIF is excluded, because only decoding reveals the true size of a picture.
FORMATS = {"PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA", "JPEG2000"}


class Refused(HTTPException):
    """An HTTP error with the same parts as other messages: what, expected, do."""

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
    """A model that classifies one picture at a time, in its own thread.

    max_bytes: maximum size of a file. max_memory: maximum memory for decoding a picture, in bytes. patience: seconds
    allowed for sending a picture.
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
        """Classify the picture in the body. Raises Refused, or ClientDisconnect if the client has disconnected."""
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
        """Read the body into `picture`, up to the limit, regardless of the length in the header."""
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
        """Return the memory needed for decoding, in bytes. Raises Refused before anything is decoded."""
        try:
            header = read_header(picture, self.model.size[0], self.model.resize)
        except TooManyPixels as problem:
            raise Refused(413, f"the picture has {problem}.", expected=f"{MAX_PIXELS:,} pixels or fewer") from None
        except UnreadablePicture as problem:
            raise _unreadable(str(problem)) from None
        if header.format not in FORMATS:
            raise _unreadable(f"{header.format} is not supported here")
        if header.memory > self.max_memory:
            raise Refused(
                413,
                f"decoding the picture would need {size(header.memory)} of memory: "
                f"{header.width:,} x {header.height:,} pixels, {header.format}.",
                expected=f"{size(self.max_memory)} or less",
                do="scale the picture down, or start the server with a larger --max-memory",
            )
        return header.memory


def _unreadable(reason: str) -> Refused:
    return Refused(
        400,
        f"the picture cannot be read: {reason}.",
        expected="a body with the bytes of one PNG, JPEG, WebP, GIF, BMP or TIFF file and nothing else",
        do="send another picture",
    )


def _busy() -> Refused:
    return Refused(503, "too many pictures are waiting.", do="send it again in a second", headers={"retry-after": "1"})
