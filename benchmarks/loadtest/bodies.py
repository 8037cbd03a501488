"""Requests to measure with: made of the events of an example, with other ids at other times."""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import orjson

from eventmodel.bundle import Bundle
from eventmodel.schema import Schema

Form = Literal["rows", "objects"]
N_EVENTS = 64


class Material(NamedTuple):
    """What requests are made of."""

    schema: Schema
    vocabularies: Mapping[str, Sequence[str]]
    """Values to choose from, by vocabulary or field."""
    events: Sequence[Mapping[str, Any]]
    """Of the example, by field name."""

    @classmethod
    def of_example(
        cls, schema: Schema, vocabularies: Mapping[str, Sequence[str]], example: Mapping[str, Any]
    ) -> "Material":
        """Of an example request, as a bundle has one and a server documents it."""
        entities = [entity for of_stream in example["streams"].values() for entity in of_stream]
        return cls(schema, vocabularies, [event for entity in entities for event in _objects(entity["events"])])


def make_bodies(bundle: Bundle, form: Form, n: int, events: int = N_EVENTS) -> list[bytes]:
    """Bodies of ``POST /predict`` with a history of every stream.

    Args:
        form: of the events: columns and rows, or objects by field name.
        n: how many; each has values of its own, so that no cache knows one.
        events: of each history.
    """
    material, chance = Material.of_example(bundle.schema, bundle.vocabularies, bundle.example), random.Random(0)
    lengths = {stream.name: events for stream in bundle.schema.streams}
    return [orjson.dumps(make_request(material, lengths, form, chance)) for _ in range(n)]


def make_request(
    material: Material, lengths: Mapping[str, int], form: Form, chance: random.Random, last: datetime | None = None
) -> dict[str, Any]:
    """One history of each stream.

    Args:
        lengths: events of the history, by stream.
        last: of each history's last event, in place of half an hour after the one before; later than all.
    """
    schema, streams = material.schema, {}
    for stream in schema.streams:
        key = stream.keys[0] if stream.keys else None
        id_ = _name(material, key, chance) if key else None
        moments = [
            datetime(2026, 1, 5) + timedelta(minutes=30 * i + chance.randrange(30)) for i in range(lengths[stream.name])
        ]
        if last is not None:
            moments[-1] = last
        own = {key: id_} if key else {}
        events = [_event(material, chance.choice(material.events), at, chance) | own for at in moments]
        entity = {"events": events if form == "objects" else _rows(events)}
        streams[stream.name] = [entity if id_ is None else {"id": id_, **entity}]
    return {"streams": streams}


def iso(schema: Schema, wall: datetime) -> str:
    """A datetime as the schema wants it."""
    return wall.isoformat() + ("" if schema.time_zone is None else "+00:00")


def _event(material: Material, template: Mapping[str, Any], at: datetime, chance: random.Random) -> dict[str, Any]:
    """The template with other ids, at a moment."""
    event = dict(template)
    for field in material.schema.fields:
        if event.get(field.name) is None:
            continue
        if field.kind == "id":
            event[field.name] = _name(material, field.name, chance)
        elif field.kind == "datetime":
            moment = at if field.name == material.schema.order_by else at - timedelta(minutes=5)
            event[field.name] = iso(material.schema, moment)
    return event


def _name(material: Material, field: str, chance: random.Random) -> str:
    known = material.schema.field_by_name[field]
    assert known.kind in ("id", "key")
    return chance.choice(material.vocabularies[known.vocabulary or field])


def _objects(events: Any) -> list[dict[str, Any]]:
    if isinstance(events, list):
        return events
    return [dict(zip(events["columns"], row, strict=True)) for row in events["rows"]]


def _rows(events: list[dict[str, Any]]) -> dict[str, Any]:
    columns = list(dict.fromkeys(name for event in events for name in event))
    return {"columns": columns, "rows": [[event.get(name) for name in columns] for event in events]}
