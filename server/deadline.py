"""An answer in any case: what a dead model process never answers, this does."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventmodel.request.errors import RequestError
from server.errors import error_response

GRACE_S = 5
"""On top of the timeout, so that the model process, which drops what waited too long, is heard first."""


def timed_out() -> RequestError:
    """The error of a request that nobody answered in time."""
    return RequestError("timeout", "", "the request waited too long for the model", "Send it again later.", 504)


class Deadline:
    """ASGI middleware that answers 504 where nothing was answered in time; it covers the receiving too."""

    def __init__(self, app: ASGIApp, timeout_s: float) -> None:
        self.app, self.timeout_s = app, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer it if nobody else does."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self.timeout_s + GRACE_S):
                await self.app(scope, receive, watch)
        except TimeoutError:
            if started:
                raise
            await error_response(timed_out())(scope, receive, send)
