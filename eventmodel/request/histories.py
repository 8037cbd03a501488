"""The histories of a request: one stream's part of the document to the arrays of its entities."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any, NamedTuple, cast

import numpy as np

from eventmodel.bundle import Bundle
from eventmodel.codec import Codec, EncodeError, Events
from eventmodel.coders import is_blank, spellings, text_of
from eventmodel.engine.query import Histories
from eventmodel.quoted import quoted
from eventmodel.request.errors import RequestError, cut, did_you_mean
from eventmodel.schema import DatetimeField, EnumField, IdField, KeyField, NumberField, Schema, Stream

Columns = Mapping[str, Sequence[object]]
"""Events by field; None where an event lacks it."""


class SentEvents(NamedTuple):
    """Events as they were sent, by column."""

    columns: Columns
    n: int
    loc: str
    """Where they are in the document: ``streams.Actor[0].events``, with ``.rows`` where they came as rows."""


@dataclass(frozen=True)
class Entity:
    """One entity's events as they were sent, by column."""

    id: str | None
    """None in the stream without keys."""
    columns: Columns
    n_events: int
    loc: str
    """Where the entity is in the document: ``streams.Actor[0]``."""
    rows_loc: str
    """Where its events are, as in ``SentEvents``."""

    def event_loc(self, row: int, field: str) -> str:
        """Where one field of one event is."""
        return f"{self.rows_loc}[{row}].{field}"


class EncodedHistories(NamedTuple):
    """One request's histories in arrays, and what their values were like."""

    histories: Histories
    unknown: np.ndarray
    """(k,) the category of each value that was given and that the vocabularies lack."""


def read_entities(bundle: Bundle, stream: Stream, value: object) -> list[Entity]:
    """Check the structure of one stream: everything but the values of the events.

    Args:
        value: the stream's part of the document.

    Raises:
        RequestError: names the first place that is wrong.
    """
    loc = f"streams.{stream.name}"
    if not isinstance(value, list):
        raise RequestError(
            "not_a_list",
            loc,
            f"expected a list of entities, not {quoted(value)}",
            f"Send [{_entity(stream)}].",
        )
    if len(value) > stream.max_entities:
        raise RequestError(
            "too_many_entities",
            loc,
            f"{len(value)} entities, but one prediction reads at most {stream.max_entities} of this stream",
            "Send one request for each focus."
            if stream.name == bundle.schema.focus
            else f"Send the {stream.max_entities} that the focus met most recently."
            if stream.keys
            else f"Send [{_entity(stream)}], with the log's newest events.",
        )
    entities = [_read_entity(bundle, stream, item, f"{loc}[{i}]") for i, item in enumerate(value)]
    if not stream.keys and not entities:
        # the stream of everything always exists, if only empty: a model has never seen it missing
        return [Entity(None, {}, 0, loc, loc)]
    seen: set[str | None] = set()
    for entity in entities:
        if entity.id in seen:
            raise RequestError(
                "duplicate_entity",
                f"{entity.loc}.id",
                f"entity {quoted(entity.id)} occurs twice",
                "Send one entity with all of its events.",
            )
        seen.add(entity.id)
    return entities


def _read_entity(bundle: Bundle, stream: Stream, value: object, loc: str) -> Entity:
    if not isinstance(value, dict):
        raise RequestError("not_an_object", loc, f"expected an entity, not {quoted(value)}", f"Send {_entity(stream)}.")
    for key in value:
        if key not in ("id", "events"):
            raise RequestError(
                "unknown_key", f"{loc}.{cut(key)}", "an entity has no such key", did_you_mean(key, ("id", "events"))
            )
    id_ = _read_id(stream, value.get("id"), f"{loc}.id")
    limit = stream.history_length(bundle.config.context_length)
    sent = read_events(bundle.schema, value.get("events"), f"{loc}.events", partial(_check_length, limit))
    return Entity(id_, sent.columns, sent.n, loc, sent.loc)


def _entity(stream: Stream) -> str:
    """What an entity looks like, for a hint."""
    return '{"id": ..., "events": [...]}' if stream.keys else '{"events": [...]}'


def _read_id(stream: Stream, value: object, loc: str) -> str | None:
    id_ = as_text(value, loc)
    if stream.keys and id_ is None:
        raise RequestError(
            "missing_id",
            loc,
            f"an entity of stream {stream.name!r} has an id",
            f"Send the value that its events have in {' or '.join(stream.keys)}.",
        )
    if not stream.keys and id_ is not None:
        raise RequestError(
            "unexpected_id",
            loc,
            f"stream {stream.name!r} has no keys: it holds the log's most recent events, whoever they concern",
            "Leave the id out.",
        )
    return id_


