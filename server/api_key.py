"""Who may ask: whoever knows the key, where one is set."""

from collections.abc import Collection
from hmac import compare_digest

from starlette.types import ASGIApp, Receive, Scope, Send

from eventmodel.request.errors import RequestError
from server.errors import error_response

HEADER = b"x-api-key"


class ApiKey:
    """ASGI middleware that answers 401 to requests without the key.

    Args:
        key: what the header must say.
        open_paths: those of probes, for which no key is asked.
    """

    def __init__(self, app: ASGIApp, key: str, open_paths: Collection[str]) -> None:
        self.app, self.key, self.open_paths = app, key.encode(), open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if it has the key."""
        if scope["type"] == "http" and scope["path"] not in self.open_paths:
            sent = next((value for name, value in scope["headers"] if name == HEADER), b"")
            if not compare_digest(sent, self.key):
                error = RequestError("unauthorized", "X-API-Key", "no key, or not the right one", "Send the key.", 401)
                await error_response(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)
