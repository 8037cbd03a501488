"""Rollouts: events that are generated one after the other, each read before the next one is chosen."""

from collections.abc import Collection, Sequence
from itertools import takewhile

import numpy as np

from eventmodel.calendar import MONTHS, datetime_ids, keep_to_calendar, last_day
from eventmodel.codec import MICROSECONDS, Codec, Moment
from eventmodel.engine.clock import Clock
from eventmodel.engine.decoding import ChainStep, Decoding
from eventmodel.engine.noise import ROLLOUTS, gumbel
from eventmodel.engine.query import Query
from eventmodel.event_log import gap_bucket, weekday
from eventmodel.schema import siblings


class Rollout:
    """One way that a query's future may go, as far as it has been generated."""

    def __init__(self, query: Query, number: int, allowed: np.ndarray, last_read: int | None) -> None:
        """
        Args:
            number: of the rollout among the query's.
            allowed: (V,) bool.
            last_read: time of the newest event that the decoder has read; None where it has read none.
        """
        self.query, self.number, self.allowed = query, number, allowed
        self.timestamp, self._previous = query.now, last_read
        self.ids: list[np.ndarray] = []
        self.log_prob: list[float] = []
        self.moments: list[Moment] = []

    @property
    def is_done(self) -> bool:
        return len(self.ids) == self.query.horizon

    @property
    def gap(self) -> int:
        """Bucket of the time that the newest event came after the one read before it; 0 where none was read."""
        if self._previous is None:
            return 0
        return int(gap_bucket(np.array((self.timestamp - self._previous) / MICROSECONDS)))

    def noise(self, width: int) -> np.ndarray:
        """(width,) of the next choice."""
        sampling = self.query.sampling
        if sampling is None:
            return np.zeros(width, np.float32)
        generator = np.random.default_rng((ROLLOUTS, sampling.seed, self.number, len(self.ids)))
        return gumbel(generator, 1, width)[0] * np.float32(sampling.temperature)

    def take(self, ids: np.ndarray, log_prob: float, moment: Moment) -> None:
        """The next event."""
        if self.ids:
            self._previous = self.timestamp
        self.ids.append(ids)
        self.log_prob.append(log_prob)
        self.moments.append(moment)
        self.timestamp = moment.timestamp


def choose(decoding: Decoding, rollouts: Sequence[Rollout], possible: np.ndarray) -> ChainStep:
    """The next event of every sequence, from the chain.

    Args:
        possible: (V,) bool, what can be chosen at all.
    """
    allowed = np.stack([rollout.allowed for rollout in rollouts]) & possible
    noise = np.stack([rollout.noise(len(possible)) for rollout in rollouts])
    top_p = np.array([1.0 if (s := r.query.sampling) is None else s.top_p for r in rollouts], np.float32)
    if (is_plain := top_p == 1).all():
        return decoding.chain(slice(None), noise, allowed)
    # those that draw from a nucleus take a graph of their own, which is slower
    plain, some = np.flatnonzero(is_plain), np.flatnonzero(~is_plain)
    temperature = np.array([1.0 if (s := r.query.sampling) is None else s.temperature for r in rollouts], np.float32)
    parts = [decoding.nucleus(some, noise[some], allowed[some], temperature[some], top_p[some])]
    if len(plain):
        parts.append(decoding.chain(plain, noise[plain], allowed[plain]))
    order = np.argsort(np.concatenate((some, plain)))
    return ChainStep(*(np.concatenate(columns)[order] for columns in zip(*parts, strict=True)))


def read_back(decoding: Decoding, rollouts: Sequence[Rollout]) -> None:
    """Let the decoder read each rollout's newest event."""
    timestamp = np.array([rollout.timestamp for rollout in rollouts], np.int64)
    offset = np.array([rollout.moments[-1].utc_offset for rollout in rollouts], np.int32)
    gap = np.array([rollout.gap for rollout in rollouts], np.int32)
    decoding.append(np.stack([rollout.ids[-1] for rollout in rollouts]), gap, weekday(timestamp, offset))


class Calendar:
    """Makes what the chain chose an event that can be: its datetimes exist, and time moves forward."""

    def __init__(self, codec: Codec, months: Collection[int]) -> None:
        """
        Args:
            months: of the ordering datetime, which training has shown.
        """
        self._codec, self._shown = codec, frozenset(months)
        self._starts = np.cumsum((0, *codec.sizes))
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
