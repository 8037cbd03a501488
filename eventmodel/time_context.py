"""What an event's moment says beside its own categories: the time since the event before, weekday and hour."""

import numpy as np

from eventmodel.codec import MICROSECONDS

N_GAP_BUCKETS = 32
"""Bucket 0 is "no previous event"; bucket b holds gaps of 2**(b-1) - 1 seconds up to 2**b - 1."""
N_WEEKDAYS = 8
"""0 is padding; 1 is Monday."""


def gap_bucket(seconds: np.ndarray) -> np.ndarray:
    """Log2 bucket of an elapsed time: 1 for under a second, then one more per doubling."""
    return np.minimum(np.log2(np.maximum(seconds, 0) + 1).astype(np.int32) + 1, N_GAP_BUCKETS - 1)


def weekday(timestamp: np.ndarray, utc_offset: np.ndarray) -> np.ndarray:
    """1 for Monday to 7 for Sunday, on the wall clock."""
    days = (timestamp // MICROSECONDS + utc_offset) // 86_400
    return ((days + 3) % 7 + 1).astype(np.int32)  # 1 January 1970 was a Thursday


def hour(timestamp: np.ndarray, utc_offset: np.ndarray) -> np.ndarray:
    """Hour of the day on the wall clock, 0 to 23."""
    return ((timestamp // MICROSECONDS + utc_offset) // 3600 % 24).astype(np.int32)
