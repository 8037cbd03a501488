"""From the ids of a generated datetime to a moment that can be."""

from collections.abc import Container, Sequence
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np

from eventmodel.calendar import datetime_ids, first_wall, next_wall
from eventmodel.codec import Codec, Moment

_MINUTE = timedelta(minutes=1)


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
        self._known: dict[tuple[int, ...], Moment] = {}

    def settle(self, ids: np.ndarray) -> Moment:
        """The moment of month, day, hour and minute (4,); the same ids are looked up once."""
        key = tuple(ids.tolist())
        if key not in self._known:
            self._known[key] = self._settle(*key)
        return self._known[key]

    def _settle(self, month: int, day: int, hour: int, minute: int) -> Moment:
        wall = next_wall(self._wall, month, day, hour, minute, self._believed)
        if wall is None or not all(mask[i] for mask, i in zip(self._allowed, datetime_ids(wall), strict=True)):
            return self._first
        return self._moment(wall) or self._first

    def _moment(self, wall: datetime) -> Moment | None:
        """The first moment, not before the earliest, at which clocks show this; None where they are put forward."""
        moments = (self._codec.at_wall(wall.replace(fold=fold)) for fold in (0, 1))
        return next((m for m in moments if m.wall == wall and m.timestamp >= self._earliest.timestamp), None)

    @cached_property
    def _first(self) -> Moment:
        """The first moment allowed; the earliest where no calendar has one."""
        wall = first_wall(self._wall, self._allowed)
        while wall is not None and wall < datetime.max - _MINUTE:
            if moment := self._moment(wall):
                return moment
            wall = first_wall(wall + _MINUTE, self._allowed)
        return self._earliest
