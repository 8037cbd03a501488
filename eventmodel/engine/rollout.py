"""Rollouts: events that are generated one after the other, each read before the next one is chosen."""

from collections.abc import Sequence

import numpy as np

from eventmodel.codec import MICROSECONDS, Moment
from eventmodel.engine.clock import AllowedDates
from eventmodel.engine.decoding import ChainStep, Decoding
from eventmodel.engine.noise import ROLLOUTS, gumbel
from eventmodel.engine.query import Query, Sampling
from eventmodel.time_context import gap_bucket, weekday


class Rollout:
    """One way that a query's future may go, as far as it has been generated."""

    def __init__(
        self, query: Query, number: int, allowed: np.ndarray, dates: AllowedDates, last_read: int | None
    ) -> None:
        """
        Args:
            number: of the rollout among the query's.
            allowed: (V,) bool.
            dates: those that are allowed.
            last_read: time of the newest event that the decoder has read; None where it has read none.
        """
        self.query, self.number, self.allowed, self.dates = query, number, allowed, dates
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

    def noise(self, sampling: Sampling, width: int) -> np.ndarray:
        """(width,) of the next choice."""
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


def choose(decoding: Decoding, rollouts: Sequence[Rollout], allowed: np.ndarray) -> ChainStep:
    """The next event of every sequence, from the chain.

    Args:
        allowed: (B, V) bool, what can be chosen.
    """
    noise = np.zeros(allowed.shape, np.float32)
    for of_rollout, rollout in zip(noise, rollouts, strict=True):
        if rollout.query.sampling is not None:
            of_rollout[:] = rollout.noise(rollout.query.sampling, len(of_rollout))
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
