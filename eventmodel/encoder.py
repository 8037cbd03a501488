"""Events to vectors, and histories to states.

Shapes: E entities, L events, C categories, D d_model.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventmodel.config import ModelConfig
from eventmodel.harmonics import OrderedRows, TimeOfDay
from eventmodel.layers import Block, RMSNorm, Rotary
from eventmodel.schema import Category
from eventmodel.time_context import N_GAP_BUCKETS, N_WEEKDAYS

_STD = 0.02
"""Of the initial embeddings."""


class EventEncoder(nn.Module):
    """The sum of an event's embeddings, then a norm.

    One table holds all categories (fields that share a vocabulary share its rows). Weekday, gap
    and the times of day are context: read, never predicted.
    """

    row_offset: Tensor
    row: Tensor

    def __init__(
        self,
        d_model: int,
        categories: tuple[Category, ...],
        sizes: tuple[int, ...],
        row_offset: tuple[int, ...],
        dropout: float,
    ) -> None:
        """
        Args:
            sizes: ids per category.
            row_offset: per category, its first row in the table.
            dropout: share of an event's categories that training leaves out of the sum: whole ones, because
                it is by rare combinations of them that a small log is learned by heart.
        """
        super().__init__()
        self.dropout = dropout
        n_rows = max(offset + size for offset, size in zip(row_offset, sizes, strict=True))
        self.register_buffer("row_offset", torch.tensor(row_offset), persistent=False)
        self.table = nn.Parameter(torch.empty(n_rows, d_model))
        # which row of the table stands for each: its own, or that of unknown for an id never seen in training
        self.register_buffer("row", torch.arange(n_rows))
        self.weekday = nn.Embedding(N_WEEKDAYS, d_model)
        self.gap = nn.Embedding(N_GAP_BUCKETS, d_model)
        self.norm = RMSNorm(d_model)
        self.ordered = OrderedRows(d_model, categories, sizes, row_offset, _STD)
        self.time_of_day = TimeOfDay(d_model, categories, _STD)
        for weight in (self.table, self.weekday.weight, self.gap.weight):
            nn.init.normal_(weight, std=_STD)

    @torch.no_grad()
    def read_unseen_as_unknown(self, counts: Sequence[np.ndarray]) -> None:
        """Let ids that never occur, like a month that is yet to come, be read as 0.

        Args:
            counts: per category, (V_c,) how often each id occurs.
        """
        offsets = self.row_offset.tolist()
        is_seen = torch.zeros(len(self.table), dtype=torch.bool)
        for count, offset in zip(counts, offsets, strict=True):
            is_seen[offset + np.flatnonzero(count)] = True
        start = torch.tensor(sorted(set(offsets)))
        unknown = start[torch.searchsorted(start, torch.arange(len(self.table)), right=True) - 1]
        self.row.copy_(torch.where(is_seen, torch.arange(len(self.table)), unknown))

    def is_seen(self, ids: Tensor) -> Tensor:
        """Which ids (..., C) have an embedding of their own: (..., C) bool."""
        rows = ids + self.row_offset
        return self.row[rows] == rows

    def embeddings(self) -> Tensor:
        """The table (rows, D) that ids are looked up in."""
        return self.ordered(self.table)

    def embed(self, ids: Tensor) -> Tensor:
        """Each category's embedding: ids (..., C) to (..., C, D)."""
        return F.embedding(self.row[ids + self.row_offset], self.embeddings())

    def embed_category(self, ids: Tensor, category: int, table: Tensor) -> Tensor:
        """One category's embedding: ids (...) to (..., D); ``table`` from ``embeddings``."""
        return F.embedding(self.row[ids + self.row_offset[category]], table)

    def forward(self, ids: Tensor, gap: Tensor, weekday: Tensor) -> Tensor:
        """ids (..., C), gap (...), weekday (...) to vectors (..., D)."""
        if torch.compiler.is_exporting():
            summed = self.embed(ids).sum(-2)  # ONNX has no embedding bag: it becomes a loop over events
        else:
            rows = self.row[ids + self.row_offset].flatten(0, -2)
            kept = None
            if self.training and self.dropout:
                kept = (torch.rand(rows.shape, device=rows.device) >= self.dropout) / (1 - self.dropout)
            # one fused gather-and-sum: never holds C vectors per event
            summed = F.embedding_bag(rows, self.embeddings(), mode="sum", per_sample_weights=kept)
            summed = summed.unflatten(0, ids.shape[:-1])
        return self.norm(summed + self.gap(gap) + self.weekday(weekday) + self.time_of_day(ids))


class StreamEncoder(nn.Module):
    """Causal transformer over one history; its state is the output at the last real event.

    A learned start token stands in front, so an empty history has a state too. The last block
    computes only the one position that the state is read from.
    """

    def __init__(self, config: ModelConfig, max_events: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(config.d_model))
        rotary = Rotary(config, max_events + 1)
        self.blocks = nn.ModuleList(Block(config, rotary) for _ in range(config.encoder_layers))
        self.norm = RMSNorm(config.d_model)

    def forward(self, events: Tensor, length: Tensor, history: Tensor | None = None) -> Tensor:
        """events (E, L, D) to states (N, D).

        Args:
            length: (N,) int64, events of its history that a state has read.
            history: (N,) int64, which of the E a state is of; None is one state of each.
        """
        start = self.start.expand(events.shape[0], 1, -1).to(events.dtype)
        x = torch.cat((start, events), dim=1)  # (E, L + 1, D): event k stands at position k, from 1
        *inner, last = self.blocks
        for block in inner:
            x = block(x)
        assert isinstance(last, Block)
        if history is not None:
            x = x.index_select(0, history)
        return self.norm(last.last(x, length))
