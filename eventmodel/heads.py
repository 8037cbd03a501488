"""From a hidden vector to probabilities of an event: marginals, the chain, and copying.

One set of heads, conditioned on the event's earlier categories. With an empty context they
give marginals; with it, the chain rule's factors. In every category the vocabulary's softmax is
mixed with a pointer over the events that the decoder has read: an aircraft's own number, the
month that the training part never saw, and yesterday's departure time are all best copied.

Shapes: B samples, N scored positions, Q sequence positions, C categories, V_c ids of category c,
D d_model.
"""

from collections.abc import Sequence
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
    category_of: Tensor
    first: Tensor
    log_size: Tensor

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
        size = torch.tensor(sizes)
        # of all categories' ids, one after the other: each one's category (V,), and where each category starts (C,)
        self.register_buffer("category_of", torch.repeat_interleave(torch.arange(len(sizes)), size), persistent=False)
        self.register_buffer("first", size.cumsum(0) - size, persistent=False)
        self.register_buffer("log_size", size.log()[self.category_of], persistent=False)  # (V,)

    @torch.no_grad()
    def start_from_frequencies(self, counts: Sequence[np.ndarray]) -> None:
        """Begin a training as a counter: biases at the log-frequencies, outputs near 0.

        Args:
            counts: per category, (V_c,) how often each id occurs.
        """
        count = [of_category + 1.0 for of_category in counts]  # nothing is impossible
        self.bias.copy_(torch.from_numpy(np.concatenate([np.log(c / c.sum()) for c in count])))
        self.out.mul_(0.1)

    def shared(self, hidden: Tensor) -> Tensor:
        """What all categories' features have of hidden (..., D): mapped once, not once per category."""
        return self.hidden(self.hidden_norm(hidden))

    def features(self, hidden: Tensor, shared: Tensor, context: Tensor, category: Tensor) -> Tensor:
        """One vector per category, from what ``shared`` gives and the context; all broadcast, to (..., D).

        Args:
            category: rows of ``self.category``.
        """
        if self.plain:
            context = torch.zeros_like(context)
        return self.norm(hidden + self.down(F.gelu(shared + self.context(context) + category)))

    def category_logits(self, features: Tensor, category: int) -> Tensor:
        """One category's vocabulary logits: features (..., D) to (..., V_c)."""
        start = sum(self.sizes[:category])
        rows = slice(start, start + self.sizes[category])
        return F.linear(features, self.out[rows], self.bias[rows])

    def calibrate(self, log_probs: Tensor, category: int, kind: int, allowed: Tensor | None = None) -> Tensor:
        """One category's log-probabilities (..., V_c) at its temperature.

        Args:
            kind: MARGINAL or CHAIN.
            allowed: (..., V_c) bool, the ids that share all of the probability; None allows all.
        """
        scaled = log_probs / self.temperature[kind, category]
        if allowed is not None:
            scaled = torch.where(allowed, scaled, -torch.inf)
        return scaled.log_softmax(-1)

    def all_log_probs(self, output: HeadOutput, source: Tensor) -> Tensor:
        """Every category's distribution, one after the other: (B, N, V) fp32.

        The mixture of ``category_log_probs``, for all categories together: a few operations on
        long vectors, where one category after the other takes hundreds on short ones.

        Args:
            source: (B, Q, C) integers: the ids at the positions that copying points to.
        """
        peak = torch.stack([logits.float().amax(-1) for logits in output.logits], -1)  # (B, N, C)
        unscaled = (torch.cat(output.logits, -1).float() - peak[..., self.category_of]).exp()  # (B, N, V)
        share = torch.sigmoid(output.copy_gate.float())  # (B, N, C)
        vocabulary = unscaled * ((1 - share) / self._sum(unscaled))[..., self.category_of]
        copies = output.copy_scores.float().softmax(-1) * share[..., None]  # (B, N, C, Q)
        place = source.transpose(1, 2) + self.first[:, None]  # (B, C, Q), among V
        place = place[:, None].expand(-1, copies.shape[1], -1, -1).flatten(2)
        return vocabulary.scatter_add(-1, place, copies.flatten(2)).clamp_min(1e-30).log()

    def calibrate_all(self, log_probs: Tensor, kind: int) -> Tensor:
        """All categories' log-probabilities (..., V) at their temperatures; ``kind`` is MARGINAL or CHAIN."""
        # of V_c ids the most probable one has at least 1 / V_c, so a category's largest number here is
        # above 0, and its sum of exponentials neither vanishes nor, at any sane temperature, overflows
        scaled = (log_probs + self.log_size) / self.temperature[kind, self.category_of]
        return scaled - self._sum(scaled.exp()).log()[..., self.category_of]

    def _sum(self, of_ids: Tensor) -> Tensor:
        """(..., V) to (..., C)."""
        # no product with a matrix of zeros and ones: autocast would compute it in bf16
        return torch.stack([part.sum(-1) for part in of_ids.split(self.sizes, -1)], -1)

    def pointer(self, keys: Tensor, is_source: Tensor) -> "Pointer":
        """What copying points to, the same for all categories.

        Args:
            keys: (B, Q, D), from ``key`` of the hidden vectors.
            is_source: (B, N, Q) bool; which positions hold an event that may be copied from.
        """
        if self.plain:
            is_source = torch.zeros_like(is_source)
        is_nothing = ~is_source
        scaled = keys.transpose(1, 2) * keys.shape[-1] ** -0.5
        return Pointer(scaled, is_nothing[:, :, None], is_nothing.all(-1)[:, :, None])

    def copying(self, features: Tensor, pointer: "Pointer") -> tuple[Tensor, Tensor]:
        """features (B, N, C, D) to scores (B, N, C, Q) and gate logits (B, N, C)."""
        scores = (features.flatten(1, 2) @ pointer.keys).unflatten(1, features.shape[1:3])
        gate = self.gate(features)[..., 0]
        return scores.masked_fill(pointer.is_nothing, _NEVER), gate.masked_fill(pointer.is_empty, _NEVER)

    def forward(self, hidden: Tensor, context: Tensor, keys: Tensor, is_source: Tensor) -> HeadOutput:
        """Predictions at N positions.

        Args:
            hidden: (B, N, D).
            context: (B, N, C, D), each category's earlier ones; zeros for marginals.
            keys, is_source: as in ``pointer``.
        """
        features = self.features(hidden[:, :, None], self.shared(hidden)[:, :, None], context, self.category)
        rows = zip(features.unbind(2), self.out.split(self.sizes), self.bias.split(self.sizes), strict=True)
        logits = tuple(F.linear(*row) for row in rows)
        return HeadOutput(logits, *self.copying(features, self.pointer(keys, is_source)))


class Pointer(NamedTuple):
    """What copying points to."""

    keys: Tensor  # (B, D, Q), scaled
    is_nothing: Tensor  # (B, N, 1, Q) bool; True = not to be copied from
    is_empty: Tensor  # (B, N, 1) bool; True = there is nothing to copy from


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
