"""What probes ask of a server: is it alive, is it ready.

Asynchronous, so that they wait for no thread.
"""

from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from server.model_status import ModelStatus

LIVE, READY = "/live", "/ready"


async def live(_: Request) -> Response:
    """200 as long as the process answers at all."""
    return _json({"status": "alive"})


def ready(status: ModelStatus) -> Callable[[Request], Awaitable[Response]]:
    """200 while requests are answered; 503 while the model loads, is stuck, or the server is stopping."""

    async def answer(_: Request) -> Response:
        readiness = status.readiness
        return _json({"status": readiness}, 200 if readiness == "ready" else 503)

    return answer


def _json(body: object, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
