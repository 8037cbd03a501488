"""Requests and predictions as JSON Schema, derived from the bundle's schema.

What JSON Schema cannot say (rows as wide as their columns, events in order, names that the vocabulary knows)
is left to the reader of requests, whose errors say it.
"""

from typing import Any

from eventmodel.bundle import Bundle
from eventmodel.engine.query import SAMPLES
from eventmodel.request.question import (
    DEFAULT_TOP_K,
    MAX_QUANTILES,
    MAX_SAMPLES,
    MAX_SEED,
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    MIN_TOP_P,
)
from eventmodel.request.reader import MAX_RECORDS
from eventmodel.schema import AnyField, DatetimeField, EnumField, IdField, KeyField, NumberField, Schema, Stream

Json = dict[str, Any]

_DATE = "[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_OFFSET = "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_NUMBER = r"^(-?[0-9]{1,15}(\.[0-9]{1,15})?)?$"
_TEXT: Json = {"type": ["string", "number", "boolean"]}  # what is no string is read as its text
_NAME = _TEXT | {"minLength": 1}


def request_schema(bundle: Bundle) -> Json:
    """JSON Schema of the request body."""
    schema = bundle.schema
    categories = [category.name for category in schema.categories]
    return _object(
        {
            "streams": _optional(
                _object(
                    {s.name: _stream(bundle, s) for s in schema.streams},
                    required=[schema.focus],
                    description="The histories that the prediction reads.",
                )
            ),
            "records": _or_null(
                _events(
                    schema,
                    1,
                    MAX_RECORDS,
                    "In place of streams: the recent log in any order, of which the prediction reads what training "
                    f"would have read; at most {MAX_RECORDS} events. Focus is needed.",
                )
            ),
            "focus": _optional(
                _TEXT,
                description=f"The entity of stream {schema.focus} to predict; needed where there are several, "
                "and with records.",
            ),
            "now": _datetime(
                schema, "The moment of the prediction; the latest event's time where it is left out.", may_be_blank=True
            ),
            "horizon": {
                "type": ["integer", "null"],
                "minimum": 1,
                "maximum": bundle.max_horizon,
                "default": 1,
                "description": "How many future events to predict.",
            },
            "top_k": {
                "oneOf": [{"type": ["integer", "null"], "minimum": 1}, {"const": "all"}],
                "default": DEFAULT_TOP_K,
                "description": "How many values to list per category.",
            },
            "categories": {
                "type": ["array", "null"],
                "items": {"enum": categories},
                "uniqueItems": True,
                "description": "The categories to detail; all where it is left out.",
            },
            "allowed": _optional(
                _object(
                    {
                        name: {"type": "array", "items": _NAME, "minItems": 1, "maxItems": size - 1}
                        for name, size in zip(categories, bundle.codec.sizes, strict=True)
                    },
                    description="Per category, the only values that may happen.",
                )
            ),
            "quantiles": {
                "type": ["array", "null"],
                "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                "maxItems": MAX_QUANTILES,
                "uniqueItems": True,
                "description": "Levels, lowest first, at which each event's time is wanted, as 0.1, 0.5 and 0.9. "
                f"They take {SAMPLES} sampled events per future event, and so time, but with sampling, which draws "
                "its own; none where it is left out.",
            },
            "sampling": _optional(_sampling()),
            "observed": _optional(
                _event(
                    schema,
                    "An event to score as the next one, whatever is allowed: its probability and surprise. A field "
                    "left out is blank; an event that names nobody is the focus's own.",
                )
            ),
        },
        description="A key that is null counts as left out, and so does a field of an event that is null or empty.",
    ) | {"oneOf": [_given("streams", without="records"), _given("records", "focus", without="streams")]}


def _given(*names: str, without: str) -> Json:
    """An object with some keys, which are neither null nor empty text, and without another one."""
    given: Json = {name: {"not": {"type": "null"}, "minLength": 1} for name in names}
    return {"required": list(names), "properties": given | {without: {"type": "null"}}}


def _sampling() -> Json:
    def number(kind: str, default: int, **limits: float) -> Json:
        return {"type": [kind, "null"], "default": default, **limits}

    return _object(
        {
            "num_samples": number("integer", 1, minimum=1, maximum=MAX_SAMPLES),
            "temperature": number("number", 1, minimum=MIN_TEMPERATURE, maximum=MAX_TEMPERATURE),
            "top_p": number("number", 1, minimum=MIN_TOP_P, maximum=1),
            "seed": number("integer", 0, minimum=0, maximum=MAX_SEED),
        },
        description="Draw several rollouts in place of the most probable one: at a temperature, and of each category "
        "from the most probable values that together reach top_p. The same seed, the same rollouts.",
    )


