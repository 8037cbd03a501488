"""Records to category ids and back: one code path for a training log and for a request.

Id 0 is "unknown or not applicable" in every category. A value that the training part never
showed twice is id 0 as well; a value that cannot be read at all is an error.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from eventmodel.calendar import datetime_ids, nearest_wall
from eventmodel.schema import (
    DATETIME_PARTS,
    AnyField,
    DatetimeField,
    EnumField,
    IdField,
    KeyField,
    NumberField,
    Schema,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECONDS = 1_000_000

Vocabularies = Mapping[str, Sequence[str]]
"""Per vocabulary, its values in the order of their ids, the first one being id 1."""


class EncodeError(ValueError):
    """A value that cannot be read.

    ``row`` counts from 0 in the columns that were given; ``field`` is None where the record
    as a whole is at fault.
    """

    def __init__(self, row: int, field: str | None, message: str) -> None:
        super().__init__(row, field, message)  # all three, so that it pickles
        self.row, self.field, self.message = row, field, message

    def __str__(self) -> str:
        return self.message


class Moment(NamedTuple):
    """A point in time as the log stores it."""

    timestamp: int
    """Microseconds since 1970: of wall time in a local log, of UTC in a zoned one."""
    utc_offset: int
    """Seconds to add for wall time; 0 in a local log."""

    @property
    def wall(self) -> datetime:
        """The wall-clock reading, without a zone."""
        return (EPOCH + timedelta(microseconds=self.timestamp, seconds=self.utc_offset)).replace(tzinfo=None)


class Events(NamedTuple):
    """Events in the order of the log: n rows, C categories."""

    ids: np.ndarray  # (n, C) int32
    timestamp: np.ndarray  # (n,) int64, microseconds
    utc_offset: np.ndarray  # (n,) int32, seconds


def text_of(value: object) -> str | None:
    """An id, enum value or key as text: numbers become decimal text, blanks become None.

    Raises:
        ValueError: an object or a list stands where a name should.
    """
    if isinstance(value, str):
        return value or None
    if value is None:
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            raise ValueError(f"{value} is not a name; send a string, or leave the field out")
        return str(int(value)) if value == int(value) else repr(float(value))
    raise ValueError(f"expected a string or a number, not {_kind(value)}")


class _IdCoder:
    def __init__(self, values: Sequence[str]) -> None:
        self.names: Sequence[str | None] = (None, *values)
        self._ids = {value: id_ for id_, value in enumerate(values, start=1)}

    def encode(self, value: object) -> tuple[int]:
        text = text_of(value)
        return (self._ids.get(text, 0) if text is not None else 0,)


class _NumberCoder:
    def __init__(self, field: NumberField) -> None:
        self.names: Sequence[str | None] = (None, *field.labels)
        self._edges = np.asarray(field.edges)
        # A bucket's own name is accepted, so that a predicted event can be sent back as history.
        self._labels = {label: id_ for id_, label in enumerate(field.labels, start=1)}

    def encode(self, value: object) -> tuple[int]:
        if value is None or value == "":
            return (0,)
        if isinstance(value, str) and value in self._labels:
            return (self._labels[value],)
        if isinstance(value, bool) or not isinstance(value, int | float | str | np.number):
            raise ValueError(f"expected a number, not {_kind(value)}")
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise ValueError(f"{_short(value)} is not a number; send one, or leave the field out") from None
        if not np.isfinite(number):
            raise ValueError(f"{number} is not a finite number; send one, or leave the field out")
        return (int(np.searchsorted(self._edges, number, side="right")) + 1,)


class _KeyCoder:
    names: Sequence[str | None] = ()

    def encode(self, value: object) -> tuple[()]:
        text_of(value)  # raises for what cannot name an entity
        return ()


class _DatetimeCoder:
    """Datetimes to ids: month and day are their own ids, hour and minute are one above."""

    def __init__(self, read: Callable[[object], tuple[Moment, datetime] | None]) -> None:
        self._read = read

    def encode(self, value: object) -> tuple[int, int, int, int]:
        found = self._read(value)
        return datetime_ids(found[1]) if found else (0, 0, 0, 0)


_PART_NAMES: dict[str, Sequence[str | None]] = {
    "Month": (None, *(str(i) for i in range(1, 13))),
    "Day": (None, *(str(i) for i in range(1, 32))),
    "Hour": (None, *(str(i) for i in range(24))),
    "Minute": (None, *(str(i) for i in range(60))),
}
assert all(len(_PART_NAMES[part]) == count + 1 for part, count in DATETIME_PARTS.items())


class Codec:
    """Reads and writes events of one schema with one set of vocabularies."""

    def __init__(self, schema: Schema, vocabularies: Vocabularies) -> None:
        if missing := set(schema.vocabularies) - set(vocabularies):
            raise ValueError(f"no values for the vocabularies {sorted(missing)} of schema {schema.name!r}")
        self.schema = schema
        self.vocabularies = {name: tuple(vocabularies[name]) for name in schema.vocabularies}
        self._zone = ZoneInfo(schema.time_zone) if schema.time_zone else None
        self._coders = {f.name: self._coder(f) for f in schema.fields}

    def _coder(self, field: AnyField) -> _IdCoder | _NumberCoder | _DatetimeCoder | _KeyCoder:
        match field:
            case IdField():
                return _IdCoder(self.vocabularies[field.vocabulary or field.name])
            case EnumField():
                return _IdCoder(field.values)
            case NumberField():
                return _NumberCoder(field)
            case DatetimeField():
                return _DatetimeCoder(self._read)
            case KeyField():
                return _KeyCoder()

    @cached_property
    def names(self) -> tuple[Sequence[str | None], ...]:
        """Per category, the name of every id; id 0 has none."""
        result: list[Sequence[str | None]] = []
        for category in self.schema.categories:
            coder = self._coders[category.field]
            if isinstance(coder, _DatetimeCoder):
                assert category.part is not None
                result.append(_PART_NAMES[category.part])
            else:
                result.append(coder.names)
        return tuple(result)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Per category, the number of ids, 0 included."""
        return tuple(len(names) for names in self.names)

    @cached_property
    def id_of(self) -> tuple[dict[str, int], ...]:
        """Per category, the id of every name."""
        return tuple({name: i for i, name in enumerate(names) if name is not None} for names in self.names)

    # --- records to ids -------------------------------------------------------------

    def encode_value(self, field: str, value: object) -> tuple[int, ...]:
        """The ids that one value gives: four for a datetime, none for a key, else one.

        Raises:
            ValueError: the value cannot be read; the message says what to send instead.
        """
        return self._coders[field].encode(value)

    def encode_columns(self, columns: Mapping[str, Sequence[object]], n: int) -> Events:
        """Encode n events given as columns; a field that is left out is unknown throughout.

        Raises:
            EncodeError: the first value that cannot be read, by row and field.
        """
        ids = np.zeros((n, len(self.schema.categories)), np.int32)
        at = 0
        for field in self.schema.fields:
            width = {DatetimeField: 4, KeyField: 0}.get(type(field), 1)
            if field.name in columns:
                encode = self._coders[field.name].encode
                ids[:, at : at + width] = self._each(encode, field.name, columns[field.name], width)
            at += width
        moments = self._each(self.moment, self.schema.order_by, columns.get(self.schema.order_by, [None] * n), 2)
        return Events(ids, moments[:, 0].copy(), moments[:, 1].astype(np.int32))

    @staticmethod
    def _each(
        encode: Callable[[object], tuple[int, ...]], field: str, values: Iterable[object], width: int
    ) -> np.ndarray:
        rows = []
        for row, value in enumerate(values):
            try:
                rows.append(encode(value))
            except ValueError as error:
                raise EncodeError(row, field, str(error)) from None
        return np.asarray(rows, np.int64).reshape(len(rows), width)

    def encode_record(self, record: Mapping[str, object]) -> Events:
        """Encode one record, given by field name.

        Raises:
            EncodeError: a field that the schema does not know, or a value that cannot be read.
        """
        if unknown := [name for name in record if name not in self.schema.field_by_name]:
            raise EncodeError(0, unknown[0], f"schema {self.schema.name!r} has no such field")
        return self.encode_columns({name: [value] for name, value in record.items()}, 1)

    def moment(self, value: object) -> Moment:
        """When an event happened, from its ordering datetime.

        Raises:
            ValueError: missing, not ISO 8601, or against the schema's convention on zones.
        """
        found = self._read(value)
        if found is None:
            raise ValueError("every event needs this datetime, because it orders the log")
        return found[0]

    def at_wall(self, wall: datetime) -> Moment:
        """The moment at which clocks show ``wall`` (the earlier one, where they show it twice)."""
        if self._zone is None:
            return Moment((wall.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1), 0)
        return self._zoned(wall.replace(tzinfo=self._zone))

    def at_timestamp(self, timestamp: int) -> Moment:
        """The moment of a timestamp in microseconds, with the zone's offset at that time."""
        if self._zone is None:
            return Moment(timestamp, 0)
        return self._zoned((EPOCH + timedelta(microseconds=timestamp)).astimezone(self._zone))

    def _zoned(self, aware: datetime) -> Moment:
        assert self._zone is not None
        local = aware.astimezone(UTC).astimezone(self._zone)
        offset = local.utcoffset()
        assert offset is not None
        return Moment((aware - EPOCH) // timedelta(microseconds=1), int(offset.total_seconds()))

    def _read(self, value: object) -> tuple[Moment, datetime] | None:
        """The moment and the wall-clock reading of a datetime value; None where it is blank."""
        if value is None or value == "":
            return None
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                raise ValueError(f"{_short(value)} is not an ISO 8601 datetime like 2026-01-29T08:00:00") from None
        if not isinstance(value, datetime):
            raise ValueError(f"expected an ISO 8601 datetime like 2026-01-29T08:00:00, not {_kind(value)}")
        if self._zone is None:
            if value.tzinfo is not None:
                raise ValueError(
                    f"{value.isoformat()} carries a zone, but schema {self.schema.name!r} is in local wall time; "
                    "send the wall time without an offset"
                )
            return self.at_wall(value), value
        if value.tzinfo is None:
            raise ValueError(
                f"{value.isoformat()} carries no zone, but schema {self.schema.name!r} is zoned; "
                "send an offset, as in 2026-01-29T08:00:00+01:00"
            )
        try:
            moment = self._zoned(value)
        except OverflowError:
            raise ValueError(f"{value.isoformat()} is outside the years 1 to 9999 in UTC") from None
        return moment, moment.wall

    # --- ids to records -------------------------------------------------------------

    def decode(self, ids: Sequence[int], timestamp: int) -> dict[str, str | None]:
        """The record of an event by field name: None for unknown, a bucket's name for a number.

        The ordering datetime is written from ``timestamp``. Of any other datetime the year is
        not an id: it is the one that brings the datetime nearest to the event.
        """
        at, moment, record = 0, self.at_timestamp(timestamp), dict[str, str | None]()
        for field in self.schema.fields:
            if isinstance(field, KeyField):
                continue
            if isinstance(field, DatetimeField):
                if field.name == self.schema.order_by:
                    record[field.name] = self.iso(moment)
                else:
                    month, day, hour, minute = (int(i) for i in ids[at : at + 4])
                    wall = nearest_wall(moment.wall, month, day, hour, minute) if month and day else None
                    record[field.name] = self.iso(self.at_wall(wall)) if wall else None
                at += 4
            else:
                coder = self._coders[field.name]
                assert not isinstance(coder, _DatetimeCoder)
                record[field.name] = coder.names[int(ids[at])]
                at += 1
        return record

    def iso(self, moment: Moment) -> str:
        """ISO 8601 text of a moment, with the offset where the log has a zone."""
        if self._zone is None:
            return moment.wall.isoformat()
        return (EPOCH + timedelta(microseconds=moment.timestamp)).astimezone(self._zone).isoformat()


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
