"""What a backend is: three computations on arrays. Which one runs them is a detail behind it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from eventmodel.batch import MemoryBatch, SequenceBatch, StreamBatch


class DecodedStep(NamedTuple):
    """The next event's distribution, and what the chain needs. V is the sum of category sizes."""

    log_probs: np.ndarray  # (B, V) float32
    hidden: np.ndarray  # (B, D)
    keys: np.ndarray  # (B, Q, D)
    is_source: np.ndarray  # (B, Q) bool


class ChainStep(NamedTuple):
    """One event of the chain."""

    chosen: np.ndarray  # (B, C) int64
    log_prob: np.ndarray  # (B, C) float32, each given the categories before it


class Backend(Protocol):
    """Runs the graphs of ``eventmodel.engine.graphs``; shapes as there."""

    def encode(self, stream: str, batch: StreamBatch) -> np.ndarray:
        """States (E, D) of one kind's histories; E is at least 1."""
        ...

    def decode(self, states: np.ndarray, memory: MemoryBatch, sequence: SequenceBatch) -> DecodedStep:
        """The event after the last position of the sequence."""
        ...

    def chain(
        self, step: DecodedStep, source_ids: np.ndarray, noise: np.ndarray, allowed: np.ndarray, forced: np.ndarray
    ) -> ChainStep:
        """Choose or score one event, category by category."""
        ...


def chain_inputs(
    step: DecodedStep, source_ids: np.ndarray, noise: np.ndarray, allowed: np.ndarray, forced: np.ndarray
) -> Sequence[np.ndarray]:
    """The chain graph's inputs in their order."""
    return (step.hidden, step.keys, step.is_source, source_ids, noise, allowed, forced)
