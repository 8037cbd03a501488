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
LEAST_GAIN = 5.0
"""Nats over all events by which a temperature must beat 1. Where 1 is right, a fitted one still gains half
a nat on average, and 5 once in 640 times (half a chi-square of one degree of freedom): with the tens of
temperatures of a model, one is fitted to chance in about twenty trainings."""


def fit_temperatures(model: EventModel, sampler: Sampler, positions: np.ndarray, device: torch.device) -> torch.Tensor:
    """Temperatures (2, C) with the smallest negative log-likelihood on the events after the positions.

    Labels that training never showed, like the month that has just begun, are left out: nobody
    could be sure of them, and they would teach doubt about all the others. A category keeps 1, the
    model as it is, where these events do not tell (``_lowest``).

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
    """The temperature at the lowest point of each curve (..., K) over the grid, or 1 where it shows none.

    A curve that still falls at the sharp end of the grid has no lowest point: of a month of which the validation
    part holds one value, each sharper model is likelier, until the next month comes. One that still falls at the
    blunt end is of a model that knows less than it says, and gets that end. A curve that is lower than at 1 by
    less than ``LEAST_GAIN`` has its lowest point by chance, or is flat: its category is certain.
    """
    best = nll.argmin(-1)
    gain = nll[..., len(GRID) // 2] - nll.amin(-1)  # the middle of the grid is 1
    middle = best.clamp(1, len(GRID) - 2)
    left, low, right = (nll.gather(-1, (middle + shift)[..., None])[..., 0] for shift in (-1, 0, 1))
    shift = ((left - right) / (2 * (left - 2 * low + right))).clamp(-1, 1)
    start, step = GRID[0].log(), (GRID[-1] / GRID[0]).log() / (len(GRID) - 1)
    fitted = (start + step * (middle + shift)).exp()
    return torch.where((best > 0) & (gain > LEAST_GAIN), fitted, 1.0)
