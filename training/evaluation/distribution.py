"""Distributions over a vocabulary that are a shared background plus a few weights of their own.

A counter's forecast differs from the global frequencies only in the values that it has counted,
so probabilities and ranks over the full vocabulary cost what was counted, whatever its size.
"""

from typing import NamedTuple

import numpy as np

from training.evaluation.counts import NONE, Entries


class Distribution(NamedTuple):
    """n distributions over V values: p[i, v] = rest[i] * background[v] + weight of (i, v), if any."""

    background: np.ndarray  # (V,) float64, positive, sums to 1
    rest: np.ndarray  # (n,) float64
    entries: Entries

    @classmethod
    def shared(cls, background: np.ndarray, n: int) -> "Distribution":
        """n times the background."""
        return cls(background, np.ones(n), NONE)

    def smoothing(self, counts: Entries, strength: float) -> "Distribution":
        """These as the prior of counts: (counts + strength * prior) / (total + strength).

        The Dirichlet prior's posterior mean: with little counted, the prior; with much, the counts.
        """
        denominator = np.bincount(counts.row, counts.weight, minlength=len(self.rest)) + strength
        share = strength / denominator
        counted = counts._replace(weight=counts.weight / denominator[counts.row])
        prior = self.entries._replace(weight=self.entries.weight * share[self.entries.row])
        return Distribution(self.background, self.rest * share, _merged(prior, counted, len(self.background)))

    def of(self, label: np.ndarray) -> np.ndarray:
        """(n,) the probability of one value each."""
        return self.rest * self.background[label] + self._weight(label)[0]

    def rank(self, label: np.ndarray) -> np.ndarray:
        """(n,) rank of one value each among all V, from 1; among equals the lower id first."""
        row, value, weight = self.entries
        of_label = self.of(label)
        order = np.argsort(-self.background, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        # how many values the background alone puts before the label ...
        with np.errstate(divide="ignore"):
            exceeding = np.searchsorted(-self.background[order], -of_label / self.rest)
        before = np.where(self._weight(label)[1], exceeding, place[label])
        # ... and what becomes of that when the weights are added
        probability = self.rest[row] * self.background[value] + weight
        is_before = probability > of_label[row]
        is_before |= (probability == of_label[row]) & (value < label[row])
        change = is_before.astype(np.int64) - (place[value] < before[row])
        return 1 + before + np.bincount(row, change, minlength=len(label)).astype(np.int64)

    def _weight(self, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) each label's own weight, and whether it has an entry."""
        row, value, weight = self.entries
        at = value == label[row]
        return (
            np.bincount(row[at], weight[at], minlength=len(label)),
            np.bincount(row[at], minlength=len(label)) > 0,
        )


def _merged(a: Entries, b: Entries, size: int) -> Entries:
    """Both together, weights of the same pair added."""
    if len(a.row) == 0 or len(b.row) == 0:
        return b if len(a.row) == 0 else a
    key = np.concatenate((a.row * size + a.value, b.row * size + b.value))
    order = np.argsort(key, kind="stable")
    key = key[order]
    start = np.flatnonzero(np.diff(key, prepend=-1) != 0)
    weight = np.add.reduceat(np.concatenate((a.weight, b.weight))[order], start)
    return Entries(*np.divmod(key[start], size), weight)
