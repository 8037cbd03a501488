"""One field's values to ids: by name, by bucket, or by the parts of a datetime."""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from itertools import repeat
from math import isfinite

import numpy as np

from eventmodel.calendar import datetime_ids
from eventmodel.quoted import quoted
from eventmodel.schema import DATETIME_PARTS, NumberField


def is_blank(value: object) -> bool:
    """Whether nothing is given: None, no text, or what tables have in such places, a number or a time that is none."""
    if isinstance(value, str):
        return not value
    if isinstance(value, float | np.floating | Decimal | datetime | np.datetime64):
        return bool(value != value)
    return value is None or value is getattr(sys.modules.get("pandas"), "NA", None)


_LAST_EXACT = 2**53
"""Beyond it, whole numbers in floating point stand for their neighbours too."""


def text_of(value: object) -> str | None:
    """An id, enum value or key as text: numbers become decimal text, blanks become None.

    Raises:
        ValueError: an object or a list stands where a name should.
    """
    if isinstance(value, str):
        return value or None
    if is_blank(value):
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating | Decimal):
        if not isfinite(value):
            raise ValueError(f"{value} is not a name; send a string, or leave the field out")
        whole = int(value)
        if value == whole:  # 1042.00 names the same thing as 1042
            if abs(whole) > _LAST_EXACT and not isinstance(value, Decimal):
                raise ValueError(f"{value} has lost digits, and names nothing; send all of them as a string")
            return str(whole)
        return f"{value:f}".rstrip("0") if isinstance(value, Decimal) else repr(float(str(value)))
    raise ValueError(f"expected a string or a number, not {kind_of(value)}")


def spellings(value: object) -> tuple[str, ...]:
    """What a log may have where this name is meant, the likeliest first; nothing for a blank.

    Programs write booleans in three ways, and whole numbers as 1042 or, where their column has blanks, as 1042.0.

    Raises:
        ValueError: as ``text_of``.
    """
    text = text_of(value)
    if text is None:
        return ()
    if text.lower() in ("true", "false"):
        return tuple(dict.fromkeys((text, text.lower(), text.capitalize(), text.upper())))
    if re.fullmatch(r"-?\d+(\.0)?", text, re.ASCII):
        return text, text.removesuffix(".0") if text.endswith(".0") else f"{text}.0"
    return (text,)


def number_of(value: float | str | np.number | Decimal) -> float:
    """A number, also one that is written as text.

    Raises:
        ValueError: it is none, or not finite.
    """
    try:
        if isinstance(value, str) and "_" in value:  # which Python skips between digits
            raise ValueError
        # a short float is the decimal that it is written as, and not the double next to it
        number = float(str(value) if isinstance(value, np.float32 | np.float16) else value)
    except (ValueError, OverflowError):
        raise ValueError(f"{quoted(value)} is not a number; send one, or leave the field out") from None
    if not isfinite(number):
        raise ValueError(f"{number} is not a finite number; send one, or leave the field out")
    return number


class IdCoder:
    """Values of a vocabulary or of a closed set."""

    def __init__(self, values: Sequence[str]) -> None:
        self.names: Sequence[str | None] = (None, *values)
        self._ids: dict[object, int] = {None: 0, "": 0}
        self._ids |= {value: id_ for id_, value in enumerate(values, start=1)}

    def encode(self, value: object) -> tuple[int]:
        return (next((self._ids[text] for text in spellings(value) if text in self._ids), 0),)

    def look_up(self, values: Iterable[object]) -> Iterable[int]:
        """The ids of names and blanks; -1 for what is unknown or no text."""
        return map(self._ids.get, values, repeat(-1))


class NumberCoder:
    """Numbers, by bucket."""

    def __init__(self, field: NumberField) -> None:
        self.names: Sequence[str | None] = (None, *field.labels)
        self._edges = np.asarray(field.edges)
        # A bucket's own name is accepted, so that a predicted event can be sent back as history.
        self._labels = {label: id_ for id_, label in enumerate(field.labels, start=1)}

    def encode(self, value: object) -> tuple[int]:
        if is_blank(value):
            return (0,)
        if isinstance(value, str) and value in self._labels:
            return (self._labels[value],)
        if isinstance(value, bool) or not isinstance(value, int | float | str | np.number | Decimal):
            raise ValueError(f"expected a number, not {kind_of(value)}")
        number = number_of(value)
        return (int(np.searchsorted(self._edges, number, side="right")) + 1,)

    def encode_column(self, values: Sequence[object]) -> np.ndarray | None:
        """(n,) ids of numbers, names of buckets and blanks; None where a value is something else."""
        types = set(map(type, values))
        if not types <= {int, float, str, type(None)}:
            return None
        try:
            if types <= {int, float}:
                numbers = np.array(values, np.float64)
                return np.searchsorted(self._edges, numbers, side="right") + 1 if np.isfinite(numbers).all() else None
            ids = {value: self.encode(value)[0] for value in set(values)}  # few: buckets, or blanks
        except (ValueError, OverflowError):
            return None
        return np.fromiter(map(ids.__getitem__, values), np.int32, len(values))


class KeyCoder:
    """Names of entities, which have no ids."""

    names: Sequence[str | None] = ()

    def encode(self, value: object) -> tuple[()]:
        text_of(value)  # raises for what cannot name an entity
        return ()


class DatetimeCoder:
    """Datetimes to ids: month and day are their own ids, hour and minute are one above."""

    def __init__(self, read_wall: Callable[[object], datetime | None]) -> None:
        self._read_wall = read_wall

    def encode(self, value: object) -> tuple[int, int, int, int]:
        wall = self._read_wall(value)
        return datetime_ids(wall) if wall else (0, 0, 0, 0)


PART_NAMES: dict[str, Sequence[str | None]] = {
    "Month": (None, *(str(i) for i in range(1, 13))),
    "Day": (None, *(str(i) for i in range(1, 32))),
    "Hour": (None, *(str(i) for i in range(24))),
    "Minute": (None, *(str(i) for i in range(60))),
}
assert all(len(PART_NAMES[part]) == count + 1 for part, count in DATETIME_PARTS.items())


_EXAMPLES = "2026-01-29T08:00:00 or 2026-01-29T08:00:00+01:00"


def time_of(value: object) -> datetime | None:
    """A datetime as text, as a date or as itself; None where it is blank.

    Raises:
        ValueError: it is none.
    """
    if is_blank(value):
        return None
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, str):
        try:
            if value.isdecimal() and len(value) != len("20260129"):  # of more digits some would be a separator
                raise ValueError
            return datetime.fromisoformat(value)
        except ValueError:
            why = ": there are blanks around it" if value != value.strip() else f" like {_EXAMPLES}"
            raise ValueError(f"{quoted(value)} is not an ISO 8601 datetime{why}") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise ValueError(f"expected an ISO 8601 datetime like {_EXAMPLES}, not {kind_of(value)}")
    return value


def kind_of(value: object) -> str:
    """What a value is, for a message."""
    names = {dict: "an object", list: "a list", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")
