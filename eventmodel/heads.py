"""From a hidden vector to probabilities of an event: marginals, the chain, and copying.

One set of heads, conditioned on the event's earlier categories. With an empty context they
give marginals; with it, the chain rule's factors. In every category the vocabulary's softmax is
mixed with a pointer over the events that the decoder has read: an aircraft's own number, the
month that the training part never saw, and yesterday's departure time are all best copied.
The pointer copies from every category whose ids mean the same: an aircraft leaves from where it was
going to, a break that ends began at the time of the event before.

Shapes: B samples, N scored positions, Q sequence positions, C categories, V_c ids of category c,
G_c categories that share the ids of category c, D d_model.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventmodel.harmonics import OrderedRows
from eventmodel.layers import RMSNorm
from eventmodel.schema import Category, siblings

_NEVER = -1e4
"""A log-weight that is zero in every precision, and whose gradient is not NaN."""

MARGINAL, CHAIN = 0, 1
"""Rows of the temperatures: categories on their own, and given the event's earlier ones."""


class HeadOutput(NamedTuple):
    """Unnormalised predictions: what the loss and the distribution are both computed from."""

    logits: tuple[Tensor, ...]  # per category (B, N, V_c)
    copy_scores: Tensor  # (B, N, C, Q)
    copy_gate: Tensor  # (B, N, C): logit of copying against the vocabulary
    copy_from: Tensor  # (B, N, C, C): scores of the category that each one copies from


