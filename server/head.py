"""HTTP as uvicorn speaks it, with bounds on a request's head, which nothing else of the server sees."""

import asyncio
from asyncio import TimerHandle

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from eventmodel.request.errors import RequestError
from server.errors import error_response

MOST_BYTES = 65_536
"""Of a request line and its headers."""
MOST_S = 30.0
"""From the opening of a connection, or the first byte of a later request, to the end of the head."""


class BoundedHead(HttpToolsProtocol):
    """Closes a connection whose next request's head is too large or too slow."""

    _timer: TimerHandle | None = None
    _size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection has opened."""
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        """Some bytes have arrived; a head that they end has no bound but what arrives at once."""
        super().data_received(data)
        self._size += len(data)
        if self._timer is not None and self._size > MOST_BYTES and not self.transport.is_closing():
            message = f"the request's head is larger than {MOST_BYTES} bytes"
            self._refuse(RequestError("head_too_large", "", message, "Send fewer or shorter headers.", 431))

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._begin()

    def on_headers_complete(self) -> None:
        """It ends."""
        self._end()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has closed."""
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._end()
        self._size = 0
        self._timer = self.loop.call_later(MOST_S, self._give_up)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if self._size:
            message = f"the request's head took longer than {MOST_S:g} s"
            self._refuse(RequestError("head_too_slow", "", message, "Send it at once.", 408))
        else:
            self.transport.close()

    def _refuse(self, error: RequestError) -> None:
        response = error_response(error)
        response.headers["connection"] = "close"
        self.transport.write(_bytes(response))
        self.transport.close()


def _bytes(response: Response) -> bytes:
    headers = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
    return STATUS_LINE[response.status_code] + headers + b"\r\n" + bytes(response.body)
