"""The model's card: what is served, how good it was found to be, what may be asked of it, and an example."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from eventmodel.bundle import Bundle
from eventmodel.request.question import MAX_QUANTILES, MAX_SAMPLES, MAX_TEMPERATURE, MIN_TEMPERATURE, MIN_TOP_P
from eventmodel.request.reader import MAX_RECORDS
from server.handler import MAX_VALUES
from server.settings import Settings

INFO = "/info"


def info(bundle: Bundle, settings: Settings) -> Callable[[Request], Awaitable[Response]]:
    """The model, its schema and the sizes of its vocabularies, every limit of a request, and one that works."""
    schema = bundle.schema
    described = {
        "model": {"name": bundle.name, "version": bundle.version, "versions": bundle.versions},
        "schema": schema.model_dump(mode="json"),
        "categories": {
            category.name: size for category, size in zip(schema.categories, bundle.codec.sizes, strict=True)
        },
        "measured": _measured(bundle),
        "limits": {
            "body_bytes": settings.max_body_bytes,
            "timeout_s": settings.timeout_s,
            "records": MAX_RECORDS,
            "values": MAX_VALUES,
            "horizon": bundle.max_horizon,
            "quantiles": MAX_QUANTILES,
            "samples": MAX_SAMPLES,
            "temperature": MAX_TEMPERATURE,
            "least_temperature": MIN_TEMPERATURE,
            "least_top_p": MIN_TOP_P,
            "streams": {
                stream.name: {
                    "entities": stream.max_entities,
                    "events": stream.history_length(bundle.config.context_length),
                }
                for stream in schema.streams
            },
        },
        "example": bundle.example,
    }
    body = orjson.dumps(described)

    async def answer(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return answer


def _measured(bundle: Bundle) -> dict[str, Any] | None:
    """How often each category's most probable value was right, and its loss in nats, when training ended.

    On the test part where the log had one, else on the validation part; None for a bundle without measurements.
    """
    for part in ("test", "validation"):
        if part in bundle.metrics:
            found = bundle.metrics[part]
            names = (category.name for category in bundle.schema.categories)
            each = zip(names, found["top1"], found["nll"], strict=True)
            categories = {name: {"top1": top1, "nll": nll} for name, top1, nll in each}
            return {"part": part, "events": found["n"], "categories": categories}
    return None
