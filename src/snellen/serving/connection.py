"""uvicorn's HTTP/1.1 connection, made to trust no client's pace: whoever keeps it waiting is cut off."""

import asyncio
import json
import socket
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 256  # connections at once; a system's default limit of open files is often 1024
# A refused upload is still read, and forgotten, for so many seconds and bytes: cut off at once, a browser would show
# "connection reset" instead of the answer that says why.
LINGER, MOST_FORGOTTEN = 2.0, 64 * 2**20
TICK = 0.5  # seconds between looks at the clock


class Connection(H11Protocol):
    """One client. Its patience in seconds is uvicorn's setting timeout_keep_alive, here for every kind of waiting.

    uvicorn itself ends idle connections only. It would wait for ever for the rest of a request's head, for a client
    that does not take its answer, and for the rest of a body that was refused. The time that a body may take is the
    application's matter (see app.py).
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # An answer is written in two parts; without this the second waits 40 ms for the client's word on the first.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._state: tuple[str, object] = ("", None)
        self._since = self.loop.time()
        self._forgotten = 0
        self._watch()
        if len(self.connections) > MOST:
            self._refuse(503, "too many connections.", "try again in a moment")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._forgotten = self._forgotten + len(data) if self._waits_for() == "rest" else 0
        if self._forgotten > MOST_FORGOTTEN:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is not an HTTP request.", "see /openapi.json for what can be asked")

    def shutdown(self) -> None:
        if not self.transport.is_closing():  # h11 refuses to end a connection that has ended in error
            super().shutdown()

    def _watch(self) -> None:
        """Compare how long the connection has been in its present state with how long it may be."""
        state = (self._waits_for(), self.cycle)
        now = self.loop.time()
        if state != self._state:
            self._state, self._since = state, now
        limit = LINGER if state[0] == "rest" else self.timeout_keep_alive
        if state[0] and now - self._since > limit:
            if state[0] == "head":
                self._refuse(408, "the request's head took too long.", "send it at once")
            elif state[0] == "first byte":
                self.transport.close()
            else:
                self.transport.abort()
        self._timer = self.loop.call_later(min(TICK, limit / 4), self._watch)

    def _waits_for(self) -> str:
        """What the client owes: "first byte", "head", "rest" of a refused body, "reading" the answer; nothing is ""."""
        if self.transport.is_closing() or self.flow.write_paused:
            return "reading"
        if self.cycle is not None and not self.cycle.response_complete:
            return ""
        if self.conn.their_state is h11.SEND_BODY:
            return "rest"
        received, _ = self.conn.trailing_data
        return "head" if received else "first byte" if self.cycle is None else ""

    def _refuse(self, status: int, what: str, do: str) -> None:
        """Answer without the application, and close."""
        if not self.transport.is_closing() and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = error_json(status, what, do=do)
            self.transport.write(_head(status, len(body), self.server_state.default_headers) + body)
        self.transport.close()


def error_json(status: int, what: str, *, expected: str = "", do: str = "") -> bytes:
    """The body of every answer that refuses something, in the parts of our errors."""
    error = {"status": status, "what": what} | {k: v for k, v in (("expected", expected), ("do", do)) if v}
    return json.dumps({"error": error}, ensure_ascii=False).encode("utf-8")


def _head(status: int, length: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
    lines += [name + b": " + value for name, value in headers]
    lines += [b"content-type: application/json", b"content-length: %d" % length, b"connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n"
