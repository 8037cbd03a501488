"""Where the parts of a log end: the oldest events to learn from, the newest to test with."""

import numpy as np


def split(timestamp: np.ndarray, train: float, validation: float) -> tuple[int, int]:
    """Ends of the training and the validation part, in rows.

    The cuts lie as near to the wanted shares as they can without dividing events of equal time.

    Args:
        timestamp: (n,) in order.

    Raises:
        ValueError: fewer than three distinct times.
    """
    n = len(timestamp)

    def cut_before(row: int) -> int:  # the last place up to a row that divides no equal times
        return int(np.searchsorted(timestamp, timestamp[row]))

    def cut_after(row: int) -> int:
        return int(np.searchsorted(timestamp, timestamp[row], side="right"))

    def nearest(low: int, high: int, wanted: float) -> int:  # of equally near ones the lower
        if not low < wanted < high:
            return low if wanted <= low else high
        before, after = cut_before(int(wanted)), cut_after(int(wanted))
        return before if wanted - before <= after - wanted else after

    last = cut_before(n - 1)
    if last == 0 or cut_before(last - 1) == 0:
        raise ValueError(
            f"the log is too small to split: {_count(n, 'event')} at {_count(1 + (last > 0), 'distinct time')}, "
            "and each of training, validation and test needs at least one"
        )
    first = nearest(cut_after(0), cut_before(last - 1), n * train)
    return first, nearest(cut_after(first), last, n * (train + validation))


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
