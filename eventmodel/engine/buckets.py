"""Histories of any length, in few batches with little padding."""

from collections.abc import Iterator

import numpy as np

RATIO = 1.25
"""From one bucket's greatest length to the next one's: at most a fifth of a batch is padding."""
MAX_TOKENS = 8_192
"""Positions of one batch. Activations stay near the processor, and memory bounded."""


def length_buckets(length: np.ndarray) -> Iterator[np.ndarray]:
    """Group histories of about the same length, longest first.

    Args:
        length: (E,) number of events.

    Yields:
        Indices into ``length``.
    """
    order = np.argsort(-length, kind="stable")
    tokens = length[order] + 1  # the start token is one too
    at = 0
    while at < len(order):
        longest = int(tokens[at])
        end = int(np.searchsorted(-tokens, -longest / RATIO, side="right"))
        end = min(end, at + max(MAX_TOKENS // longest, 1))
        yield order[at:end]
        at = end
