"""How unusual a value is: its surprise, set against the surprise that was to be expected.

Surprise is -log p in nats; its expectation is the distribution's entropy. A minute that one in
sixty guesses surprises by 4 nats and is not unusual; a cost code that was all but certain to be
another one is. So the *unusualness* of a value is how many standard deviations its surprise lies
above its expectation: about 0 for what is as usual, large where the model was sure of something else.
"""

import numpy as np

LEAST_VARIANCE = 0.1
"""Added to the variance of the surprise, in nats squared: where next to nothing was in doubt, no
trifle counts as many standard deviations."""


_LOWEST = np.finfo(np.float32).min
"""In place of minus infinity."""


def entropy(log_probs: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Entropy of several categories' distributions: (B, V) to (B, C) float64, nats.

    Args:
        log_probs: all categories' log-probabilities, one after the other.
        starts: (C,) where each category starts.
    """
    # exponentials are the work of it: at the precision that was given, which is that of the model
    p = np.exp(log_probs)
    terms = p * np.maximum(log_probs, _LOWEST)  # 0 times -inf would be no number
    return -np.add.reduceat(terms, starts, axis=1, dtype=np.float64)


def unusualness(surprise: np.ndarray, expected: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Standard deviations above what was to be expected, of any shape.

    Args:
        surprise: of what happened.
        expected: the entropy of what could happen.
        variance: of its surprise.
    """
    return (surprise - expected) / np.sqrt(variance + LEAST_VARIANCE)
