"""Calibration: one temperature per category, for the marginals and for the chain.

A network that is trained to the end of its luck says 90% where 80% comes true. Dividing the
log-probabilities by a temperature, fitted on events that it was not trained on, mends most of it
and leaves the order of the values as it is (Guo et al., "On Calibration of Modern Neural Networks", 2017).
"""

import numpy as np
import torch

from eventmodel.heads import CHAIN, MARGINAL
from eventmodel.model import EventModel
from training.evaluation import distributions
from training.sampling import Sampler

GRID = torch.logspace(-0.5, 0.5, 21)
"""Temperatures that are tried, from 0.32 to 3.2; between them a parabola decides."""


def fit_temperatures(model: EventModel, sampler: Sampler, positions: np.ndarray, device: torch.device) -> torch.Tensor:
    """Temperatures (2, C) with the smallest negative log-likelihood on the events after the positions.

    Labels that training never showed, like the month that has just begun, are left out: nobody
    could be sure of them, and they would teach doubt about all the others.

    Nothing but sums over the grid is kept, so that vocabularies of any size fit.
    """
    inverse = 1 / GRID.to(device)
    sums = torch.zeros(2, len(model.sizes), len(GRID), dtype=torch.float64, device=device)
    for label, both in distributions(model, sampler, positions, device):
        is_seen = model.events.is_seen(label)  # (B, C)
        for kind in (MARGINAL, CHAIN):
            for c, log_probs in enumerate(both[kind]):
                log_probs = log_probs[is_seen[:, c]]
                of_label = log_probs.gather(-1, label[is_seen[:, c], c, None])
                for k, beta in enumerate(inverse):
                    sums[kind, c, k] += (torch.logsumexp(log_probs * beta, -1) - of_label[:, 0] * beta).double().sum()
    return _lowest(sums).float().cpu()


def _lowest(nll: torch.Tensor) -> torch.Tensor:
    """The temperature at the lowest point of each curve (..., K) over the grid."""
    best = nll.argmin(-1)
    inside = best.clamp(1, len(GRID) - 2)
    left, middle, right = (nll.gather(-1, (inside + shift)[..., None])[..., 0] for shift in (-1, 0, 1))
    curvature = left - 2 * middle + right
    # a flat curve (a category that is certain) has no lowest point: keep the model as it is
    shift = torch.where(curvature > 0, (left - right) / (2 * curvature), 0.0).clamp(-1, 1)
    start, step = GRID[0].log(), (GRID[-1] / GRID[0]).log() / (len(GRID) - 1)
    fitted = (start + step * (inside + shift)).exp()
    return torch.where(nll.amax(-1) - nll.amin(-1) > 1e-6, fitted, torch.ones_like(fitted))
