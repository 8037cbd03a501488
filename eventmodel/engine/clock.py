"""From the ids of a generated datetime to a moment that can be."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from eventmodel.calendar import MONTHS, datetime_ids, first_wall, keep_to_calendar, last_day, next_wall
from eventmodel.codec import MICROSECONDS, Codec, Moment
from eventmodel.schema import siblings

_MINUTE = timedelta(minutes=1)
_HOURS = 3 * 3600 * MICROSECONDS
"""Longer than clocks are put back anywhere."""


class Clock:
    """When an event can take place that is not before some moment.

    Categories carry no year, and the model may choose a moment that has passed or that no
    calendar has. Then the event happens at the first moment allowed: at once, unless
    ``allowed`` says otherwise.
    """

    def __init__(
        self, codec: Codec, not_before: int, allowed: Sequence[np.ndarray], is_believed: Callable[[int, int], bool]
    ) -> None:
        """
        Args:
            not_before: microseconds.
            allowed: of month, day, hour and minute, a mask (bool) over the ids.
            is_believed: whether in one month another one is meant where it is chosen.
        """
        self._codec, self._allowed, self._is_believed = codec, allowed, is_believed
        self._earliest = codec.at_timestamp(not_before)
        self._wall = self._earliest.wall
        self._shown_again = self._wall - timedelta(seconds=self._put_back())
        """Readings from here on are still to come, some for the second time."""
        self._known: dict[tuple[int, ...], Moment] = {}

    def settle(self, ids: np.ndarray) -> Moment:
        """The moment of month, day, hour and minute (4,); the same ids are looked up once."""
        key = tuple(ids.tolist())
        if key not in self._known:
            self._known[key] = self._settle(*key)
        return self._known[key]

    def _settle(self, month: int, day: int, hour: int, minute: int) -> Moment:
        is_believed = self._is_believed(self._wall.month, month)
        for near in dict.fromkeys((self._shown_again, self._wall)):
            wall = next_wall(near, month, day, hour, minute, is_believed)
            if wall is not None and self._is_allowed(wall) and (moment := self._moment(wall)):
                return moment
        return self._first

    def _is_allowed(self, wall: datetime) -> bool:
        return all(mask[i] for mask, i in zip(self._allowed, datetime_ids(wall), strict=True))

    def _put_back(self) -> int:
        """By how many seconds clocks are put back within the next hours; 0 if they are not."""
        try:
            later = self._codec.at_timestamp(self._earliest.timestamp + _HOURS)
        except OverflowError:  # the end of the calendar
            return 0
        return max(self._earliest.utc_offset - later.utc_offset, 0)

    def _moment(self, wall: datetime) -> Moment | None:
        """The first moment, not before the earliest, at which clocks show this; None where they are put forward."""
        moments = (self._codec.at_wall(wall.replace(fold=fold)) for fold in (0, 1))
        return next((m for m in moments if m.wall == wall and m.timestamp >= self._earliest.timestamp), None)

    @cached_property
    def _first(self) -> Moment:
        """The first moment allowed; the earliest where no calendar has one."""
        once, again = self._scan(self._wall, datetime.max - _MINUTE), self._scan(self._shown_again, self._wall)
        found = [moment for moment in (once, again) if moment is not None]
        return min(found, key=lambda moment: moment.timestamp, default=self._earliest)

    def _scan(self, begin: datetime, end: datetime) -> Moment | None:
        """The first moment allowed, in the order of readings."""
        wall = first_wall(begin, self._allowed)
        while wall is not None and wall < end:
            if moment := self._moment(wall):
                return moment
            wall = first_wall(wall + _MINUTE, self._allowed)
        return None


class AllowedDates(NamedTuple):
    """What may happen, as far as datetimes go: the same for all events of a rollout."""

    order: Sequence[np.ndarray]
    """Of the ordering datetime's month, day, hour and minute, a mask (bool) over the ids."""
    is_month_asked: bool
    """Whether some months are ruled out, beyond those that have no allowed day."""
    other_days: Sequence[np.ndarray]
    """Of each other datetime's day, a mask."""


