"""What probes and people ask of a server: is it alive, is it ready, what does it serve.

Asynchronous, so that they wait for no thread.
"""

from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from eventmodel.bundle import Bundle
from eventmodel.request.reader import MAX_QUANTILES, MAX_SAMPLES
from server.model_status import ModelStatus
from server.settings import Settings

LIVE, READY, INFO = "/live", "/ready", "/info"


async def live(_: Request) -> Response:
    """200 as long as the process answers at all."""
    return _json({"status": "alive"})


def ready(status: ModelStatus) -> Callable[[Request], Awaitable[Response]]:
    """200 while requests are answered; 503 while the model loads, is stuck, or the server is stopping."""

    async def answer(_: Request) -> Response:
        readiness = status.readiness
        return _json({"status": readiness}, 200 if readiness == "ready" else 503)

    return answer


def info(bundle: Bundle, settings: Settings) -> Callable[[Request], Awaitable[Response]]:
    """The model, its schema and the sizes of its vocabularies, and every limit of a request."""
    schema = bundle.schema
    described = {
        "model": {"name": bundle.name, "version": bundle.version, "versions": bundle.versions},
        "schema": schema.model_dump(mode="json"),
        "categories": {
            category.name: size for category, size in zip(schema.categories, bundle.codec.sizes, strict=True)
        },
        "limits": {
            "body_bytes": settings.max_body_bytes,
            "timeout_s": settings.timeout_s,
            "horizon": bundle.max_horizon,
            "quantiles": MAX_QUANTILES,
            "samples": MAX_SAMPLES,
            "streams": {
                stream.name: {"entities": stream.max_entities, "events": bundle.history_length(stream)}
                for stream in schema.streams
            },
        },
    }
    body = orjson.dumps(described)

    async def answer(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return answer


def _json(body: object, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
