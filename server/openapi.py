"""The request format as a JSON Schema, derived from the bundle's schema, for /docs and client generators."""

from typing import Any

from fastapi import FastAPI

from eventmodel.bundle import Bundle
from eventmodel.engine.times import SAMPLES
from eventmodel.request.reader import DEFAULT_TOP_K, MAX_QUANTILES, MAX_SAMPLES, MAX_TEMPERATURE
from eventmodel.schema import AnyField, DatetimeField, EnumField, IdField, KeyField, NumberField, Schema, Stream

Json = dict[str, Any]

_ERROR: Json = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "description": "What is wrong, in a word that programs can test for."},
                "loc": {"type": "string", "examples": ["streams.Actor[0].events[3].EventDatetime"]},
                "message": {"type": "string"},
                "hint": {"type": "string", "description": "What to send instead."},
            },
        }
    },
}


def describe(app: FastAPI, bundle: Bundle, path: str) -> None:
    """Put request body, example and errors of ``POST path`` into the app's OpenAPI document.

    FastAPI cannot derive them: it is told nothing of the route.
    """
    generate = app.openapi

    def openapi() -> Json:
        document = generate()
        document["info"] |= {"title": f"Event predictor: {bundle.name}", "version": bundle.version}
        operation: Json = {
            "operationId": "predict",
            "summary": "What happens next, with probabilities",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": request_schema(bundle), "example": bundle.example}},
            },
            "responses": {
                "200": {
                    "description": "One entry per future event; entropy and surprise are in nats.",
                    "content": {"application/json": {"schema": response_schema(bundle.schema)}},
                }
            },
        }
        for status, description in (
            ("400", "The body ends early, or X-Request-Timeout is no number of seconds."),
            ("413", "The body is over the limit."),
            ("415", "The body is compressed."),
            ("422", "The request is wrong at the place that loc names."),
            ("500", "The model failed on this request."),
            ("503", "As many requests wait as may; Retry-After says when to send it again."),
            ("504", "The request was not answered in time."),
        ):
            operation["responses"][status] = {
                "description": description,
                "content": {"application/json": {"schema": _ERROR}},
            }
        document["paths"][path] = {"post": operation}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def request_schema(bundle: Bundle) -> Json:
    """JSON Schema of the request body."""
    schema = bundle.schema
    categories = [category.name for category in schema.categories]
    return _object(
        {
            "streams": _object({s.name: _stream(bundle, s) for s in schema.streams}),
            "focus": {
                "type": "string",
                "description": f"The entity of stream {schema.focus} to predict; needed where there are several.",
            },
            "now": _datetime(schema, "The moment of the prediction; the latest event's time where it is left out."),
            "horizon": {
                "type": "integer",
                "minimum": 1,
                "maximum": bundle.max_horizon,
                "default": 1,
                "description": "How many future events to predict.",
            },
            "top_k": {
                "oneOf": [{"type": "integer", "minimum": 1}, {"const": "all"}],
                "default": DEFAULT_TOP_K,
                "description": "How many values to list per category.",
            },
            "categories": {
                "type": "array",
                "items": {"enum": categories},
                "uniqueItems": True,
                "description": "The categories to detail; all where it is left out.",
            },
            "allowed": _object(
                {name: {"type": "array", "items": {"type": "string"}, "minItems": 1} for name in categories},
                description="Per category, the only values that may happen.",
            ),
            "quantiles": {
                "type": "array",
                "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                "maxItems": MAX_QUANTILES,
                "description": "Levels, lowest first, at which each event's time is wanted, as 0.1, 0.5 and 0.9. "
                f"They take {SAMPLES} sampled events per future event, and so time; none where it is left out.",
            },
            "sampling": _object(
                {
                    "num_samples": {"type": "integer", "minimum": 1, "maximum": MAX_SAMPLES, "default": 1},
                    "temperature": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TEMPERATURE, "default": 1},
                    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 1},
                    "seed": {"type": "integer", "minimum": 0, "default": 0},
                },
                description="Draw several rollouts in place of the most probable one: at a temperature, and of each "
                "category from the most probable values that together reach top_p. The same seed, the same rollouts.",
            ),
            "observed": _event(
                schema,
                "An event to score as the next one, whatever is allowed: its probability and surprise. A field left "
                "out is blank; an event that names nobody is the focus's own.",
            ),
        },
        required=["streams"],
    )