def read_events(schema: Schema, value: object, loc: str, check_length: Callable[[int, str], None]) -> SentEvents:
    """Events as a document has them: objects by field name, or columns and rows.

    Args:
        check_length: raises for too many, given their number and place.

    Raises:
        RequestError: names the first place that is wrong.
    """
    if isinstance(value, dict):
        columns, n = _read_rows(schema, value, loc, check_length)
        return SentEvents(columns, n, f"{loc}.rows")
    if not isinstance(value, list):
        raise RequestError(
            "not_a_list",
            loc,
            f"expected a list of events, not {quoted(value)}",
            'Send a list of objects, or {"columns": [...], "rows": [[...]]}; [] is an empty history.',
        )
    check_length(len(value), loc)
    return SentEvents(columns_of(schema, value, loc), len(value), loc)


def columns_of(schema: Schema, events: Sequence[object], loc: str) -> Columns:
    """Events by field name as columns.

    Raises:
        RequestError: an event is no object, or has a field that the schema does not know.
    """
    known = schema.field_by_name
    for row, event in enumerate(events):
        if not isinstance(event, dict):
            raise RequestError(
                "not_an_object",
                f"{loc}[{row}]",
                f"expected an event, not {quoted(event)}",
                "Send an object by field name.",
            )
        if not event.keys() <= known.keys():
            name = next(name for name in event if name not in known)
            raise unknown_field(schema, name, f"{loc}[{row}].{cut(name)}")
    objects = cast("Sequence[dict[str, object]]", events)
    names = dict.fromkeys(chain.from_iterable(objects))
    return {name: [event.get(name) for event in objects] for name in names}


def _read_rows(
    schema: Schema, events: dict[str, object], loc: str, check_length: Callable[[int, str], None]
) -> tuple[Columns, int]:
    """Events as columns and rows."""
    for key in events:
        if key not in ("columns", "rows"):
            raise RequestError(
                "unknown_key",
                f"{loc}.{cut(key)}",
                "events have no such key",
                'Send a list of events, or {"columns": [...], "rows": [[...]]}.',
            )
    columns, rows = (_list_in(schema, events, key, loc) for key in ("columns", "rows"))
    check_length(len(rows), f"{loc}.rows")
    for i, name in enumerate(columns):
        if not isinstance(name, str) or name not in schema.field_by_name:
            raise unknown_field(schema, name, f"{loc}.columns[{i}]")
        if columns.index(name) < i:
            raise RequestError(
                "duplicate_column", f"{loc}.columns[{i}]", f"column {name!r} occurs twice", "Send each column once."
            )
    if not (set(map(type, rows)) <= {list} and set(map(len, rows)) <= {len(columns)}):
        row = next(i for i, values in enumerate(rows) if type(values) is not list or len(values) != len(columns))
        raise RequestError(
            "row_width",
            f"{loc}.rows[{row}]",
            f"expected a list of {len(columns)} values, one per column",
            "Send null for a value that an event lacks.",
        )
    return dict(zip(columns, zip(*rows, strict=True), strict=True)) if rows else {}, len(rows)


def _list_in(schema: Schema, events: dict[str, object], key: str, loc: str) -> list[Any]:
    value = events.get(key)
    if not isinstance(value, list):
        raise RequestError(
            "not_a_list",
            f"{loc}.{key}",
            f"expected a list, not {quoted(value)}",
            f'Send {{"columns": ["{schema.fields[0].name}", ...], "rows": [[...], ...]}}.',
        )
    return value


def _check_length(limit: int, n_events: int, loc: str) -> None:
    # An error rather than a silent cut: who sends more believes that the model reads more.
    if n_events > limit:
        raise RequestError(
            "too_many_events",
            loc,
            f"{n_events} events, but the model reads at most {limit} of one entity",
            f"Send the newest {limit}.",
        )


