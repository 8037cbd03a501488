"""How well a model predicts the first target after the focus's last event."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from eventmodel.heads import all_log_probs, target_log_probs
from eventmodel.model import EventModel
from training.prefetch import to_tensors
from training.sampling import Sampler

BATCH = 512


@dataclass(frozen=True)
class Evaluation:
    """Per category, means over n targets."""

    n: int
    nll: list[float]
    """Negative log-likelihood of each category on its own, nats."""
    chain_nll: list[float]
    """The same, given the event's earlier categories; its sum is the joint one."""
    top1: list[float]
    """Share of targets that are the most probable value."""

    @property
    def loss(self) -> float:
        """What training minimises on average: half marginals, half chain, summed over categories."""
        return (sum(self.nll) + sum(self.chain_nll)) / 2


def choose(sampler: Sampler, n: int) -> np.ndarray:
    """At most n positions spread evenly over a part of the log, in the order of time."""
    positions = sampler.positions[np.argsort(sampler.log.focus.rows[sampler.positions + 1], kind="stable")]
    if len(positions) <= n:
        return positions
    return positions[np.linspace(0, len(positions) - 1, n).astype(np.int64)]


@torch.no_grad()
def evaluate(model: EventModel, sampler: Sampler, positions: np.ndarray, device: torch.device) -> Evaluation:
    """Event-triggered: now is the event at each position, the target is the one after it.

    In a distributed run every process reads its share, and all get the result.
    """
    was_training = model.training
    model.eval()
    n_categories = len(sampler.log.schema.categories)
    sums = torch.zeros(3, n_categories, dtype=torch.float64, device=device)
    shared = dist.is_initialized()
    mine = positions[dist.get_rank() :: dist.get_world_size()] if shared else positions
    for start in range(0, len(mine), BATCH):
        arrays = sampler.batch(sampler.at_last_event(mine[start : start + BATCH]), n_targets=1)
        batch, targets = to_tensors(arrays, device)
        decoded = model.read(batch)
        alone = model.predict(decoded, targets.ids, torch.zeros_like(targets.in_chain))
        label = targets.ids[:, 0]
        for c, log_probs in enumerate(all_log_probs(alone, targets.source_ids)):
            sums[0, c] -= log_probs[:, 0].gather(-1, label[:, c, None]).double().sum()
            sums[1, c] += (log_probs[:, 0].argmax(-1) == label[:, c]).double().sum()
        chain = model.predict(decoded, targets.ids, torch.ones_like(targets.in_chain))
        sums[2] -= target_log_probs(chain, targets.ids, targets.source_ids).double().sum((0, 1))
    if shared:
        dist.all_reduce(sums)
    model.train(was_training)
    nll, top1, chain_nll = (sums / len(positions)).tolist()
    return Evaluation(len(positions), nll, chain_nll, top1)
