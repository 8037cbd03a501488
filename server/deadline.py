"""Until when a request wants its answer, and an answer in any case."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventmodel.request.errors import RequestError
from server.errors import body_too_slow, error_response, timed_out

HEADER = "x-request-timeout"
"""Seconds that the sender waits, from the end of the request's head; at most the server's own timeout."""


class Deadline:
    """ASGI middleware that answers 504 where nothing was answered in time, and 408 where the body took all of it.

    The deadline stands in the scope, on the clock ``time.monotonic()``: the model process drops what is late.
    """

    def __init__(self, app: ASGIApp, timeout_s: float) -> None:
        self.app, self.timeout_s = app, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer it if nobody else does."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            seconds = self._seconds(scope)
        except RequestError as error:
            await error_response(error)(scope, receive, send)
            return
        scope["deadline"] = time.monotonic() + seconds
        started = is_receiving = is_whole = False

        async def listen() -> Message:
            nonlocal is_receiving, is_whole
            is_receiving = True
            message = await receive()
            is_receiving = False
            is_whole = not message.get("more_body", False)
            return message

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(seconds):
                await self.app(scope, listen, watch)
        except TimeoutError:
            if started:
                raise
            is_body_late = is_receiving and not is_whole and seconds == self.timeout_s  # not by the sender's own wish
            late = body_too_slow() if is_body_late else timed_out()
            await error_response(late)(scope, receive, send)

    def _seconds(self, scope: Scope) -> float:
        sent = next((value for name, value in scope["headers"] if name == HEADER.encode()), None)
        if sent is None:
            return self.timeout_s
        try:
            seconds = float(sent)
        except ValueError:
            seconds = -1
        if not seconds > 0:  # nan neither
            raise RequestError(
                "bad_timeout",
                "X-Request-Timeout",
                "the header is not a number of seconds above 0",
                "Send seconds as 0.5, or leave the header out.",
                400,
            )
        return min(seconds, self.timeout_s)
