"""Requests of a recent log: a client has records, and need not know how streams are put together."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Protocol, Unpack

import numpy as np

from eventmodel.bundle import Bundle
from eventmodel.codec import EncodeError, Events, Moment
from eventmodel.coders import is_blank, text_of
from eventmodel.engine.query import Histories
from eventmodel.entities import read_histories
from eventmodel.quoted import quoted
from eventmodel.request.errors import RequestError, cut, did_you_mean
from eventmodel.request.histories import (
    Columns,
    EncodedHistories,
    SentEvents,
    as_text,
    columns_of,
    unknown_field,
    unreadable,
    vocabulary_ids,
)
from eventmodel.request.question import PredictRequest, Question, check_keys, read_question
from eventmodel.schema import Schema
from eventmodel.stream_index import entity_names, index_stream


class Frame(Protocol):
    """A table of polars or pandas."""

    @property
    def columns(self) -> Iterable[str]: ...

    def __getitem__(self, name: str, /) -> Iterable[object]: ...


_TABLE_HINT = "Give a list of objects by field name, an object of columns, or a frame of polars or pandas."
Table = Sequence[Mapping[str, object]] | Columns | Frame
"""Events in any order: objects by field name, or columns. Where no field is missing, what else is there is left out."""


class Reading(NamedTuple):
    """What one prediction reads of the records."""

    focus: str
    now: Moment
    histories: dict[str, list[tuple[str | None, np.ndarray]]]
    """By stream, each entity's id and the places of its events among the records, oldest first; the
    focus comes first, and the stream without keys has an id of None."""


class Records:
    """A log's recent events, in the order of time and indexed by entity.

    Args:
        bundle: whose schema the records follow.
        sent: as many as a prediction could read, or more, of fields of the schema; equal times keep their order.

    Raises:
        RequestError: there are none, a field is unknown, or a datetime or a key cannot be read.
    """

    def __init__(self, bundle: Bundle, sent: SentEvents) -> None:
        self._bundle, schema = bundle, bundle.schema
        self._columns, n, self._loc_of_all = sent
        if not n:
            hint = "Give the recent log, with events of the focus and of others."
            raise RequestError("no_records", "records", "there is nothing to predict from", hint)
        moments = self._read_moments(n)
        self._order = np.argsort([moment.timestamp for moment in moments], kind="stable")
        self._moments = [moments[i] for i in self._order]
        self._timestamp = np.array([moment.timestamp for moment in self._moments], np.int64)
        keys = {s.name: [self._read_key(key, n) for key in s.keys] for s in schema.streams if s.keys}
        self._names = {stream: entity_names(names) for stream, names in keys.items()}
        self._indices = {stream: index_stream(names, None) for stream, names in keys.items()}
        self._number = {name: entity for entity, name in enumerate(self._names[schema.focus])}

    @classmethod
    def of(cls, bundle: Bundle, records: Table) -> "Records":
        """Those of a table.

        Raises:
            RequestError: it is none, or as for the class.
        """
        return cls(bundle, SentEvents(*_read_columns(bundle.schema, records), "records"))

    def read(self, focus: str | int, now: str | datetime | None = None) -> Reading:
        """Choose what a prediction reads, as training chooses it.

        Args:
            focus: the id of the entity to predict.
            now: the moment of prediction, after which nothing is read; the latest record's unless given.

        Raises:
            RequestError: nothing up to now concerns the focus.
        """
        schema = self._bundle.schema
        moment = self._read_now(now)
        last_row = int(np.searchsorted(self._timestamp, moment.timestamp, side="right")) - 1
        when = self._bundle.codec.iso(moment)
        if last_row < 0:
            hint = "Give earlier records too, or move now."
            raise RequestError("no_records", "now", f"every record is later than {when}", hint)
        name = as_text(focus, "focus")
        entity = self._number.get(name or "")
        index = self._indices[schema.focus]
        if name is None or entity is None:
            raise RequestError(
                "unknown_focus",
                "focus",
                f"no record names {quoted(focus)} in {' or '.join(schema.focus_stream.keys)}",
                did_you_mean(name, names) if (names := self._names[schema.focus]) else "Give records that name it.",
            )
        if index.rows[index.start[entity]] > last_row:
            message = f"every record that names {quoted(focus)} is later than {when}"
            raise RequestError("unknown_focus", "focus", message, "Give earlier records of it, or move now.")
        chosen = read_histories(schema, self._indices, entity, last_row, self._bundle.config.context_length)
        histories = {
            stream: [(self._names[stream][h.entity] if h.entity >= 0 else None, self._order[h.rows]) for h in of_stream]
            for stream, of_stream in chosen.items()
        }
        return Reading(name, moment, histories)

    def requests(self, readings: Sequence[Reading], question: Question) -> list[PredictRequest]:
        """The same question about each reading, in arrays.

        Args:
            question: in what JSON has, as ``as_json`` gives it.

        Raises:
            RequestError: names the first place that is wrong, and what to give instead.
        """
        asked = check_keys(question, tuple(Question.__annotations__))
        return [
            read_question(asked, self._bundle, reading.focus, reading.now, encoded)
            for reading, encoded in zip(readings, self._encode(readings), strict=True)
        ]

    def streams(self, reading: Reading) -> dict[str, list[dict[str, Any]]]:
        """The streams of a reading as a request document has them, in columns and rows."""
        names = [name for name in self._bundle.schema.field_by_name if name in self._columns]

        def entity(id_: str | None, places: np.ndarray) -> dict[str, Any]:
            rows = [[as_json(self._columns[name][place]) for name in names] for place in places]
            events = {"columns": names, "rows": rows}
            return {"events": events} if id_ is None else {"id": id_, "events": events}

        return {stream: [entity(*pair) for pair in pairs] for stream, pairs in reading.histories.items()}

    def _encode(self, readings: Sequence[Reading]) -> list[EncodedHistories]:
        """Each reading's histories; an event that several read is encoded once."""
        schema, codec = self._bundle.schema, self._bundle.codec
        every = [places for r in readings for of_stream in r.histories.values() for _, places in of_stream]
        read = np.unique(np.concatenate([*every, np.empty(0, np.int64)]))
        columns = {name: [column[i] for i in read] for name, column in self._columns.items()}
        try:
            events, unknown = codec.encode_columns(columns, len(read))
        except EncodeError as error:
            place, field = int(read[error.row]), error.field
            raise unreadable(
                schema, field, self._columns[field][place], error.message, self._loc(place, field)
            ) from None

        def encoded(reading: Reading) -> EncodedHistories:
            of_streams = [reading.histories[stream.name] for stream in schema.streams]
            places = [places for of_stream in of_streams for _, places in of_stream]
            entities = zip(schema.streams, of_streams, strict=True)
            ids = vocabulary_ids(codec, ((stream, id_) for stream, pairs in entities for id_, _ in pairs))
            length = np.array([len(p) for p in places], np.int32)
            at = np.searchsorted(read, np.concatenate([*places, np.empty(0, np.int64)]))
            counts = tuple(len(of_stream) for of_stream in of_streams)
            histories = Histories(Events(*(column[at] for column in events)), length, ids, counts)
            return EncodedHistories(histories, np.nonzero(unknown[at])[1])

        return [encoded(reading) for reading in readings]

    def _read_moments(self, n: int) -> list[Moment]:
        schema, codec, moments = self._bundle.schema, self._bundle.codec, []
        field = schema.order_by
        for place, value in enumerate(self._columns.get(field, [None] * n)):
            try:
                moments.append(codec.moment(value))
            except ValueError as error:
                raise unreadable(schema, field, value, str(error), self._loc(place, field)) from None
        return moments

    def _read_key(self, key: str, n: int) -> list[str | None]:
        """The entities that a key field names, in the order of time."""
        column = self._columns.get(key, [None] * n)
        return [as_text(column[place], self._loc(place, key)) for place in self._order]

    def _loc(self, place: int, field: str) -> str:
        return f"{self._loc_of_all}[{place}].{field}"

    def _read_now(self, value: object) -> Moment:
        if is_blank(value):
            return self._moments[-1]
        try:
            return self._bundle.codec.moment(value)
        except ValueError as error:
            raise unreadable(self._bundle.schema, self._bundle.schema.order_by, value, str(error), "now") from None


