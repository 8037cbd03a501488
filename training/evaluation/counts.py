"""How often which value came up in which context, up to any moment.

All the counting behind the baselines: an entity's values so far, what followed a value, what
followed it for this entity. The table is sorted once; a question is a binary search.
"""

from typing import NamedTuple

import numpy as np


class Entries(NamedTuple):
    """Sparse counts for a number of questions, sorted by (row, value), each pair once."""

    row: np.ndarray  # (m,) int64: the question
    value: np.ndarray  # (m,) int64
    weight: np.ndarray  # (m,) float64: the count, perhaps decayed


NONE = Entries(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


class Counts:
    """Occurrences of values in contexts, for counting those that are not after a given moment."""

    def __init__(self, context: np.ndarray, value: np.ndarray, at: np.ndarray, size: int) -> None:
        """Sort the occurrences.

        Args:
            context: (M,) integers.
            value: (M,) integers below ``size``.
            at: (M,) increasing integers: the moment of each occurrence.
            size: number of values.
        """
        key = context.astype(np.int64) * size + value
        order = np.argsort(key, kind="stable")  # so moments increase within a key
        key = key[order]
        self._at = at[order].astype(np.int64)
        is_first = np.diff(key, prepend=-1) != 0
        self._start = np.flatnonzero(is_first)
        """Where each (context, value) starts."""
        self._group = np.cumsum(is_first) - 1
        self._context, self._value = np.divmod(key[self._start], size)
        self._span = int(self._at.max(initial=0)) + 2
        self._pair = self._group * self._span + self._at  # sorted: (group, moment) as one number

    def breadth(self, context: np.ndarray) -> np.ndarray:
        """How many different values ever occur in each context: at most so many entries per question."""
        return np.searchsorted(self._context, context, "right") - np.searchsorted(self._context, context)

    def decayed(self, half_life: float) -> np.ndarray:
        """(M,) for each occurrence the weight of all those of its group up to and including it.

        An occurrence weighs 1 at its moment and half as much ``half_life`` moments later.
        """
        number = np.arange(len(self._at)) - self._start[self._group]
        if np.isinf(half_life):
            return number + 1.0
        # total[k] = 1 + decay[k] * total[k - 1], for all groups at once by doubling the reach
        gap = np.diff(self._at, prepend=0)
        decay = np.where(number > 0, 0.5 ** (np.maximum(gap, 0) / half_life), 0.0)
        total = np.ones(len(decay))
        reach = 1
        while reach <= min(int(number.max(initial=0)), 50 * half_life):  # 2**-50 is beyond a double's precision
            total[reach:] += decay[reach:] * total[:-reach]
            decay[reach:] *= decay[:-reach].copy()
            reach *= 2
        return total

    def entries(
        self, context: np.ndarray, until: np.ndarray, decayed: np.ndarray, half_life: float = np.inf
    ) -> Entries:
        """The counts in each context of what is not after ``until``.

        Args:
            context: (n,) integers.
            until: (n,) integers: the moment up to which (inclusive) occurrences count.
            decayed: from ``decayed(half_life)``.
        """
        first, breadth = np.searchsorted(self._context, context), self.breadth(context)
        row = np.repeat(np.arange(len(context)), breadth)
        group = np.arange(len(row)) + np.repeat(first - np.cumsum(breadth) + breadth, breadth)
        moment = np.minimum(until, self._span - 1)[row]
        newest = np.searchsorted(self._pair, group * self._span + moment, "right") - 1
        seen = newest >= self._start[group]
        row, newest = row[seen], newest[seen]
        weight = decayed[newest] * 0.5 ** ((until[row] - self._at[newest]) / half_life)
        return Entries(row, self._value[group[seen]], weight)
