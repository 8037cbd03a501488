"""What a model says of the first target after the focus's last event, and how right it is.

The loss on the validation part and the tables come from ``score``, which keeps a few numbers per target and
category; calibration and the scores of events need whole ``distributions``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from eventmodel.heads import MARGINAL
from eventmodel.model import EventModel
from training.prefetch import to_tensors
from training.sampling import Sampler

BATCH = 512
NUMBERS_AT_A_TIME = 2**24
"""Probabilities of a batch, of which a few arrays are held: with vocabularies of many thousands it is smaller."""


@dataclass(frozen=True)
class Scores:
    """Of n targets in C categories. The first axis of two is ``MARGINAL`` (on its own) and ``CHAIN``
    (given the event's earlier categories)."""

    label: np.ndarray  # (n, C) int32
    rank: np.ndarray  # (2, n, C) int32: the label's among all ids, from 1; among equals the lower id first
    log_prob: np.ndarray  # (2, n, C) float32: of the label, nats
    confidence: np.ndarray  # (2, n, C) float32: probability of the most probable id
    raw_log_prob: np.ndarray  # (2, n, C) float32: before calibration
    raw_confidence: np.ndarray  # (2, n, C) float32: before calibration


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
        """What training minimises on average where all categories count alike: half marginals, half chain, summed."""
        return self.weighted_loss([1.0] * len(self.nll))

    def weighted_loss(self, weights: Sequence[float]) -> float:
        """What training minimises on average: ``weights`` (C,) is how much each category counts."""
        parts = zip(weights, self.nll, self.chain_nll, strict=True)
        return sum(weight * (alone + in_chain) / 2 for weight, alone, in_chain in parts)

    @classmethod
    def of(cls, scores: Scores) -> "Evaluation":
        """The means of scores."""
        nll, chain_nll = -scores.log_prob.mean(1, dtype=np.float64)
        top1 = (scores.rank[MARGINAL] == 1).mean(0)
        return cls(len(scores.label), nll.tolist(), chain_nll.tolist(), top1.tolist())


def choose(sampler: Sampler, n: int) -> np.ndarray:
    """At most n positions spread evenly over a part of the log, in the order of time."""
    positions = sampler.positions[np.argsort(sampler.log.focus.rows[sampler.positions + 1], kind="stable")]
    return thin(positions, n)


def thin(positions: np.ndarray, n: int) -> np.ndarray:
    """At most n positions, evenly spread over these."""
    if len(positions) <= n:
        return positions
    return positions[np.linspace(0, len(positions) - 1, n).astype(np.int64)]


@torch.no_grad()
def distributions(
    model: EventModel, sampler: Sampler, positions: np.ndarray, device: torch.device
) -> Iterator[tuple[Tensor, tuple[Sequence[Tensor], Sequence[Tensor]]]]:
    """Event-triggered (now is the event at each position, the target is the one after it), batch by batch.

    Yields:
        Labels (B, C), and per category log-probabilities (B, V_c) before calibration: of
        ``MARGINAL`` and of ``CHAIN``. The model is in eval mode meanwhile.
    """
    was_training = model.training
    model.eval()
    size = min(max(NUMBERS_AT_A_TIME // sum(model.sizes), 1), BATCH)
    for start in range(0, len(positions), size):
        arrays = sampler.batch(sampler.at_last_event(positions[start : start + size]), n_targets=1)
        batch, targets = to_tensors(arrays, device)
        decoded = model.read(batch)
        alone, chain = (
            model.heads.all_log_probs(model.predict(decoded, targets.ids, in_chain), targets.source_ids)[:, 0]
            for in_chain in (torch.zeros_like(targets.in_chain), torch.ones_like(targets.in_chain))
        )
        yield targets.ids[:, 0], (alone.split(model.sizes, -1), chain.split(model.sizes, -1))
    model.train(was_training)


def score(model: EventModel, sampler: Sampler, positions: np.ndarray, device: torch.device) -> Scores:
    """Score the model on the events after the positions.

    In a distributed run every process reads its share, and all get the result.
    """
    n, n_categories = len(positions), len(sampler.log.schema.categories)
    shared = dist.is_initialized()
    mine = np.arange(n)[dist.get_rank() :: dist.get_world_size()] if shared else np.arange(n)
    labels = torch.zeros(n, n_categories, dtype=torch.int32, device=device)
    ranks = torch.zeros(2, n, n_categories, dtype=torch.int32, device=device)
    reals = torch.zeros(2, 4, n, n_categories, device=device)
    done = 0
    for label, both in distributions(model, sampler, positions[mine], device):
        rows = torch.from_numpy(mine[done : done + len(label)]).to(device)
        done += len(label)
        labels[rows] = label.int()
        for kind, log_probs in enumerate(both):
            for c, raw in enumerate(log_probs):
                calibrated = model.heads.calibrate(raw, c, kind)
                y = label[:, c, None]
                of_label = calibrated.gather(-1, y)
                before = (calibrated > of_label) | (
                    (calibrated == of_label) & (torch.arange(raw.shape[1], device=device) < y)
                )
                ranks[kind, rows, c] = 1 + before.sum(-1).int()
                reals[kind, :, rows, c] = torch.stack(
                    (of_label[:, 0], calibrated.amax(-1).exp(), raw.gather(-1, y)[:, 0], raw.amax(-1).exp())
                )
    if shared:
        for part in (labels, ranks, reals):
            dist.all_reduce(part)
    return Scores(labels.cpu().numpy(), ranks.cpu().numpy(), *reals.cpu().numpy().swapaxes(0, 1))


def evaluate(model: EventModel, sampler: Sampler, positions: np.ndarray, device: torch.device) -> Evaluation:
    """The means of ``score``."""
    return Evaluation.of(score(model, sampler, positions, device))
