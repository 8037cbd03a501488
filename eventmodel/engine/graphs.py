"""The computations that every backend runs, as modules that take and give flat tensors.

The torch backend calls them; export traces the very same modules. Two parts, states and then
decoding, are the contract, because states can be cached; one event from the chain is the third.

Shapes: B samples, E entities, L events, S slots, Q sequence positions, C categories, D d_model,
V the sum of all category sizes.
"""

import torch
from torch import Tensor, nn

from eventmodel.batch import MemoryBatch, SequenceBatch, StreamBatch
from eventmodel.heads import CHAIN, MARGINAL, HeadOutput, all_log_probs, category_log_probs
from eventmodel.model import EventModel

ENCODE_INPUTS = ("ids", "gap", "weekday", "length")
DECODE_INPUTS = (
    "states", "place", "vocabulary_id", "memory_gap", "ids", "gap", "weekday", "is_token", "now_hour"
)  # fmt: skip
DECODE_OUTPUTS = ("log_probs", "hidden", "keys", "is_source")
CHAIN_INPUTS = ("hidden", "keys", "is_source", "source_ids", "noise", "allowed", "forced")
CHAIN_OUTPUTS = ("chosen", "log_prob")


class EncodeGraph(nn.Module):
    """Histories of one stream kind to states: (E, L, C), (E, L), (E, L), (E,) to (E, D)."""

    def __init__(self, model: EventModel, stream: str) -> None:
        super().__init__()
        self.model, self.stream = model, stream

    def forward(self, ids: Tensor, gap: Tensor, weekday: Tensor, length: Tensor) -> Tensor:
        return self.model.encode(self.stream, StreamBatch(ids, gap, weekday, length))


class DecodeGraph(nn.Module):
    """States and the decoder's sequence to the marginals of the event after the last position."""

    def __init__(self, model: EventModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        states: Tensor,  # (E, D)
        place: Tensor,  # (B, S)
        vocabulary_id: Tensor,  # (B, S)
        memory_gap: Tensor,  # (B, S)
        ids: Tensor,  # (B, Q, C)
        gap: Tensor,  # (B, Q)
        weekday: Tensor,  # (B, Q)
        is_token: Tensor,  # (B, Q)
        now_hour: Tensor,  # (B,)
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log-probabilities (B, V), and what the chain needs: hidden (B, D), keys (B, Q, D), is_source (B, Q)."""
        decoded = self.model.decode(
            states,
            MemoryBatch(place, vocabulary_id, memory_gap),
            SequenceBatch(ids, gap, weekday, is_token, now_hour),
        )
        heads = self.model.heads
        hidden, is_source = decoded.hidden[:, -1:], decoded.is_source[:, -1:]
        no_context = hidden.new_zeros(hidden.shape[0], 1, len(self.model.sizes), hidden.shape[2])
        output: HeadOutput = heads(hidden, no_context, decoded.keys, is_source)
        raw = [p[:, 0] for p in all_log_probs(output, ids)]
        log_probs = torch.cat([heads.calibrate(p, c, MARGINAL) for c, p in enumerate(raw)], -1)
        return log_probs, hidden[:, 0], decoded.keys, is_source[:, 0]


class ChainGraph(nn.Module):
    """One event from the chain: the heads unrolled in the schema's order.

    Each category is the allowed id with the largest log-probability plus noise: noise of 0 is
    greedy, Gumbel noise samples; a forced id is taken whatever its probability.
    """

    def __init__(self, model: EventModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        hidden: Tensor,  # (B, D)
        keys: Tensor,  # (B, Q, D)
        is_source: Tensor,  # (B, Q)
        source_ids: Tensor,  # (B, Q, C)
        noise: Tensor,  # (B, V)
        allowed: Tensor,  # (B, V) bool
        forced: Tensor,  # (B, C); -1 = choose
    ) -> tuple[Tensor, Tensor]:
        """Ids (B, C) and, given the categories before, their log-probabilities (B, C)."""
        heads, events = self.model.heads, self.model.events
        context = torch.zeros_like(hidden)
        chosen, log_probs = [], []
        start = 0
        for c, size in enumerate(self.model.sizes):
            features = heads.features(hidden[:, None], context[:, None, None], slice(c, c + 1))
            scores, gate = heads.copying(features, keys, is_source[:, None])
            logits = heads.category_logits(features[:, :, 0], c)
            all_ids = category_log_probs(logits, scores[:, :, 0], gate[:, :, 0], source_ids[:, :, c].long())[:, 0]
            all_ids = heads.calibrate(all_ids, c, CHAIN)
            here = slice(start, start + size)
            all_ids = torch.where(allowed[:, here], all_ids, -torch.inf).log_softmax(-1)
            best = (all_ids + noise[:, here]).argmax(-1)
            id_ = torch.where(forced[:, c] >= 0, forced[:, c].long(), best)
            chosen.append(id_)
            log_probs.append(all_ids.gather(-1, id_[:, None])[:, 0])
            context = context + events.embed_category(id_, c)
            start += size
        return torch.stack(chosen, -1), torch.stack(log_probs, -1)