def build_request(
    bundle: Bundle,
    records: Table,
    focus: str | int,
    now: str | datetime | None = None,
    **question: Unpack[Question],
) -> dict[str, Any]:
    """The document to send to ``POST /predict``.

    Args:
        bundle: of the server, or a copy of it.
        records: the recent log, in any order.
        focus: the id of the entity to predict.
        now: the moment of prediction, after which nothing is read; the latest record's unless given.
        question: what is asked.

    Raises:
        RequestError: what the server would refuse, named by its place among the records.
    """
    table = Records.of(bundle, records)
    reading, asked = table.read(focus, now), as_json(question)
    table.requests([reading], asked)  # checks everything
    return {
        "streams": table.streams(reading),
        "focus": reading.focus,
        "now": bundle.codec.iso(reading.now),
        **asked,
    }


def _read_columns(schema: Schema, records: Table) -> tuple[Columns, int]:
    """The records as columns, and how many there are."""
    if not isinstance(records, Mapping | Sequence):
        records = _columns_of_frame(records)
    if not isinstance(records, Mapping):
        named = set().union(*(event for event in records if isinstance(event, Mapping)))
        events = [_known(schema, event, named) if isinstance(event, Mapping) else event for event in records]
        return columns_of(schema, events, "records"), len(events)
    records = _known(schema, records, records)
    if unknown := next((name for name in records if name not in schema.field_by_name), None):
        raise unknown_field(schema, unknown, f"records.{cut(unknown)}")
    for name, column in records.items():
        if isinstance(column, str) or not hasattr(column, "__len__"):
            message = f"expected a column, a list of values, not {quoted(column)}"
            raise RequestError("not_a_list", f"records.{name}", message, _TABLE_HINT)
    records = {name: _values(column) for name, column in records.items()}
    lengths = {name: len(column) for name, column in records.items()}
    if len(set(lengths.values())) > 1:
        hint = "Give as many values in each, None for one that an event lacks."
        raise RequestError("column_length", "records", f"the columns have different lengths: {lengths}", hint)
    return records, max(lengths.values(), default=0)


