"""From a hidden vector to probabilities of an event: marginals, the chain, and copying.

One set of heads, conditioned on the event's earlier categories. With an empty context they
give marginals; with it, the chain rule's factors. In every category the vocabulary's softmax is
mixed with a pointer over the events that the decoder has read: an aircraft's own number, the
month that the training part never saw, and yesterday's departure time are all best copied.

Shapes: B samples, N scored positions, Q sequence positions, C categories, V_c ids of category c,
D d_model.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NEVER = -1e4
"""A log-weight that is zero in every precision, and whose gradient is not NaN."""

MARGINAL, CHAIN = 0, 1
"""Rows of the temperatures: categories on their own, and given the event's earlier ones."""


class HeadOutput(NamedTuple):
    """Unnormalised predictions: what the loss and the distribution are both computed from."""

    logits: tuple[Tensor, ...]  # per category (B, N, V_c)
    copy_scores: Tensor  # (B, N, C, Q)
    copy_gate: Tensor  # (B, N, C): logit of copying against the vocabulary


class Heads(nn.Module):
    """All categories' heads; weights are shared but for the output rows and a category vector."""

    temperature: Tensor

    def __init__(self, d_model: int, sizes: tuple[int, ...], plain: bool = False) -> None:
        """
        Args:
            plain: independent heads that copy nothing.
        """
        super().__init__()
        self.sizes, self.plain = sizes, plain
        self.hidden_norm = nn.RMSNorm(d_model, eps=1e-6)
        self.hidden = nn.Linear(d_model, d_model, bias=False)
        self.context = nn.Linear(d_model, d_model, bias=False)
        self.category = nn.Parameter(torch.randn(len(sizes), d_model) * 0.5)
        self.down = nn.Linear(d_model, d_model, bias=False)
        self.norm = nn.RMSNorm(d_model, eps=1e-6)
        self.out = nn.Parameter(torch.randn(sum(sizes), d_model) * d_model**-0.5)
        self.bias = nn.Parameter(torch.zeros(sum(sizes)))
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.gate = nn.Linear(d_model, 1)
        # (2, C): fitted on the validation part when training ends; saved with the weights
        self.register_buffer("temperature", torch.ones(2, len(sizes)))

    @torch.no_grad()
    def start_from_frequencies(self, ids: np.ndarray) -> None:
        """Begin a training as a counter: biases at the log-frequencies of ids (n, C), outputs near 0."""
        start = 0
        for c, size in enumerate(self.sizes):
            count = np.bincount(ids[:, c], minlength=size) + 1.0  # nothing is impossible
            self.bias[start : start + size] = torch.from_numpy(np.log(count / count.sum()))
            start += size
        self.out.mul_(0.1)

    def features(self, hidden: Tensor, context: Tensor, categories: slice = slice(None)) -> Tensor:
        """hidden (B, N, D), context (B, N, C, D) to one vector per category (B, N, C, D).

        Args:
            categories: the C that are asked for; all by default.
        """
        if self.plain:
            context = torch.zeros_like(context)
        # the hidden vector is mapped once, not once per category
        shared = self.hidden(self.hidden_norm(hidden))[:, :, None]
        wide = F.gelu(shared + self.context(context) + self.category[categories])
        return self.norm(hidden[:, :, None] + self.down(wide))

    def category_logits(self, features: Tensor, category: int) -> Tensor:
        """One category's vocabulary logits: features (..., D) to (..., V_c)."""
        start = sum(self.sizes[:category])
        rows = slice(start, start + self.sizes[category])
        return F.linear(features, self.out[rows], self.bias[rows])

    def calibrate(self, log_probs: Tensor, category: int, kind: int) -> Tensor:
        """One category's log-probabilities (..., V_c) at its temperature; ``kind`` is MARGINAL or CHAIN."""
        return (log_probs / self.temperature[kind, category]).log_softmax(-1)

    def copying(self, features: Tensor, keys: Tensor, is_source: Tensor) -> tuple[Tensor, Tensor]:
        """Pointer scores and gate.

        Args:
            features: (B, N, C, D).
            keys: (B, Q, D), from ``key`` of the hidden vectors.
            is_source: (B, N, Q) bool; which positions hold an event that may be copied from.

        Returns:
            scores (B, N, C, Q) and gate logits (B, N, C).
        """
        scores = features.flatten(1, 2) @ keys.transpose(1, 2) * features.shape[-1] ** -0.5
        gate = self.gate(features)[..., 0]
        if self.plain:
            is_source = torch.zeros_like(is_source)
        has_source = is_source.any(-1)[:, :, None]
        return (
            scores.unflatten(1, features.shape[1:3]).masked_fill(~is_source[:, :, None], _NEVER),
            gate.masked_fill(~has_source, _NEVER),
        )

    def forward(self, hidden: Tensor, context: Tensor, keys: Tensor, is_source: Tensor) -> HeadOutput:
        """Predictions at N positions; arguments as in ``features`` and ``copying``."""
        features = self.features(hidden, context)
        logits = tuple(self.category_logits(features[:, :, c], c) for c in range(len(self.sizes)))
        return HeadOutput(logits, *self.copying(features, keys, is_source))


def earlier_categories(embedded: Tensor) -> Tensor:
    """The chain's context: for each category the sum of the earlier ones' embeddings.

    Args:
        embedded: (..., C, D).
    """
    # shifted, not subtracted: (a + b) - b is not quite a, and would let rounding tell of b
    return F.pad(torch.cumsum(embedded, dim=-2)[..., :-1, :], (0, 0, 1, 0))


def target_log_probs(output: HeadOutput, target: Tensor, source: Tensor) -> Tensor:
    """Log-probability of a target in every category, in fp32.

    The same mixture as ``category_log_probs``, without building the distribution.

    Args:
        target: (B, N, C) int64.
        source: (B, Q, C) integers: the ids at the positions that copying points to.

    Returns:
        (B, N, C).
    """
    vocabulary = torch.stack(
        [
            logits.float().log_softmax(-1).gather(-1, target[..., c, None])[..., 0]
            for c, logits in enumerate(output.logits)
        ],
        -1,
    )
    attention = output.copy_scores.float().softmax(-1)  # (B, N, C, Q)
    copied = (attention * (source.transpose(1, 2)[:, None] == target[..., None])).sum(-1)
    gate = output.copy_gate.float()
    # the floor keeps log and its gradient finite where nothing points at the target
    return torch.logaddexp(F.logsigmoid(-gate) + vocabulary, F.logsigmoid(gate) + copied.clamp_min(1e-20).log())


def category_log_probs(logits: Tensor, scores: Tensor, gate: Tensor, source: Tensor) -> Tensor:
    """One category's whole distribution: vocabulary and copies, mixed in probability.

    Args:
        logits: (B, N, V).
        scores: (B, N, Q).
        gate: (B, N).
        source: (B, Q) int64.

    Returns:
        (B, N, V) fp32 log-probabilities.
    """
    share = torch.sigmoid(gate.float())[..., None]
    vocabulary = logits.float().softmax(-1) * (1 - share)
    copies = scores.float().softmax(-1) * share
    index = source[:, None].expand(-1, logits.shape[1], -1)
    return vocabulary.scatter_add(-1, index, copies).clamp_min(1e-30).log()


def all_log_probs(output: HeadOutput, source: Tensor) -> list[Tensor]:
    """Every category's distribution: per category (B, N, V_c) fp32. ``source`` as for the targets."""
    source = source.long()
    return [
        category_log_probs(logits, output.copy_scores[:, :, c], output.copy_gate[:, :, c], source[:, :, c])
        for c, logits in enumerate(output.logits)
    ]
