"""Gumbel noise: the largest of log p + noise is a draw from p (Gumbel 1954).

It is made here and not in the graphs, so that every backend draws the same.
"""

import numpy as np

QUANTILES, ROLLOUTS = range(2)
"""What noise is for, the first number of its seed: different uses of it never share it."""

_LEAST = np.float32(1e-9)


def gumbel(generator: np.random.Generator, n: int, width: int) -> np.ndarray:
    """(n, width) float32."""
    exponential = generator.standard_exponential((n, width), np.float32)
    # an exponential of 0 would be infinite noise, and choose what is impossible
    return -np.log(np.maximum(exponential, _LEAST))
