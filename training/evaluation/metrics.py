"""From per-target arrays to the numbers of an evaluation.

Pure functions of arrays. A mean over no targets is NaN. Over several runs (seeds) a number becomes
a mean and a spread.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BINS = 15
"""Equally wide bins of confidence, by which calibration is measured."""
MEANING = {
    "nll": "mean negative log-likelihood of what happened, in nats; lower is better",
    "perplexity": "exp(nll): as uncertain as an even choice among so many values",
    "top1": "share of targets that were the most probable value",
    "top5": "share of targets among the five most probable values",
    "mrr": "mean reciprocal rank of what happened, among all values of the category",
    "ece": f"expected calibration error: mean distance between confidence and accuracy, over {BINS} bins of confidence",
    "ece_before": "the same before calibration",
    "nll_before": "nll before calibration",
    "skill": "1 - nll of the model / nll of the best baseline; none where that baseline is below 0.01 nats: "
    "there is nothing left to gain",
    "nats_gained": "nll of the best baseline - nll of the model",
    "top1_points": "top1 of the model - top1 of the best baseline, in percentage points",
    "chain_minus_marginal": "nll of the chain (given the event's earlier categories) - nll on its own",
    "unknown_rate": "share of targets whose value is blank or not in the vocabulary (id 0)",
}
"""What each number says; the one home of these sentences."""

SLICES = {
    "known": "the value that happened is in the vocabulary",
    "unknown": "it is blank or not in the vocabulary (id 0)",
    "repeated": "it is known, and equals the focus's last value",
    "new": "it is known, and differs from the focus's last value",
}
CERTAIN_NATS = 0.01
"""A baseline below this leaves nothing to gain, and a ratio to it says nothing."""


def accuracy(log_prob: np.ndarray, rank: np.ndarray, where: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Likelihood and ranking per category.

    Args:
        log_prob: (n, C) of the label, nats.
        rank: (n, C) of the label, from 1.
        where: (n, C) bool; the targets that count, all by default.

    Returns:
        ``nll``, ``perplexity``, ``top1``, ``top5``, ``mrr``: (C,) each.
    """
    counts = np.ones(rank.shape, bool) if where is None else where
    n = counts.sum(0)

    def mean(values: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.where(counts, values, 0).sum(0, dtype=np.float64) / n

    nll = -mean(log_prob)
    return {
        "nll": nll,
        "perplexity": np.exp(nll),
        "top1": mean(rank == 1),
        "top5": mean(rank <= 5),
        "mrr": mean(1 / rank),
    }


def slice_masks(label: np.ndarray, last: np.ndarray) -> dict[str, np.ndarray]:
    """``SLICES`` as masks (n, C): known and unknown labels, repeated and new ones."""
    known, same = label != 0, label == last
    return {"known": known, "unknown": ~known, "repeated": known & same, "new": known & ~same}


def skill(nll: np.ndarray, best_nll: np.ndarray) -> np.ndarray:
    """``1 - nll / best_nll``; NaN where the best baseline leaves nothing to gain."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(best_nll < CERTAIN_NATS, np.nan, 1 - nll / best_nll)


def expected_calibration_error(confidence: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """Mean distance of confidence from accuracy, over the bins.

    Args:
        confidence: (n, C) probability of the predicted value.
        is_right: (n, C) bool, whether it came true.

    Returns:
        (C,), from 0 to 1.
    """
    found = reliability(confidence, is_right)
    return np.nansum(found.targets * np.abs(found.confidence - found.accuracy), 1) / len(confidence)


class Reliability(NamedTuple):
    """What a reliability diagram shows, per bin of confidence and category; NaN in empty bins."""

    targets: np.ndarray  # (C, BINS) int64: how many
    confidence: np.ndarray  # (C, BINS) mean confidence
    accuracy: np.ndarray  # (C, BINS) share that came true


def reliability(confidence: np.ndarray, is_right: np.ndarray) -> Reliability:
    """Bin targets by confidence.

    Args:
        confidence: (n, C) probability of the predicted value.
        is_right: (n, C) bool, whether it came true.
    """
    n_categories = confidence.shape[1]
    cell = np.minimum((confidence * BINS).astype(np.int64), BINS - 1) + np.arange(n_categories) * BINS
    shape, length = (n_categories, BINS), n_categories * BINS
    count = np.bincount(cell.ravel(), minlength=length).reshape(shape)
    with np.errstate(invalid="ignore"):
        mean = [
            np.bincount(cell.ravel(), values.ravel(), minlength=length).reshape(shape) / count
            for values in (confidence, is_right)
        ]
    return Reliability(count, *mean)


def spread(runs: Sequence[float] | np.ndarray) -> dict[str, float | list[float | None] | None]:
    """A number's mean over runs, its sample standard deviation (None for a single run), and the runs.

    A number that is NaN becomes None, as JSON has it, and so do mean and deviation then.
    """
    values = np.array(runs, np.float64)
    if np.isnan(values).any():
        return {"mean": None, "sd": None, "runs": [number(value) for value in values]}
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return {"mean": float(values.mean()), "sd": sd, "runs": values.tolist()}


def number(value: float) -> float | None:
    """A number as JSON has it: NaN is None."""
    return None if np.isnan(value) else float(value)
