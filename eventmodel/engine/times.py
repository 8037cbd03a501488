"""A sample of next events from the chain, and the quantiles of when they take place.

The noise of a sample is a function of the moment that is asked about and of nothing else, so the
same question gets the same answer in any company.
"""

from collections.abc import Sequence

import numpy as np

from eventmodel.engine.decoding import Decoding
from eventmodel.engine.noise import gumbel
from eventmodel.engine.query import SAMPLES

NUMBERS_AT_A_TIME = 2**22
"""Noise and keys of the samples that pass through the chain together: 16 MiB, and the chain works
with a few arrays as large as this. A batch of any size stays within it."""


def sample_events(
    decoding: Decoding, rows: np.ndarray, allowed: np.ndarray, seeds: Sequence[tuple[int, ...]]
) -> np.ndarray:
    """Events drawn from the calibrated chain: (n, SAMPLES, C) ids.

    Args:
        rows: (n,) the sequences.
        allowed: (n, V) bool.
        seeds: per sequence, what its noise depends on: non-negative integers.
    """
    width = allowed.shape[1]
    total = len(rows) * SAMPLES
    generators = [np.random.default_rng(seed) for seed in seeds]
    at_a_time = max(NUMBERS_AT_A_TIME // (width + decoding.key_size), 1)
    chosen = []
    for start in range(0, total, at_a_time):
        row = np.arange(start, min(start + at_a_time, total)) // SAMPLES
        noise = np.concatenate([gumbel(generators[i], n, width) for i, n in zip(*_counted(row), strict=True)])
        chosen.append(decoding.chain(rows[row], noise, allowed[row]).chosen)
    events = np.concatenate(chosen)
    return events.reshape(len(rows), SAMPLES, events.shape[1])


def quantiles(moments: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """At each level q the first moment that at least the share q of a sample does not exceed.

    A moment of the sample itself, never one between two: noon may lie between two shifts.

    Args:
        moments: (..., K) int64.

    Returns:
        (..., len(levels)) int64.
    """
    n = moments.shape[-1]
    # 0.07 * 200 is 14.000000000000002 and means 14
    place = np.ceil(np.asarray(levels) * n - 1e-9).astype(np.int64) - 1
    return np.sort(moments, axis=-1)[..., np.maximum(place, 0)]


def _counted(row: np.ndarray) -> tuple[list[int], list[int]]:
    """The sequences that a chunk's rows belong to, and how many rows each has in it."""
    sequence, count = np.unique(row, return_counts=True)
    return sequence.tolist(), count.tolist()