def _stream(bundle: Bundle, stream: Stream) -> Json:
    event = _event(bundle.schema, "")
    names = [f.name for f in bundle.schema.fields]
    limit = bundle.history_length(stream)
    columns = _object(
        {
            "columns": {"type": "array", "items": {"enum": names}, "uniqueItems": True},
            "rows": {"type": "array", "items": {"type": "array"}, "maxItems": limit},
        },
        required=["columns", "rows"],
        description="The same as columns and rows, for volume.",
    )
    events = {
        "oneOf": [{"type": "array", "items": event, "maxItems": limit}, columns],
        "description": f"Oldest first; at most the newest {limit}.",
    }
    entity = (
        _object({"id": {"type": ["string", "number"]}, "events": events}, required=["id", "events"])
        if stream.keys
        else _object({"events": events}, required=["events"])
    )
    keys = f"Histories by {' or '.join(stream.keys)}." if stream.keys else "The log's most recent events of all."
    return {"type": "array", "items": entity, "maxItems": stream.max_entities, "description": keys}


def _event(schema: Schema, description: str) -> Json:
    return _object({f.name: _field(schema, f) for f in schema.fields}, [schema.order_by], description)


def _field(schema: Schema, field: AnyField) -> Json:
    match field:
        case DatetimeField():
            return _datetime(schema, field.description)
        case NumberField():
            return {"type": ["number", "string", "null"], "description": field.description}
        case EnumField():
            known = f"One of {', '.join(field.values)}; anything else counts as unknown."
            kinds = ["string", "number", "boolean", "null"]
            return {"type": kinds, "description": f"{field.description} {known}".strip()}
        case IdField() | KeyField():
            return {"type": ["string", "number", "null"], "description": field.description}


def _datetime(schema: Schema, description: str) -> Json:
    zone = "local wall time, without an offset" if schema.time_zone is None else "with an offset"
    return {"type": "string", "description": f"{description} ISO 8601, {zone}.".strip()}


def response_schema(schema: Schema) -> Json:
    """JSON Schema of a prediction."""
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    nats = {"type": ["number", "null"]}
    value = _object({"value": {"type": "string"}, "probability": probability})
    distribution = _object(
        {
            "top": {"type": "array", "items": value},
            "unknown": probability,
            "rest": probability,
            "entropy": {"type": "number", "minimum": 0},
        }
    )
    by_category = {"type": "object", "additionalProperties": distribution}
    score = _object({"probability": probability, "surprise": nats, "expected": {"type": "number", "minimum": 0}})
    scores = {"type": "object", "additionalProperties": score}
    when = {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "The event's time by level: it is not later with that probability.",
    }
    fields = {f.name: {"type": ["string", "null"]} for f in schema.fields if not isinstance(f, KeyField)}
    event = _object(fields)
    return _object(
        {
            "model": _object({"name": {"type": "string"}, "version": {"type": "string"}}),
            "focus": {"type": "string"},
            "now": {"type": "string"},
            "unknown_values": {"type": "integer"},
            "events": {
                "type": "array",
                "items": _object({"event": event, "when": when, "categories": by_category}),
            },
            "rollouts": {
                "type": "array",
                "items": _object({"events": {"type": "array", "items": event}, "log_probability": nats}),
                "description": "Where samples were asked for; then no event stands in events.",
            },
            "observed": _object({"categories": scores, "joint": _object({"log_probability": nats, "surprise": nats})}),
        }
    )


def _object(properties: Json, required: list[str] | None = None, description: str = "") -> Json:
    result: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        result["required"] = required
    if description:
        result["description"] = description
    return result
