"""What a column of a user's log holds: how often which value, and what its values can be read as."""

import re
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from math import isinf

import numpy as np

from eventmodel.coders import is_blank, number_of, text_of, time_of
from training.column import Column

NAMING_WORDS = {
    *("id", "ids", "code", "key", "no", "nr", "num", "number", "zip", "sku"),
    *("case", "ticket", "order", "user", "customer", "client", "account", "employee", "worker", "driver", "patient"),
    *("machine", "device", "sensor", "vehicle", "asset", "station", "terminal", "store", "shop", "product"),
    *("item", "article", "part", "material", "lot", "batch", "plant", "route", "line", "tool", "room", "bed", "truck"),
}
"""Words at the end of a column's name that say that its numbers name things."""
FIRST_NAMING_WORDS = {"id", "ids", "code"}
"""The same at its beginning."""


@dataclass(frozen=True)
class Profile:
    """The distinct values of a column and how often each occurs; blanks do not count."""

    name: str
    column: Column

    @cached_property
    def texts(self) -> list[str | None]:
        """(U,) the values as text; None where blank or not readable as one."""
        return [_text(value) for value in self.column.values]

    @cached_property
    def counts(self) -> dict[str, int]:
        """Rows per text, most frequent first."""
        pairs = zip(self.texts, self.column.counts(), strict=True)
        known = [(text, count) for text, count in pairs if text is not None]
        return dict(sorted(known, key=lambda pair: (-pair[1], pair[0])))

    @property
    def n(self) -> int:
        """Rows that hold a value."""
        return sum(self.counts.values())

    @property
    def repeats(self) -> float:
        """Rows per distinct value."""
        return self.n / max(len(self.counts), 1)

    @cached_property
    def datetimes(self) -> list[datetime | None]:
        """(U,) the values as datetimes; None where they are none."""
        return [_datetime(value) for value in self.column.values]

    @cached_property
    def is_zoned(self) -> bool:
        """Whether most of its datetimes carry a zone."""
        carries = [at.tzinfo is not None for at in self.datetimes if at is not None]
        return sum(carries) * 2 > len(carries)

    @property
    def fits(self) -> list[bool]:
        """(U,) which values are datetimes of one convention on zones."""
        return [at is not None and (at.tzinfo is not None) == self.is_zoned for at in self.datetimes]

    @cached_property
    def datetime_share(self) -> float:
        """Share of its values that are datetimes of one convention on zones."""
        counts = np.array(self.column.counts())
        return float(counts[self.fits].sum() / max(self.n, 1))

    @cached_property
    def numbers(self) -> dict[float, int]:
        """Rows per finite number among its values, in rising order."""
        found: dict[float, int] = {}
        for text, count in filter(lambda pair: _is_number(pair[0]), self.counts.items()):
            found[number_of(text)] = found.get(number_of(text), 0) + count
        return dict(sorted(found.items()))

    @property
    def number_share(self) -> float:
        """Share of its values that are finite numbers."""
        return sum(self.numbers.values()) / max(self.n, 1)

    @property
    def no_number(self) -> str:
        """The most frequent of its values that is no finite number; empty if there is none."""
        return next((text for text in self.counts if not _is_number(text)), "")

    def written_like(self, pattern: re.Pattern[str]) -> str:
        """The most frequent of its values that looks so, if most do; else empty."""
        found = [(text, count) for text, count in self.counts.items() if pattern.fullmatch(text)]
        return found[0][0] if 2 * sum(count for _, count in found) > self.n else ""

    @property
    def names_things(self) -> bool:
        """Whether the first or last word of its name says that its numbers are names, or zeros lead."""
        words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", self.name)]
        says_so = bool(words) and (words[-1] in NAMING_WORDS or words[0] in FIRST_NAMING_WORDS)
        return says_so or any(re.match(r"0\d", text) for text in self.counts)


DATE_LIKE = re.compile(r"\s*\d{1,4}([./-])\d{1,2}\1\d{1,4}(\D.*)?|1\d{9}(\d{3})?", re.ASCII | re.DOTALL)
"""A date in any order, whatever stands after it; or seconds or milliseconds since 1970."""
AMOUNT_LIKE = re.compile(r"\s*[^\w\s.,-]{0,3}\s*-?\d[\d.,']*\s*\D{0,3}", re.ASCII)
"""Digits with commas, or beside a currency or a unit."""


def _text(value: object) -> str | None:
    if isinstance(value, float) and isinf(value):
        return str(value)  # no number, and no blank either
    try:
        return value.isoformat() if isinstance(value, date) and not is_blank(value) else text_of(value)
    except ValueError:
        return None


def _is_number(text: str) -> bool:
    try:
        number_of(text)
    except ValueError:
        return False
    return True


def _datetime(value: object) -> datetime | None:
    # bare digits parse as dates too, but are numbers far more often
    if isinstance(value, str) and value.isdecimal():
        return None
    try:
        return time_of(value)
    except ValueError:
        return None
