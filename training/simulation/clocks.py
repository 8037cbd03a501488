"""Clocks that race: several things may happen next, and the earliest does.

Shapes: B people, W windows, K minutes, M moments.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

NEVER = np.iinfo(np.int64).max
OVERDUE = 10
"""Minutes within which something that should have happened by now does, all equally probable."""


class Clock(NamedTuple):
    """When one thing happens: a distribution over minutes, in windows that do not overlap."""

    start: np.ndarray  # (B, W) int64: first minute of each window
    pmf: np.ndarray  # (B, W, K)
    never: np.ndarray  # (B,) what is missing to 1

    @property
    def times(self) -> np.ndarray:
        """(B, W, K) minutes."""
        return self.start[..., None] + np.arange(self.pmf.shape[-1])

    def after(self, now: np.ndarray, overdue_slot: int = 0) -> "Clock":
        """The same, given that it has not happened by ``now`` (B,).

        A clock that cannot be late (``never`` is 0) and has no minute left is overdue: it takes one
        of the next ``OVERDUE`` minutes.

        Args:
            overdue_slot: the place in the first window of an overdue clock's first minute.
        """
        pmf = np.where(self.times > now[:, None, None], self.pmf, 0.0)
        left = pmf.sum((1, 2)) + self.never
        late = np.flatnonzero(left == 0)
        start = self.start
        if len(late):
            start = start.copy()
            start[late, 0] = now[late] + 1 - overdue_slot
            pmf[late, 0, overdue_slot : overdue_slot + OVERDUE] = 1 / OVERDUE
            left[late] = 1.0
        return Clock(start, pmf / left[:, None, None], self.never / left)

    def ring(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw when it happens.

        Returns:
            (B,) the minute, NEVER where it does not happen; (B,) its place among the W * K.
        """
        total = self.pmf.reshape(len(self.start), -1).cumsum(1)
        drawn = rng.random(len(total)) * (total[:, -1] + self.never)
        place = np.minimum((total <= drawn[:, None]).sum(1), total.shape[1] - 1)
        window, minute = np.divmod(place, self.pmf.shape[-1])
        time = self.start[np.arange(len(place)), window] + minute
        return np.where(drawn < total[:, -1], time, NEVER), place

    def later_than(self, moments: np.ndarray) -> np.ndarray:
        """(B, M): the probability that it happens after each of the moments (B, M), or never."""
        width = self.pmf.shape[-1]
        tail = np.zeros((*self.start.shape, width + 1))
        tail[..., :-1] = self.pmf[..., ::-1].cumsum(-1)[..., ::-1]
        place = np.clip(moments[:, None] + 1 - self.start[..., None], 0, width)  # (B, W, M)
        return np.take_along_axis(tail, place, 2).sum(1) + self.never[:, None]


def shaped(anchor: np.ndarray, shape: np.ndarray, is_on: np.ndarray | None = None) -> Clock:
    """A clock of one window from ``anchor`` (B,), of one shape (K,) or one per person (B, K).

    Args:
        is_on: (B,) where False, it never rings.
    """
    pmf = np.broadcast_to(shape, (len(anchor), shape.shape[-1]))[:, None]
    if is_on is None:
        return Clock(anchor[:, None], pmf, np.zeros(len(anchor)))
    return Clock(anchor[:, None], np.where(is_on[:, None, None], pmf, 0.0), np.where(is_on, 0.0, 1.0))


def race(clocks: Sequence[Clock]) -> list[np.ndarray]:
    """Per clock (B, W * K): the probability that it rings first, at each of its minutes.

    Where two ring in the same minute the earlier one in the sequence wins.
    """
    result = []
    for i, clock in enumerate(clocks):
        times = clock.times.reshape(len(clock.start), -1)
        weight = clock.pmf.reshape(times.shape)
        for j, other in enumerate(clocks):
            if j != i:
                weight = weight * other.later_than(times if j < i else times - 1)
        result.append(weight)
    return result
