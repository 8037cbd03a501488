"""How well a score finds the few among the many."""

import numpy as np


def average_precision(is_positive: np.ndarray, score: np.ndarray) -> float:
    """Mean, over the positives, of the precision among all that score at least as high.

    1 where all positives come first; about the share of positives where the score tells nothing.
    Equal scores come together: no order among them is assumed.

    Args:
        is_positive: (n,) bool.
        score: (n,) the higher, the more suspect.

    Returns:
        NaN without a positive.
    """
    order = np.argsort(-score, kind="stable")
    found, ordered = np.cumsum(is_positive[order]), score[order]
    last_of_equals = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(score) - 1)
    recalled = np.diff(found[last_of_equals], prepend=0)
    precision = found[last_of_equals] / (last_of_equals + 1)
    with np.errstate(invalid="ignore"):
        return float((recalled * precision).sum() / np.float64(is_positive.sum()))
