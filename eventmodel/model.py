"""The event model: stream encoders, decoder and heads, tied together.

``encode`` and ``decode`` are the two halves that every backend serves, because states can be
cached; ``forward`` runs both on a training batch. Nothing here computes a loss.

Shapes: B samples, E entities, S slots, P focus events, Q sequence positions, N = Q - P scored
positions (NOW and the future events after it), C categories, D d_model.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventmodel.batch import Batch, MemoryBatch, SequenceBatch, StreamBatch, Targets
from eventmodel.codec import Codec
from eventmodel.config import ModelConfig
from eventmodel.encoder import EventEncoder, StreamEncoder
from eventmodel.heads import HeadOutput, Heads, earlier_categories
from eventmodel.layers import KeyValue, RMSNorm
from eventmodel.predictor import EventPredictor, KVCache
from eventmodel.schema import Schema
from eventmodel.time_context import N_GAP_BUCKETS

COUNTED_ROWS = 1 << 20
"""Rows of a log that are counted together."""


class Decoded(NamedTuple):
    """What the heads read."""

    hidden: Tensor  # (B, N, D)
    keys: Tensor  # (B, Q, D): what the pointer compares with
    is_source: Tensor  # (B, N, Q) bool: the events that each position has read
    cache: KVCache  # what one more position needs


class EventModel(nn.Module):
    """The network of one schema with one set of vocabularies."""

    slot_kind: Tensor
    slot_row: Tensor
    slot_has_id: Tensor

    def __init__(self, config: ModelConfig, codec: Codec) -> None:
        super().__init__()
        schema, sizes = codec.schema, codec.sizes
        self.config, self.schema, self.sizes = config, schema, sizes
        row_offset = table_rows(schema, sizes)
        d_model = config.d_model
        self.events = EventEncoder(d_model, schema.categories, sizes, row_offset, config.dropout)
        # by number: a module's child may not have the name of one of its methods, which a stream may have
        self.streams = nn.ModuleList(
            StreamEncoder(config, s.history_length(config.context_length)) for s in schema.streams
        )
        self.predictor = EventPredictor(config)
        self.heads = Heads(d_model, schema.categories, sizes, config.plain)

        self.null_slot = nn.Parameter(torch.randn(d_model) * 0.1)
        self.slot = nn.Embedding(len(schema.streams) + 1, d_model)  # per stream kind; the last one is the focus
        self.slot_gap = nn.Embedding(N_GAP_BUCKETS, d_model)
        self.memory_norm = RMSNorm(d_model)
        self.now = nn.Parameter(torch.randn(d_model) * 0.1)
        self.now_hour = nn.Embedding(24, d_model)
        for embedding in (self.slot, self.slot_gap, self.now_hour):
            nn.init.normal_(embedding.weight, std=0.1)

        kinds, rows, has_id = [], [], []
        for kind, stream in enumerate(schema.streams):
            category = schema.key_category(stream)
            for place in range(stream.max_entities):
                is_focus = stream.name == schema.focus and place == 0
                kinds.append(len(schema.streams) if is_focus else kind)
                rows.append(0 if category is None else row_offset[category])
                has_id.append(category is not None)
        self.register_buffer("slot_kind", torch.tensor(kinds), persistent=False)  # (S,)
        self.register_buffer("slot_row", torch.tensor(rows), persistent=False)  # (S,)
        self.register_buffer("slot_has_id", torch.tensor(has_id)[:, None], persistent=False)  # (S, 1)

    def start_from(self, ids: np.ndarray) -> None:
        """Begin a training with what counting tells of the training part's ids (n, C), perhaps mapped."""
        counts = [np.zeros(size, np.int64) for size in self.sizes]
        for start in range(0, len(ids), COUNTED_ROWS):
            part = ids[start : start + COUNTED_ROWS]
            for c, count in enumerate(counts):
                count += np.bincount(part[:, c], minlength=len(count))
        self.heads.start_from_frequencies(counts)
        self.events.read_unseen_as_unknown(counts)

    @property
    def months(self) -> tuple[int, ...]:
        """Of the datetime that orders the log, those that training has shown."""
        first = [category.field for category in self.schema.categories].index(self.schema.order_by)
        ids = torch.zeros(self.sizes[first], len(self.sizes), dtype=torch.int64, device=self.heads.temperature.device)
        ids[:, first] = torch.arange(len(ids))
        return tuple(
            month for month, is_seen in enumerate(self.events.is_seen(ids)[:, first].tolist()) if month and is_seen
        )

    def encode(self, stream: str, batch: StreamBatch) -> Tensor:
        """States (E, D) of one kind's histories: the vector at the last real event."""
        encoder = self.streams[self.schema.stream_index(stream)]
        states: Tensor = encoder(self.events(batch.ids, batch.gap, batch.weekday), batch.length)
        return states

    def decode(self, states: Tensor, memory: MemoryBatch, sequence: SequenceBatch) -> Decoded:
        """From states and the focus's newest events to what the heads read.

        Args:
            states: (E, D), of all kinds in the schema's order.
        """
        return self._decode(states, memory, sequence, self.events(sequence.ids, sequence.gap, sequence.weekday))

    def _decode(self, states: Tensor, memory: MemoryBatch, sequence: SequenceBatch, x: Tensor) -> Decoded:
        """``decode`` from the sequence's vectors x (B, Q, D)."""
        tokens, is_filled = self._memory(states, memory)
        position = torch.arange(x.shape[1], device=x.device)
        p = self.config.focus_events
        is_now = position == p  # (Q,)
        now = (
            self.now
            + self.now_hour(sequence.now_hour)
            + self.events.weekday(sequence.weekday[:, p])
            + self.slot_gap(sequence.gap[:, p])
        )
        if p:  # every later position holds the newest event itself; NOW has it too, so that all learn from all
            now = now + x[:, p - 1] * sequence.is_token[:, p - 1, None]
        now = self.events.norm(now)
        x = torch.where(is_now[:, None], now[:, None], x)
        hidden, cache = self.predictor(x, sequence.is_token, tokens, is_filled)
        scored = position[p:]  # (N,)
        is_source = (position <= scored[:, None]) & ~is_now & sequence.is_token[:, None, :]
        return Decoded(hidden[:, p:], self.heads.key(hidden), is_source, cache)

    def step(
        self,
        ids: Tensor,
        gap: Tensor,
        weekday: Tensor,
        position: Tensor,
        cache: KVCache,
        is_token: Tensor,
        is_filled: Tensor,
    ) -> tuple[Tensor, Tensor, Sequence[KeyValue]]:
        """Read one generated event more, without reading again what has been read.

        Args:
            ids, gap, weekday: (B, 1, C), (B, 1) and (B, 1).
            position: (1,) int64, its place in the sequence; P + 1 is the first one after NOW.
            cache, is_token, is_filled: as in ``EventPredictor.step``.

        Returns:
            The hidden vector (B, 1, D), the pointer's key (B, 1, D), and what is added to the past.
        """
        x = self.events(ids, gap, weekday)
        hidden, added = self.predictor.step(x, position, cache, is_token, is_filled)
        return hidden, self.heads.key(hidden), added

    def _memory(self, states: Tensor, memory: MemoryBatch) -> tuple[Tensor, Tensor]:
        """Memory tokens (B, 1 + S, D), the null slot first, and which of them are filled."""
        states = torch.cat((states.new_zeros(1, states.shape[1]), states))
        own = F.embedding(memory.vocabulary_id + self.slot_row, self.events.table) * self.slot_has_id
        tokens = F.embedding(memory.place, states) + own + self.slot(self.slot_kind) + self.slot_gap(memory.gap)
        null = self.null_slot.expand(tokens.shape[0], 1, -1)
        filled = memory.place > 0
        return (
            self.memory_norm(torch.cat((null.to(tokens.dtype), tokens), dim=1)),
            torch.cat((torch.ones_like(filled[:, :1]), filled), dim=1),
        )

    def read(self, batch: Batch) -> Decoded:
        """Both halves: encode all histories, then decode."""
        # the events of all streams and of the sequence together: the table's gradient is then made once
        parts: list[StreamBatch | SequenceBatch] = [*batch.streams, batch.sequence]
        shapes = [part.gap.shape for part in parts]
        ids = torch.cat([part.ids.flatten(0, 1) for part in parts])
        gap = torch.cat([part.gap.flatten() for part in parts])
        weekday = torch.cat([part.weekday.flatten() for part in parts])
        vectors = self.events(ids, gap, weekday).split([shape.numel() for shape in shapes])
        *histories, sequence = (v.unflatten(0, shape) for v, shape in zip(vectors, shapes, strict=True))
        states = torch.cat(
            [
                encoder(events, reads.length, reads.history)
                for encoder, events, reads in zip(self.streams, histories, batch.reads, strict=True)
            ]
        )
        return self._decode(states, batch.memory, batch.sequence, sequence)

    def predict(self, decoded: Decoded, ids: Tensor, in_chain: Tensor) -> HeadOutput:
        """The heads at the first N' of the scored positions.

        Args:
            ids: (B, N', C) int64, the events that are predicted: the chain's context.
            in_chain: (B,) bool; False = marginals, whatever ``ids`` are.
        """
        n = ids.shape[1]
        context = earlier_categories(self.events.embed(ids), in_chain)
        return self.heads(decoded.hidden[:, :n], context, decoded.keys, decoded.is_source[:, :n])

    def forward(self, batch: Batch, targets: Targets) -> HeadOutput:
        """Predictions of the T targets, each from NOW and the targets before it."""
        return self.predict(self.read(batch), targets.context_ids, targets.in_chain)


def table_rows(schema: Schema, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Per category, its first row in the embedding table; a shared vocabulary has its rows once."""
    first: dict[str, int] = {}
    rows, end = [], 0
    for category, size in zip(schema.categories, sizes, strict=True):
        # a vocabulary may bear the name of a category that is not its own, hence the prefix
        name = f"vocabulary {category.vocabulary}" if category.vocabulary else f"category {category.name}"
        if name not in first:
            first[name] = end
            end += size
        rows.append(first[name])
    return tuple(rows)