def _known(schema: Schema, values: Mapping[str, Any], named: Collection[str]) -> dict[str, Any]:
    """By field, without what the schema lacks; all of it where no record names some field: it may be misspelt."""
    is_whole = schema.field_by_name.keys() <= set(named)
    return {name: value for name, value in values.items() if not is_whole or name in schema.field_by_name}


def _columns_of_frame(frame: Any) -> Columns:
    if hasattr(frame, "collect"):  # of polars, not yet a table
        hint = "Call collect() on it first."
        raise RequestError("not_a_list", "records", f"a {type(frame).__name__} holds no events yet", hint)
    with suppress(AttributeError, TypeError):
        return {name: frame[name] for name in frame.columns}
    raise RequestError("not_a_list", "records", f"{quoted(frame)} is no table of events", _TABLE_HINT)


def _values(column: Any) -> list[Any]:
    """A column's values by position, with None where pandas has a missing value of its own."""
    is_short = str(getattr(column, "dtype", "")).lower() == "float32"
    with suppress(AttributeError, TypeError):
        column = column.astype(object).where(column.notna(), None)
    if is_short:  # the decimals that are meant, and not the doubles next to them
        return [None if value is None else float(str(np.float32(value))) for value in column]
    return list(column)


def as_json(value: Any) -> Any:
    """The same in what JSON has: what Python and numpy write otherwise is turned into it."""
    match value:
        case Mapping():
            return {key: as_json(item) for key, item in value.items()}
        case list() | tuple():
            return [as_json(item) for item in value]
        case str():
            return value
        case _ if is_blank(value):
            return None
        case np.datetime64():
            moment = value.astype("datetime64[us]").item()
            return moment.isoformat() if isinstance(moment, datetime) else str(value)  # too far ahead: to be told
        case np.ndarray() | np.generic():
            return as_json(value.tolist())
        case date():
            return value.isoformat()
        case Decimal():
            return text_of(value)  # a number of JSON has not all of its digits
        case _:
            return value
