"""From the ids of a generated datetime to a moment that can be."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from eventmodel.calendar import datetime_ids, first_wall, next_wall
from eventmodel.codec import Codec, Moment


class Clock:
    """When an event can take place that is not before some moment.

    Categories carry no year, and the model may choose a moment that has passed or that no
    calendar has. Then the event happens at the first moment allowed: at once, unless
    ``allowed`` says otherwise.
    """

    def __init__(self, codec: Codec, not_before: int, allowed: Sequence[np.ndarray]) -> None:
        """
        Args:
            not_before: microseconds.
            allowed: of month, day, hour and minute, a mask (bool) over the ids.
        """
        self._codec, self._allowed = codec, allowed
        self._earliest = codec.at_timestamp(not_before)
        self._known: dict[tuple[int, ...], Moment] = {}

    def settle(self, ids: np.ndarray) -> Moment:
        """The moment of month, day, hour and minute (4,); the same ids are looked up once."""
        key = tuple(ids.tolist())
        if key not in self._known:
            self._known[key] = self._settle(*key)
        return self._known[key]

    def _settle(self, month: int, day: int, hour: int, minute: int) -> Moment:
        wall = next_wall(self._earliest.wall, month, day, hour, minute)
        if wall is None or not all(mask[i] for mask, i in zip(self._allowed, datetime_ids(wall), strict=True)):
            return self._first
        # where clocks are put back, a later reading can be an earlier moment
        return max(self._earliest, self._codec.at_wall(wall))

    @cached_property
    def _first(self) -> Moment:
        """The first moment allowed; the earliest where no calendar has one."""
        wall = first_wall(self._earliest.wall, self._allowed)
        return self._earliest if wall is None else max(self._earliest, self._codec.at_wall(wall))
