"""From the ids of a generated datetime to a moment that can be."""

from collections.abc import Collection, Container, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import takewhile

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

    def __init__(self, codec: Codec, not_before: int, allowed: Sequence[np.ndarray], believed: Container[int]) -> None:
        """
        Args:
            not_before: microseconds.
            allowed: of month, day, hour and minute, a mask (bool) over the ids.
            believed: the months that, where they are chosen, are meant.
        """
        self._codec, self._allowed, self._believed = codec, allowed, believed
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
        for near in dict.fromkeys((self._shown_again, self._wall)):
            wall = next_wall(near, month, day, hour, minute, self._believed)
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


class Calendar:
    """Makes what the chain chose an event that can be: its datetimes exist, and time moves forward."""

    def __init__(self, codec: Codec, months: Collection[int]) -> None:
        """
        Args:
            months: of the ordering datetime, which training has shown.
        """
        self._codec, self._shown = codec, frozenset(months)
        self._starts = codec.starts
        fields: dict[str, list[int]] = {}
        for c, category in enumerate(codec.schema.categories):
            if category.part is not None:
                fields.setdefault(category.field, []).append(c)
        self._order = fields.pop(codec.schema.order_by)
        self._others = list(fields.values())
        self._months = list(siblings(codec.schema.categories)[self._order[0]])

    def clock(self, not_before: int, allowed: np.ndarray, read: np.ndarray) -> Clock:
        """Of events that are not before a moment (microseconds); allowed (V,) bool; events read (Q, C)."""
        masks = [self._mask(c, allowed) for c in self._order]
        months, days = (mask.copy() for mask in masks[:2])
        months[1:] = True
        keep_to_calendar(months, days)  # as it is where days alone are asked for
        is_asked = not np.array_equal(masks[0][1:], months[1:])  # then a month is meant where it is chosen
        believed = MONTHS if is_asked else self._believed(not_before, read)
        return Clock(self._codec, not_before, masks, believed)

    def moments(self, ids: np.ndarray, not_before: int, allowed: np.ndarray, read: np.ndarray) -> np.ndarray:
        """When events (n, C) that were chosen take place: (n,) int64 microseconds; the rest as for ``clock``."""
        clock = self.clock(not_before, allowed, read)
        return np.array([clock.settle(event).timestamp for event in ids[:, self._order]], np.int64)

    def settle(
        self, ids: np.ndarray, not_before: int, allowed: np.ndarray, read: np.ndarray
    ) -> tuple[np.ndarray, Moment]:
        """One event (C,) with the ids that it takes place with, and its moment; the rest as for ``clock``."""
        moment = self.clock(not_before, allowed, read).settle(ids[self._order])
        settled = ids.astype(np.int32)
        settled[self._order] = datetime_ids(moment.wall)
        for month, day, *_ in self._others:
            last = last_day(int(settled[month]), moment.wall)
            if settled[day] > last:  # the 30th of February: the last day there is, of those allowed
                days = np.flatnonzero(self._mask(day, allowed)[: last + 1])
                settled[day] = days[-1] if len(days) else 0
        return settled, moment

    def _believed(self, not_before: int, read: np.ndarray) -> Collection[int]:
        """The months that are meant where they are chosen.

        A month that training has never shown can only be copied from the events read. So where the next
        month is such a one, what is chosen in its place from the vocabulary says no more than that this
        month is over. A month is believed if it stands in an event read, or if training has shown every
        month from now on to it.
        """
        if len(self._shown) == len(MONTHS):
            return MONTHS
        now = self._codec.at_timestamp(not_before).wall.month
        ahead = (*range(now, 13), *range(1, now))
        return {*takewhile(self._shown.__contains__, ahead), *read[:, self._months].ravel().tolist()}

    def _mask(self, category: int, allowed: np.ndarray) -> np.ndarray:
        return allowed[self._starts[category] : self._starts[category + 1]]
