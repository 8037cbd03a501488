"""HTTP as uvicorn speaks it, but for what nothing else of the server sees.

A request's head has bounds. An offer to go on in another protocol, as Java's client makes it, is not taken
up, and the request is answered as if it had not been made; the parser below would drop its body.
"""

import asyncio
import logging
from asyncio import TimerHandle

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from eventmodel.request.errors import RequestError
from server.errors import error_response

logger = logging.getLogger("eventmodel")

MOST_BYTES = 65_536
"""Of a request line and its headers."""
MOST_S = 30.0
"""From the opening of a connection, or the first byte of a later request, to the end of the head."""


class PlainHttp(HttpToolsProtocol):
    """HTTP/1 and nothing else; closes a connection whose next request's head is too large or too slow."""

    _timer: TimerHandle | None = None
    _size = 0
    _is_continued = False
    """Whether the head that is being read began in earlier bytes."""
    _is_head_complete = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection has opened."""
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        """Some bytes have arrived; those of a head that come with its first or last one are not counted."""
        self._is_continued = True
        try:
            self._feed(data)
        except httptools.HttpParserError:
            if self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete:
                self.cycle.keep_alive = False  # the answer that is due is the last one
                self.flow.pause_reading()
                return
            hint = "Send HTTP/1.1; for TLS, put a proxy in front."
            self._refuse(RequestError("not_http", "", "the bytes are no HTTP request", hint, 400))
            return
        self._size += len(data) if self._is_continued else 0
        if self._timer is not None and self._size > MOST_BYTES and not self.transport.is_closing():
            message = f"the request's head is larger than {MOST_BYTES} bytes"
            self._refuse(RequestError("head_too_large", "", message, "Send fewer or shorter headers.", 431))

    def on_message_begin(self) -> None:
        """A head begins."""
        self._unset_keepalive_if_required()
        self._is_continued = self._is_head_complete = False
        super().on_message_begin()
        self._begin()
        self._size = 1  # what else came with its first byte is not counted: it may be of requests before

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of the head's; what comes after a body, a trailer, is not kept: nothing bounds it, nothing reads it."""
        if not self._is_head_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """It ends."""
        self._is_head_complete = True
        self._unset_keepalive_if_required()  # an answer before it may have ended since it began
        self._end()
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body ends."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has closed."""
        self._end()
        super().connection_lost(exc)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                method, rest = self.parser.get_method(), data[offer.args[0] :]
            if method == b"CONNECT":
                raise httptools.HttpParserError
            # the same head once more, without the offer
            line = b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())
            headers = [b"%s: %s" % header for header in map(_without_offer, self.headers) if header[1]]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
            data = b"\r\n".join((line, *headers, b"", b"")) + rest

    def _begin(self) -> None:
        if self._timer is None:  # for the first head it runs since the connection opened
            self._size = 0
            self._timer = self.loop.call_later(MOST_S, self._give_up)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._begin()  # an answer is due first, and until then nothing is read
        elif self._size:
            message = f"the request's head took longer than {MOST_S:g} s"
            self._refuse(RequestError("head_too_slow", "", message, "Send it at once.", 408))
        else:
            self.transport.close()

    def _refuse(self, error: RequestError) -> None:
        logger.info("A connection is closed: %s.", error.message, extra={"status": error.status, "code": error.code})
        response = error_response(error)
        response.headers["connection"] = "close"
        self.transport.write(_bytes(response))
        self.transport.close()


def _without_offer(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    name, value = header
    if name == b"connection":
        options = (option.strip() for option in value.split(b","))
        value = b", ".join(option for option in options if option.lower() != b"upgrade")
    return name, b"" if name == b"upgrade" else value


def _bytes(response: Response) -> bytes:
    headers = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
    return STATUS_LINE[response.status_code] + headers + b"\r\n" + bytes(response.body)