class Heads(nn.Module):
    """All categories' heads; weights are shared but for the output rows and a category vector."""

    temperature: Tensor
    category_of: Tensor
    first: Tensor
    is_sibling: Tensor
    pair: Tensor

    def __init__(self, d_model: int, categories: tuple[Category, ...], sizes: tuple[int, ...], plain: bool) -> None:
        """
        Args:
            sizes: ids per category.
            plain: independent heads that copy nothing.
        """
        super().__init__()
        self.sizes, self.plain = sizes, plain
        self.siblings = siblings(categories)
        self.hidden_norm = RMSNorm(d_model)
        self.hidden = nn.Linear(d_model, 2 * d_model, bias=False)  # what is added to the context, and a factor
        self.context = nn.Linear(d_model, d_model, bias=False)
        self.category = nn.Parameter(
            torch.cat((torch.randn(len(sizes), d_model) * 0.5, torch.ones(len(sizes), d_model)), 1)
        )
        self.down = nn.Linear(d_model, d_model, bias=False)
        self.norm = RMSNorm(d_model)
        self.out = nn.Parameter(torch.randn(sum(sizes), d_model) * d_model**-0.5)
        self.bias = nn.Parameter(torch.zeros(sum(sizes)))
        starts = tuple(sum(sizes[:c]) for c in range(len(sizes)))
        self.ordered = OrderedRows(d_model, categories, sizes, starts, 0.1 * d_model**-0.5)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.gate = nn.Linear(d_model, 1)
        self.copied = nn.Linear(d_model, len(sizes), bias=False)
        self.copied_bias = nn.Parameter(2.0 * torch.eye(len(sizes)))  # at first mostly from the category itself
        nn.init.zeros_(self.copied.weight)
        # (2, C): fitted on the validation part when training ends; saved with the weights
        self.register_buffer("temperature", torch.ones(2, len(sizes)))
        pair = torch.tensor([(c, sibling) for c, group in enumerate(self.siblings) for sibling in group]).T
        self.register_buffer("pair", pair, persistent=False)  # (2, sum of G_c): a category, and one that it copies from
        is_sibling = torch.zeros(len(sizes), len(sizes), dtype=torch.bool)
        is_sibling[pair[0], pair[1]] = True
        self.register_buffer("is_sibling", is_sibling, persistent=False)  # (C, C)
        size = torch.tensor(sizes)
        # of all categories' ids, one after the other: each one's category (V,), and where each category starts (C,)
        self.register_buffer("category_of", torch.repeat_interleave(torch.arange(len(sizes)), size), persistent=False)
        self.register_buffer("first", torch.tensor(starts), persistent=False)

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
        """What features have of hidden (..., D) and their category, whatever the context: (..., C, 2 D)."""
        return self.hidden(self.hidden_norm(hidden))[..., None, :] + self.category

    def features(self, hidden: Tensor, shared: Tensor, context: Tensor) -> Tensor:
        """One vector per category, from hidden, what ``shared`` gives, and the context; all broadcast, to (..., D)."""
        if self.plain:
            context = torch.zeros_like(context)
        term, factor = shared.chunk(2, -1)
        return self.norm(hidden + self.down(F.gelu(term + self.context(context)) * factor))

    def outputs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Per category the rows (V_c, D) and biases (V_c,) that make logits of its features."""
        return tuple(zip(self.ordered(self.out).split(self.sizes), self.bias.split(self.sizes), strict=True))

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

        The mixture of ``target_log_probs``. A softmax per category: to spread one number of each category over
        its ids, as one softmax over all of them needs, takes longer.

        Args:
            source: (B, Q, C) integers: the ids at the positions that copying points to.
        """
        share, rest = (of_all[..., 0] for of_all in shares(output.copy_gate.float()[..., None]))  # (B, N, C) each
        of_vocabulary = zip(output.logits, rest.split(1, -1), strict=True)
        vocabulary = torch.cat([logits.float().softmax(-1) * its_rest for logits, its_rest in of_vocabulary], -1)
        category, sibling = self.pair.unbind()
        share = (output.copy_from.float().softmax(-1) * share[..., None])[:, :, category, sibling]  # (B, N, pairs)
        copies = output.copy_scores.float().softmax(-1)[:, :, category] * share[..., None]  # (B, N, pairs, Q)
        place = source.transpose(1, 2)[:, sibling] + self.first[category, None]  # (B, pairs, Q), among V
        place = place[:, None].expand(-1, copies.shape[1], -1, -1).flatten(2)
        return vocabulary.scatter_add(-1, place, copies.flatten(2)).clamp_min(1e-30).log()

    def calibrate_marginals(self, log_probs: Tensor) -> Tensor:
        """All categories' log-probabilities (..., V) at their temperatures."""
        scaled = log_probs / self.temperature[MARGINAL, self.category_of]
        return torch.cat([of_category.log_softmax(-1) for of_category in scaled.split(self.sizes, -1)], -1)

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
        features = self.features(hidden[:, :, None], self.shared(hidden), context)
        logits = tuple(F.linear(x, *output) for x, output in zip(features.unbind(2), self.outputs(), strict=True))
        copy_from = (self.copied(features) + self.copied_bias).masked_fill(~self.is_sibling, _NEVER)
        return HeadOutput(logits, *self.copying(features, self.pointer(keys, is_source)), copy_from)

    def category_log_probs(
        self, features: Tensor, category: int, output: tuple[Tensor, Tensor], pointer: "Pointer", source: Tensor
    ) -> Tensor:
        """One category's whole distribution at one position: vocabulary and copies, mixed in probability.

        What ``forward`` and ``all_log_probs`` give, for the chain, which has one category after the other.

        Args:
            features: (B, D).
            output: the category's of ``outputs``.
            pointer: of N = 1 position.
            source: (B, Q * G_c) int64: the ids at the positions that copying points to, of the category's siblings.

        Returns:
            (B, V_c) fp32 log-probabilities.
        """
        group = self.siblings[category]
        weight = torch.cat((self.gate.weight, self.copied.weight[list(group)]))
        bias = torch.cat((self.gate.bias, self.copied_bias[category, list(group)]))
        gate, copy_from = F.linear(features, weight, bias).float().split((1, len(group)), -1)
        gate = gate.masked_fill(pointer.is_empty[:, 0], _NEVER)  # (B, 1)
        scores = (features[:, None] @ pointer.keys).masked_fill(pointer.is_nothing[:, 0], _NEVER)
        share, rest = shares(gate)  # (B, 1) each
        copies = scores.float().softmax(-1).squeeze(1) * share  # (B, Q)
        if len(group) > 1:
            copies = (copies[..., None] * copy_from.softmax(-1)[:, None]).flatten(1)
        vocabulary = F.linear(features, *output).float().softmax(-1) * rest
        return vocabulary.scatter_add(-1, source, copies).clamp_min(1e-30).log()

    def target_log_probs(self, output: HeadOutput, target: Tensor, source: Tensor) -> Tensor:
        """Log-probability of a target in every category, in fp32.

        The same mixture as ``all_log_probs``, without building the distributions.

        Args:
            target: (B, N, C) int64.
            source: as in ``all_log_probs``.

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
        category, sibling = self.pair.unbind()
        attention = output.copy_scores.float().softmax(-1)[:, :, category]  # (B, N, pairs, Q)
        is_target = source.transpose(1, 2)[:, None, sibling] == target[:, :, category, None]
        share = output.copy_from.float().softmax(-1)[:, :, category, sibling]  # (B, N, pairs)
        copies = torch.zeros_like(vocabulary).index_add(-1, category, (attention * is_target).sum(-1) * share)
        gate = output.copy_gate.float()
        # the floor keeps log and its gradient finite where nothing points at the target
        return torch.logaddexp(F.logsigmoid(-gate) + vocabulary, F.logsigmoid(gate) + copies.clamp_min(1e-20).log())


def shares(gate: Tensor) -> tuple[Tensor, Tensor]:
    """The probability of copying and that of the vocabulary, of gate logits (..., 1), both to their last digit.

    A sigmoid is right to seven decimals (ONNX Runtime's; and 1 - share to no more anywhere). Where nearly
    all is copied and what is copied is not ``allowed``, all probability is in the decimals after those.
    """
    share, rest = F.pad(gate, (0, 1)).softmax(-1).split(1, -1)
    return share, rest


class Pointer(NamedTuple):
    """What copying points to."""

    keys: Tensor  # (B, D, Q), scaled
    is_nothing: Tensor  # (B, N, 1, Q) bool; True = not to be copied from
    is_empty: Tensor  # (B, N, 1) bool; True = there is nothing to copy from


def earlier_categories(embedded: Tensor, in_chain: Tensor) -> Tensor:
    """The chain's context: for each category the sum of the earlier ones' embeddings, zeros for marginals.

    Args:
        embedded: (B, N, C, D).
        in_chain: (B,) bool; False = marginals.
    """
    n = embedded.shape[-2]
    is_earlier = torch.ones(n, n, dtype=torch.bool, device=embedded.device).tril(-1)
    # a product: sum, shift and choice in one pass; that of a zero is exact, and tells of no later category
    return (is_earlier & in_chain[:, None, None, None]).to(embedded.dtype) @ embedded