def _events(schema: Schema, least: int, most: int, description: str) -> Json:
    bounds = {"minItems": least, "maxItems": most}
    columns = _object(
        {
            "columns": {
                "type": "array",
                "items": {"enum": [f.name for f in schema.fields]},
                "uniqueItems": True,
                "minItems": least,
            },
            "rows": {"type": "array", "items": {"type": "array", "items": _optional(_TEXT)}, **bounds},
        },
        required=["columns", "rows"],
        description="The same as columns and rows, for volume.",
    )
    objects = {"type": "array", "items": _event(schema, ""), **bounds}
    return {"oneOf": [objects, columns], "description": description}


def _stream(bundle: Bundle, stream: Stream) -> Json:
    limit = stream.history_length(bundle.config.context_length)
    events = _events(bundle.schema, 0, limit, f"Oldest first; at most the newest {limit}.")
    entity = (
        _object({"id": _NAME, "events": events}, required=["id", "events"])
        if stream.keys
        else _object({"events": events}, required=["events"])
    )
    keys = f"Histories by {' or '.join(stream.keys)}." if stream.keys else "The log's most recent events of all."
    histories: Json = {"type": "array", "items": entity, "maxItems": stream.max_entities, "description": keys}
    return histories | {"minItems": 1} if stream.name == bundle.schema.focus else _optional(histories)


def _event(schema: Schema, description: str) -> Json:
    return _object({f.name: _field(schema, f) for f in schema.fields}, [schema.order_by], description)


def _field(schema: Schema, field: AnyField) -> Json:
    match field:
        case DatetimeField():
            return _datetime(schema, field.description, may_be_blank=field.name != schema.order_by)
        case NumberField():
            numbers: list[Json] = [{"type": ["number", "null"]}, {"type": "string", "pattern": _NUMBER}]
            return {"anyOf": [*numbers, {"enum": field.labels}], "description": field.description}
        case EnumField():
            known = f"One of {', '.join(field.values)}; anything else counts as unknown."
            return _optional(_TEXT, description=f"{field.description} {known}".strip())
        case IdField() | KeyField():
            return _optional(_TEXT, description=field.description)


def _datetime(schema: Schema, description: str, may_be_blank: bool) -> Json:
    is_local = schema.time_zone is None
    pattern = f"{_DATE}([T ]{_TIME})?" if is_local else f"{_DATE}[T ]{_TIME}{_OFFSET}"
    zone = "local wall time, without an offset" if is_local else "with an offset"
    described = {"type": "string", "description": f"{description} ISO 8601, {zone}.".strip()}
    return _optional(described, pattern=f"^({pattern})?$") if may_be_blank else described | {"pattern": f"^{pattern}$"}


def _optional(described: Json, **more: str) -> Json:
    """The same, or null, which is the same as leaving it out."""
    kinds = described["type"] if isinstance(described["type"], list) else [described["type"]]
    return described | {"type": [*kinds, "null"]} | more


def _or_null(described: Json) -> Json:
    return described | {"oneOf": [*described["oneOf"], {"type": "null"}]}


def response_schema(schema: Schema) -> Json:
    """JSON Schema of a prediction."""
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    nats = {"type": ["number", "null"]}
    value = _whole({"value": {"type": "string"}, "probability": probability})
    distribution = _whole(
        {
            "top": {"type": "array", "items": value},
            "unknown": probability,
            "rest": probability,
            "entropy": {"type": "number", "minimum": 0},
        }
    )
    by_category = {"type": "object", "additionalProperties": distribution}
    score = _whole({"probability": probability, "surprise": nats, "expected": {"type": "number", "minimum": 0}})
    scores = {"type": "object", "additionalProperties": score}
    when = {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "The event's time by level: it is not later with that probability. Given the events before it, "
        "or over the rollouts where they are drawn.",
    }
    fields = {f.name: {"type": ["string", "null"]} for f in schema.fields if not isinstance(f, KeyField)}
    event = _object(fields)
    joint = _whole({"log_probability": nats, "surprise": nats})
    predicted = {"event": event, "when": when, "categories": by_category}
    return _object(
        {
            "model": _whole({"name": {"type": "string"}, "version": {"type": "string"}}),
            "focus": {"type": "string"},
            "now": {"type": "string"},
            "unknown_values": {
                "type": "object",
                "additionalProperties": {"type": "integer", "minimum": 1},
                "description": "By category, how many of the values sent the model does not know.",
            },
            "events": {"type": "array", "items": _object(predicted, required=["categories"])},
            "rollouts": {
                "type": "array",
                "items": _whole({"events": {"type": "array", "items": event}, "log_probability": nats}),
                "description": "Where samples were asked for; then no event stands in events.",
            },
            "observed": _whole({"categories": scores, "joint": joint}),
        },
        required=["model", "focus", "now", "unknown_values", "events"],
    )


def _whole(properties: Json) -> Json:
    """An object that has all of its keys."""
    return _object(properties, required=list(properties))


def _object(properties: Json, required: list[str] | None = None, description: str = "") -> Json:
    result: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        result["required"] = required
    if description:
        result["description"] = description
    return result
