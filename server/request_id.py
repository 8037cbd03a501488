"""A name for every request, to find it in logs: the sender's own, or a new one."""

import logging
import re
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import error_response, internal_error

logger = logging.getLogger("eventmodel")

HEADER = b"x-request-id"
_USABLE = re.compile(rb"[A-Za-z0-9._:-]{1,64}")  # goes into logs and headers, so nothing that could break either


class RequestId:
    """ASGI middleware that puts the id into the scope and into the answer.

    Where the handling of the request raises, it logs why under the id and answers 500.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and name it in the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == HEADER), b"")
        id_ = sent if _USABLE.fullmatch(sent) else secrets.token_hex(8).encode()
        scope["request_id"] = id_.decode()
        has_begun = False

        async def name(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message.get("headers", ()), (HEADER, id_)]
            await send(message)

        try:
            await self.app(scope, receive, name)
        except Exception:
            logger.exception("A request could not be handled.", extra={"request_id": scope["request_id"]})
            if has_begun:
                raise  # the connection is closed: the answer is not whole
            await error_response(internal_error())(scope, receive, name)
