"""How unusual the events of a log are, batch by batch: no more than a batch is in memory.

The same numbers as ``observed`` in an answer of the server: every event is scored as the next one
of its focus, right after the focus's previous event.

A value that training never showed, like a month that has just begun, has its surprise, and no
unusualness: nothing was learned of it, and where it is new in every event it tells nothing of any.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from eventmodel.heads import CHAIN, MARGINAL
from eventmodel.model import EventModel
from eventmodel.surprise import unusualness
from training.evaluation import distributions
from training.sampling import Sampler


class EventScores(NamedTuple):
    """Of B events in C categories; all calibrated, in nats. Along the chain is given the event's
    earlier categories: what an exception entails is then no exception itself."""

    position: np.ndarray  # (B,) int64: the event before, as a position in the focus stream's index
    label: np.ndarray  # (B, C) int64: the event's ids
    log_prob: np.ndarray  # (B, C) float64: of each id on its own
    chain_log_prob: np.ndarray  # (B, C) float64: along the chain; the sum is the joint one
    is_seen: np.ndarray  # (B, C) bool: training showed the id (or it is 0, unknown)
    unusual: np.ndarray  # (B, C) float64: unusualness along the chain; minus infinity where not is_seen
    usual: np.ndarray  # (B, C) int64: the most probable id along the chain


def score_events(
    model: EventModel, sampler: Sampler, positions: np.ndarray, device: torch.device
) -> Iterator[EventScores]:
    """Score the events after ``positions`` (n,), in their order."""
    done = 0
    for label, both in distributions(model, sampler, positions, device):
        alone, chain = (
            [model.heads.calibrate(raw, c, kind).double() for c, raw in enumerate(both[kind])]
            for kind in (MARGINAL, CHAIN)
        )
        of_label = [
            torch.stack([p.gather(-1, label[:, c, None])[:, 0] for c, p in enumerate(log_probs)], -1).cpu().numpy()
            for log_probs in (alone, chain)
        ]
        expected = torch.stack([-(p.exp() * p).sum(-1) for p in chain], -1).cpu().numpy()
        square = torch.stack([(p.exp() * p.square()).sum(-1) for p in chain], -1).cpu().numpy()
        is_seen = model.events.is_seen(label).cpu().numpy()
        unusual = unusualness(-of_label[CHAIN], expected, np.maximum(square - expected**2, 0))
        yield EventScores(
            position=positions[done : done + len(label)],
            label=label.cpu().numpy(),
            log_prob=of_label[MARGINAL],
            chain_log_prob=of_label[CHAIN],
            is_seen=is_seen,
            unusual=np.where(is_seen, unusual, -np.inf),
            usual=torch.stack([p.argmax(-1) for p in chain], -1).cpu().numpy(),
        )
        done += len(label)