def encode_histories(bundle: Bundle, requests: Sequence[Mapping[str, Sequence[Entity]]]) -> list[EncodedHistories]:
    """Encode the events of all entities of some requests, together: the longer a column, the less each value costs.

    Args:
        requests: of each, the entities of every stream, in the order in which the query is to have them.

    Raises:
        RequestError: a value that cannot be read, events out of order, or an event of another entity; the first
            one of them all, whichever request it is in.
    """
    codec, streams = bundle.codec, bundle.schema.streams
    owned = [(stream, entity) for request in requests for stream in streams for entity in request[stream.name]]
    entities = [entity for _, entity in owned]
    length = np.array([entity.n_events for entity in entities], np.int32)
    start = np.concatenate([[0], np.cumsum(length)])
    n = int(start[-1])

    def place(row: int) -> tuple[Entity, int]:
        index = int(np.searchsorted(start, row, side="right")) - 1
        return entities[index], row - int(start[index])

    columns = _joined(entities)
    try:
        events, unknown = codec.encode_columns(columns, n)
    except EncodeError as error:
        entity, row = place(error.row)
        value = columns[error.field][error.row] if error.field in columns else None
        loc = entity.event_loc(row, error.field)
        raise unreadable(bundle.schema, error.field, value, error.message, loc) from None

    earlier = events.timestamp[1:] < events.timestamp[:-1]
    earlier[start[1:-1][(start[1:-1] > 0) & (start[1:-1] < n)] - 1] = False  # the next entity starts anew
    if earlier.any():
        entity, row = place(int(np.argmax(earlier)) + 1)
        raise RequestError(
            "out_of_order",
            entity.event_loc(row, bundle.schema.order_by),
            "the event is earlier than the one before it",
            "Sort each entity's events oldest first; equal times keep the order of the log.",
        )
    for stream, entity in owned:
        _check_owner(stream, entity)

    ids = vocabulary_ids(codec, ((stream, entity.id) for stream, entity in owned))
    unknown_at, category = np.nonzero(unknown)
    result, first = [], 0
    for request in requests:
        counts = tuple(len(request[stream.name]) for stream in streams)
        own = slice(first, first + sum(counts))
        rows = slice(start[own.start], start[own.stop])
        histories = Histories(Events(*(column[rows] for column in events)), length[own], ids[own], counts)
        result.append(
            EncodedHistories(histories, category[slice(*np.searchsorted(unknown_at, (rows.start, rows.stop)))])
        )
        first = own.stop
    return result


def _joined(entities: Sequence[Entity]) -> dict[str, list[object]]:
    """The columns of all entities, one entity after the other."""
    columns: dict[str, list[object]] = {name: [] for entity in entities for name in entity.columns}
    for entity in entities:
        for name, column in columns.items():
            column.extend(entity.columns.get(name) or repeat(None, entity.n_events))
    return columns


def vocabulary_ids(codec: Codec, entities: Iterable[tuple[Stream, str | None]]) -> np.ndarray:
    """(E,) int32: each entity in the vocabulary of its stream's category, 0 if none."""
    category = {stream.name: codec.schema.key_category(stream) for stream in codec.schema.streams}
    known = {name: codec.id_of[c] if c is not None else {} for name, c in category.items()}

    def id_of(stream: Stream, name: str | None) -> int:
        names = known[stream.name]
        return next((names[text] for text in spellings(name) if text in names), 0)

    return np.array([id_of(*entity) for entity in entities], np.int32)


def _check_owner(stream: Stream, entity: Entity) -> None:
    """Every event of a keyed stream names its entity, as it does in the log that the model learned from."""
    if not stream.keys:
        return
    keys = [entity.columns[key] for key in stream.keys if key in entity.columns]
    if any(key.count(entity.id) == entity.n_events for key in keys):
        return
    for row in range(entity.n_events):
        if not any(key[row] == entity.id or text_of(key[row]) == entity.id for key in keys):
            raise RequestError(
                "event_of_another_entity",
                entity.event_loc(row, stream.keys[0]),
                f"the event does not name its entity {quoted(entity.id)} in {' or '.join(stream.keys)}",
                f"Set {' or '.join(stream.keys)} to {quoted(entity.id)}, or leave the event out of this history.",
            )


def as_text(value: object, loc: str) -> str | None:
    """A name as text; numbers become decimal text.

    Raises:
        RequestError: it is a list, an object or not a finite number.
    """
    try:
        return text_of(value)
    except ValueError as error:
        raise RequestError("bad_value", loc, str(error), "Send a string or a number.") from None


def unknown_field(schema: Schema, name: object, loc: str) -> RequestError:
    """The error of a field that the schema does not know."""
    message = f"schema {schema.name!r} has no field {quoted(name)}"
    return RequestError("unknown_field", loc, message, did_you_mean(name, schema.field_by_name))


def unreadable(schema: Schema, field: str, value: object, message: str, loc: str) -> RequestError:
    """The error of a value that the codec could not read."""
    if field == schema.order_by and is_blank(value):
        return RequestError("missing_datetime", loc, message, _datetime_hint(schema))
    match schema.field_by_name[field]:
        case DatetimeField():
            return RequestError("bad_datetime", loc, message, _datetime_hint(schema))
        case NumberField():
            return RequestError("bad_value", loc, message, "Send a number or the name of a bucket, or leave it out.")
        case IdField() | EnumField() | KeyField():
            return RequestError("bad_value", loc, message, "Send a string or a number, or leave it out.")


def _datetime_hint(schema: Schema) -> str:
    if schema.time_zone is None:
        return "Send local wall time in ISO 8601, like 2026-01-29T08:00:00."
    return "Send ISO 8601 with an offset, like 2026-01-29T08:00:00+01:00."
