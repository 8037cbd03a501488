"""No more requests than can be answered in time: one too many is turned away before its body is read."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import error_response, queue_full


class TurnAway:
    """ASGI middleware that answers 503 at once while there is no room, at next to no cost.

    Args:
        path: of the requests that take room.
        is_full: whether there is none.
    """

    def __init__(self, app: ASGIApp, path: str, is_full: Callable[[], bool]) -> None:
        self.app, self.path, self.is_full = app, path, is_full

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if there is room."""
        if scope["type"] == "http" and scope["path"] == self.path and self.is_full():
            await error_response(queue_full())(scope, receive, send)
        else:
            await self.app(scope, receive, send)