class Calendar:
    """Makes what the chain chose an event that can be: its datetimes exist, and time moves forward."""

    def __init__(self, codec: Codec, months: Collection[int]) -> None:
        """
        Args:
            months: of the ordering datetime, which training has shown.
        """
        self._codec = codec
        self._starts = codec.starts
        fields: dict[str, list[int]] = {}
        for c, category in enumerate(codec.schema.categories):
            if category.part is not None:
                fields.setdefault(category.field, []).append(c)
        first, *_, last = fields.pop(codec.schema.order_by)
        self._order = slice(first, last + 1)
        self._others = [(month, day) for month, day, *_ in fields.values()]
        self._months = list(siblings(codec.schema.categories)[first])
        self._led_to = {now: _led_to(now, months) for now in MONTHS}

    def allowed_dates(self, allowed: np.ndarray) -> AllowedDates:
        """Of the ids (V,) bool that may happen."""
        order = [self._mask(c, allowed) for c in range(self._order.start, self._order.stop)]
        months, days = (mask.copy() for mask in order[:2])
        months[1:] = True
        keep_to_calendar(months, days)  # as it is where days alone are asked for
        is_month_asked = not np.array_equal(order[0][1:], months[1:])
        return AllowedDates(order, is_month_asked, [self._mask(day, allowed) for _, day in self._others])

    def moments(self, ids: np.ndarray, not_before: int, allowed: AllowedDates, read: np.ndarray) -> np.ndarray:
        """When events that were chosen take place.

        Args:
            ids: (n, C).
            not_before: microseconds; no event takes place before.
            read: (Q, C), the events that the decoder has read.

        Returns:
            (n,) int64 microseconds.
        """
        clock = self._clock(not_before, allowed, read)
        return np.array([clock.settle(event).timestamp for event in ids[:, self._order]], np.int64)

    def settle(
        self, ids: np.ndarray, not_before: int, allowed: AllowedDates, read: np.ndarray
    ) -> tuple[np.ndarray, Moment]:
        """One event (C,) with the ids that it takes place with, and its moment; the rest as for ``moments``."""
        moment = self._clock(not_before, allowed, read).settle(ids[self._order])
        wall = moment.wall
        settled = ids.tolist()
        settled[self._order] = datetime_ids(wall)
        for (month, day), days in zip(self._others, allowed.other_days, strict=True):
            last = last_day(settled[month], wall)
            if settled[day] > last:  # the 30th of February: the last day there is, of those allowed
                some = np.flatnonzero(days[: last + 1])
                settled[day] = some[-1] if len(some) else 0
        return np.array(settled, np.int32), moment

    def _clock(self, not_before: int, allowed: AllowedDates, read: np.ndarray) -> Clock:
        """Of a month that is asked for no reason is needed to believe it.

        A month that training has never shown can only be copied from the events read. So where the next
        month is such a one, what is chosen in its place from the vocabulary says no more than that this
        month is over. A month is believed if training has shown every month from now on to it, or if it
        stands in an event read.
        """

        def is_believed(now: int, month: int) -> bool:
            return (
                allowed.is_month_asked
                or month in self._led_to[now]
                or any(month in read[:, c].tolist() for c in self._months)  # so few are found faster in lists
            )

        return Clock(self._codec, not_before, allowed.order, is_believed)

    def _mask(self, category: int, allowed: np.ndarray) -> np.ndarray:
        return allowed[self._starts[category] : self._starts[category + 1]]


def _led_to(now: int, shown: Collection[int]) -> frozenset[int]:
    """The months, from one on, without a month between that is not shown."""
    return frozenset(takewhile(shown.__contains__, (*range(now, 13), *range(1, now))))
