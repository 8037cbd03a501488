"""Records to category ids and back: one code path for a training log and for a request.

Id 0 is "unknown or not applicable" in every category. A value that the training part never
showed twice is id 0 as well; a value that cannot be read at all is an error.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from eventmodel.calendar import nearest_wall
from eventmodel.coders import PART_NAMES, DatetimeCoder, IdCoder, KeyCoder, NumberCoder, is_blank, time_of
from eventmodel.iso import read_walls
from eventmodel.schema import (
    AnyField,
    DatetimeField,
    EnumField,
    IdField,
    KeyField,
    NumberField,
    Schema,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_WALL = EPOCH.replace(tzinfo=None)
MICROSECONDS = 1_000_000
_MICROSECOND = timedelta(microseconds=1)

Vocabularies = Mapping[str, Sequence[str]]
"""Per vocabulary, its values in the order of their ids, the first one being id 1."""


class EncodeError(ValueError):
    """A value that cannot be read.

    ``row`` counts from 0 in the columns that were given.
    """

    def __init__(self, row: int, field: str, message: str) -> None:
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
        return _EPOCH_WALL + timedelta(microseconds=self.timestamp, seconds=self.utc_offset)


class Events(NamedTuple):
    """Events in the order of the log: n rows, C categories."""

    ids: np.ndarray  # (n, C) int32
    timestamp: np.ndarray  # (n,) int64, microseconds
    utc_offset: np.ndarray  # (n,) int32, seconds


class Codec:
    """Reads and writes events of one schema with one set of vocabularies."""

    def __init__(self, schema: Schema, vocabularies: Vocabularies) -> None:
        if missing := set(schema.vocabularies) - set(vocabularies):
            raise ValueError(f"no values for the vocabularies {sorted(missing)} of schema {schema.name!r}")
        self.schema = schema
        self.vocabularies = {name: tuple(vocabularies[name]) for name in schema.vocabularies}
        self._zone = ZoneInfo(schema.time_zone) if schema.time_zone else None
        self._coders = {f.name: self._coder(f) for f in schema.fields}
        self._first: dict[str, int] = {}
        """Of each field, the index of its only or its first category."""
        for index, category in reversed(list(enumerate(schema.categories))):
            self._first[category.field] = index

    def _coder(self, field: AnyField) -> IdCoder | NumberCoder | DatetimeCoder | KeyCoder:
        match field:
            case IdField():
                return IdCoder(self.vocabularies[field.names_from])
            case EnumField():
                return IdCoder(field.values)
            case NumberField():
                return NumberCoder(field)
            case DatetimeField():
                return DatetimeCoder(self._read_wall)
            case KeyField():
                return KeyCoder()

    @cached_property
    def names(self) -> tuple[Sequence[str | None], ...]:
        """Per category, the name of every id; id 0 has none."""
        result: list[Sequence[str | None]] = []
        for category in self.schema.categories:
            coder = self._coders[category.field]
            if isinstance(coder, DatetimeCoder):
                assert category.part is not None
                result.append(PART_NAMES[category.part])
            else:
                result.append(coder.names)
        return tuple(result)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Per category, the number of ids, 0 included."""
        return tuple(len(names) for names in self.names)

    @cached_property
    def starts(self) -> np.ndarray:
        """(C + 1,) where each category's ids begin among those of all, one category after the other."""
        return np.cumsum((0, *self.sizes))

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

    def encode_columns(self, columns: Mapping[str, Sequence[object]], n: int) -> tuple[Events, np.ndarray]:
        """Encode n events given as columns; a field that is left out is unknown throughout.

        Columns of the usual forms are read all at once; one that has anything unusual, value by value.

        Returns:
            The events, and where a name was given that the vocabularies lack, (n, C) bool.

        Raises:
            EncodeError: a value that cannot be read, by row and field.
        """
        ids = np.zeros((n, len(self.schema.categories)), np.int32)
        unknown = self._encode_names(columns, ids)
        for field in self.schema.fields:
            coder, column = self._coders[field.name], columns.get(field.name)
            if isinstance(coder, NumberCoder) and column is not None:
                numbers = coder.encode_column(column)
                if numbers is None:
                    numbers = self._each(coder.encode, field.name, column, 1)[:, 0]
                ids[:, self._first[field.name]] = numbers
            elif isinstance(coder, KeyCoder) and not set(map(type, column or ())) <= {str, int, type(None)}:
                self._each(coder.encode, field.name, column or (), 0)
        return Events(ids, *self._encode_datetimes(columns, ids)), unknown

    def _encode_names(self, columns: Mapping[str, Sequence[object]], ids: np.ndarray) -> np.ndarray:
        """Fill in the ids of names; returns which of them were given and are unknown, (n, C) bool."""
        unknown = np.zeros(ids.shape, bool)
        coders = {name: coder for name, coder in self._coders.items() if isinstance(coder, IdCoder)}
        given = [(name, coder, columns[name]) for name, coder in coders.items() if name in columns]
        if not given:
            return unknown
        try:
            found = np.fromiter(chain.from_iterable(coder.look_up(column) for _, coder, column in given), np.int32)
        except TypeError:  # a list or an object; the search for it raises
            for name, coder, column in given:
                self._each(coder.encode, name, column, 1)
            raise
        found = found.reshape(len(given), len(ids))
        for place, row in np.argwhere(found < 0).tolist():
            name, coder, column = given[place]
            try:
                found[place, row] = coder.encode(column[row])[0]
            except ValueError as error:
                raise EncodeError(row, name, str(error)) from None
            unknown[row, self._first[name]] = found[place, row] == 0 and not is_blank(column[row])
        ids[:, [self._first[name] for name, _, _ in given]] = found.T
        return unknown

    def _encode_datetimes(
        self, columns: Mapping[str, Sequence[object]], ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fill in the ids of datetimes; returns the events' timestamps (n,) int64 and offsets (n,) int32."""
        n, order = len(ids), self.schema.order_by
        names = [name for name, coder in self._coders.items() if isinstance(coder, DatetimeCoder)]
        given = {name: columns[name] for name in names if name in columns}
        walls = read_walls(list(chain.from_iterable(given.values()))) if self._zone is None else None
        timestamp = None
        for place, (name, column) in enumerate(given.items()):
            rows = slice(place * n, (place + 1) * n)
            if walls is None:
                encoded = self._each(self._coders[name].encode, name, column, 4)
            else:
                encoded = walls.ids[rows]
                if name == order and encoded[:, 0].all():  # none is blank
                    timestamp = walls.timestamp[rows]
            ids[:, self._first[name] : self._first[name] + 4] = encoded
        if timestamp is not None:
            return timestamp, np.zeros(n, np.int32)
        moments = self._each(self.moment, order, columns.get(order, [None] * n), 2)
        return moments[:, 0].copy(), moments[:, 1].astype(np.int32)

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
        """The moment at which clocks show ``wall``: where they show it twice, by its fold, 0 for the earlier one.

        Where they are put forward and never show it, the moment is that of another reading.
        """
        if self._zone is None:
            return Moment((wall - _EPOCH_WALL) // _MICROSECOND, 0)
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
        return Moment((aware - EPOCH) // _MICROSECOND, int(offset.total_seconds()))

    def _read_wall(self, value: object) -> datetime | None:
        found = self._read(value)
        return found[1] if found else None

    def _read(self, value: object) -> tuple[Moment, datetime] | None:
        """The moment and the wall-clock reading of a datetime value; None where it is blank."""
        at = time_of(value)
        if at is None:
            return None
        if self._zone is None:
            if at.tzinfo is not None:
                raise ValueError(
                    f"{at.isoformat()} carries a zone, but schema {self.schema.name!r} is in local wall time; "
                    "send the wall time without an offset"
                )
            return self.at_wall(at), at
        if at.tzinfo is None:
            raise ValueError(
                f"{at.isoformat()} carries no zone, but schema {self.schema.name!r} is zoned; "
                "send an offset, as in 2026-01-29T08:00:00+01:00"
            )
        try:
            moment = self._zoned(at)
        except OverflowError:
            raise ValueError(f"{at.isoformat()} is outside the years 1 to 9999 in UTC") from None
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
                assert not isinstance(coder, DatetimeCoder)
                record[field.name] = coder.names[int(ids[at])]
                at += 1
        return record

    def iso(self, moment: Moment) -> str:
        """ISO 8601 text of a moment, with the offset where the log has a zone."""
        if self._zone is None:
            return moment.wall.isoformat()
        return (EPOCH + timedelta(microseconds=moment.timestamp)).astimezone(self._zone).isoformat()
