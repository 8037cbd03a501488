"""What is smooth about ids that have an order: hours stand on a circle, buckets of a number on a line.

A table of rows, one per id, learns of each id alone. Added to it, a linear map of a few harmonics
learns of all ids together that 07:58 is near 08:02, and lets a network add: a rotation is a sum.

Shapes: D d_model, F features, K datetime fields, V ids.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventmodel.schema import Category

N_HARMONICS = 12
MINUTES = 1440
PER_DAY = (1, 2, 3, 4, 6, 8, 12, 24, 48, 72, 96, 144, 288)
"""Rotations a day, from one to one in five minutes; 24 is the minute of the hour."""


def harmonics(category: Category, size: int) -> np.ndarray:
    """Features (size, F) fp32 of a category's ids, of length 1 on average; F is 0 where ids have no order.

    Those of id 0, unknown, are 0. High harmonics weigh less.
    """
    n = size - 1
    if category.kind == "datetime":
        k = np.arange(1, min(n // 2, N_HARMONICS) + 1)
        angle = 2 * np.pi * np.arange(n)[:, None] * k / n
        found = np.concatenate((np.cos(angle), np.sin(angle)), 1) / np.tile(k, 2) ** 0.5
    elif category.kind == "number":
        k = np.arange(1, min(n - 1, N_HARMONICS) + 1)
        found = np.cos(np.pi * (np.arange(n)[:, None] + 0.5) * k / n) / k**0.5
    else:
        return np.zeros((size, 0), np.float32)
    scale = np.sqrt((found**2).sum(1).mean()) if found.size else 1.0
    return np.concatenate((np.zeros((1, found.shape[1])), found / scale)).astype(np.float32)


class OrderedRows(nn.Module):
    """Adds to a table (rows, D) what is smooth about its ordered rows."""

    features: Tensor
    rows: Tensor

    def __init__(
        self,
        d_model: int,
        categories: tuple[Category, ...],
        sizes: tuple[int, ...],
        starts: tuple[int, ...],
        std: float,
    ) -> None:
        """
        Args:
            sizes: ids per category.
            starts: per category, its first row in the table.
            std: of the initial weights.
        """
        super().__init__()
        found = [torch.from_numpy(harmonics(c, size)) for c, size in zip(categories, sizes, strict=True)]
        ordered = [(start, block) for start, block in zip(starts, found, strict=True) if block.shape[1]]
        rows = [torch.arange(start, start + len(block)) for start, block in ordered]
        self.is_whole = len(ordered) == len(found)
        # of ordered rows only, because most rows are names
        self.register_buffer("features", torch.block_diag(*(block for _, block in ordered)), persistent=False)
        self.register_buffer("rows", torch.cat(rows), persistent=False)
        self.weight = nn.Parameter(torch.randn(self.features.shape[1], d_model) * std)

    def forward(self, table: Tensor) -> Tensor:
        """Table (rows, D) to the same shape."""
        added = (self.features @ self.weight).to(table.dtype)
        # the exporter takes a sum into all rows for a replacement
        return table + added if self.is_whole else table.index_add(0, self.rows, added)


class TimeOfDay(nn.Module):
    """A vector for the time of day of an event's datetimes: hour and minute as one angle."""

    phase: Tensor

    def __init__(self, d_model: int, categories: tuple[Category, ...], std: float) -> None:
        """
        Args:
            std: of the initial weights.
        """
        super().__init__()
        places = {(category.field, category.part): c for c, category in enumerate(categories)}
        self.hours = [c for (_, part), c in places.items() if part == "Hour"]
        self.minutes = [places[categories[c].field, "Minute"] for c in self.hours]
        angle = 2 * np.pi * np.arange(MINUTES)[:, None] * np.array(PER_DAY) / MINUTES
        waves = np.concatenate((np.cos(angle), np.sin(angle)), 1) / np.sqrt(len(PER_DAY))
        phase = torch.from_numpy(waves.astype(np.float32))
        # row 0 is a time that is not known
        self.register_buffer("phase", torch.cat((torch.zeros_like(phase[:1]), phase)), persistent=False)
        self.map = nn.Linear(len(self.hours) * phase.shape[1], d_model, bias=False)
        nn.init.normal_(self.map.weight, std=std)

    def forward(self, ids: Tensor) -> Tensor:
        """An event's ids (..., C) to (..., D)."""
        hour, minute = ids[..., self.hours], ids[..., self.minutes]  # (..., K), counted from 1
        row = torch.where((hour > 0) & (minute > 0), 60 * hour + minute - 60, 0)
        return self.map(F.embedding(row, self.phase).flatten(-2))
