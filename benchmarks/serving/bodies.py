"""Requests to measure with: three histories of 64 events each, no two requests alike."""

import random
from datetime import datetime, timedelta
from typing import Any, Literal

import orjson

from eventmodel.bundle import Bundle

Form = Literal["rows", "objects"]
N_EVENTS = 64


def make_bodies(bundle: Bundle, form: Form, n: int, seed: int = 0) -> list[bytes]:
    """Bodies of ``POST /predict``, made of the events of the bundle's example with other ids at other times.

    Args:
        form: of the events: columns and rows, or objects by field name.
        n: how many; each has values of its own, so that no cache knows one.
    """
    chance = random.Random(seed)
    templates = [
        event
        for entities in bundle.example["streams"].values()
        for entity in entities
        for event in _objects(entity["events"])
    ]
    return [orjson.dumps(_request(bundle, templates, form, chance)) for _ in range(n)]


def _request(bundle: Bundle, templates: list[dict[str, Any]], form: Form, chance: random.Random) -> dict[str, Any]:
    streams = {}
    for stream in bundle.schema.streams:
        key = stream.keys[0] if stream.keys else None
        id_ = _name(bundle, key, chance) if key else None
        events = [
            _event(bundle, chance.choice(templates), i, {key: id_} if key else {}, chance) for i in range(N_EVENTS)
        ]
        entity = {"events": events if form == "objects" else _rows(events)}
        streams[stream.name] = [entity if id_ is None else {"id": id_, **entity}]
    return {"streams": streams}


def _event(
    bundle: Bundle, template: dict[str, Any], i: int, keys: dict[str, str | None], chance: random.Random
) -> dict[str, Any]:
    """The template with other ids, at the i-th moment."""
    at = datetime(2026, 1, 5) + timedelta(minutes=30 * i + chance.randrange(30))
    event = dict(template)
    for field in bundle.schema.fields:
        if event.get(field.name) is None:
            continue
        if field.kind == "id":
            event[field.name] = _name(bundle, field.name, chance)
        elif field.kind == "datetime":
            event[field.name] = (at if field.name == bundle.schema.order_by else at - timedelta(minutes=5)).isoformat()
    return event | keys


def _name(bundle: Bundle, field: str, chance: random.Random) -> str:
    known = bundle.schema.field_by_name[field]
    assert known.kind in ("id", "key")
    return chance.choice(bundle.vocabularies[known.vocabulary or field])


def _objects(events: Any) -> list[dict[str, Any]]:
    if isinstance(events, list):
        return events
    return [dict(zip(events["columns"], row, strict=True)) for row in events["rows"]]


def _rows(events: list[dict[str, Any]]) -> dict[str, Any]:
    columns = list(dict.fromkeys(name for event in events for name in event))
    return {"columns": columns, "rows": [[event.get(name) for name in columns] for event in events]}
