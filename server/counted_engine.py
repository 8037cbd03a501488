"""An engine whose work shows in the metrics."""

import sys
import time
from dataclasses import replace
from typing import Protocol

from eventmodel.engine.query import Answer, Query
from eventmodel.engine.states import Statistics
from server.metrics import ENCODED_POSITIONS, GPU_MEMORY, IN_STAGE, STATES


class MeasuredEngine(Protocol):
    """An engine that says what its encoding has done."""

    @property
    def statistics(self) -> Statistics:
        """So far."""
        ...

    def answer(self, queries: list[Query]) -> list[Answer]:
        """One answer per query, in their order."""
        ...


class CountedEngine:
    """Counts what an engine does, batch by batch.

    Args:
        engine: which answers.
    """

    def __init__(self, engine: MeasuredEngine) -> None:
        self._engine, self._counted = engine, replace(engine.statistics)

    def answer(self, queries: list[Query]) -> list[Answer]:
        """One answer per query, in their order."""
        started = time.perf_counter()
        answers = self._engine.answer(queries)
        seconds = time.perf_counter() - started
        before, now = self._counted, self._engine.statistics
        encoding = now.seconds - before.seconds
        for _ in queries:  # each request was there for all of it
            IN_STAGE["encode"].observe(encoding)
            IN_STAGE["decode"].observe(seconds - encoding)
        STATES.labels("cached").inc(now.hits - before.hits)
        STATES.labels("encoded").inc(now.misses - before.misses)
        ENCODED_POSITIONS.labels("real").inc(now.tokens - before.tokens)
        ENCODED_POSITIONS.labels("padding").inc(now.padding - before.padding)
        self._counted = replace(now)
        _measure_gpu()
        return answers


def _measure_gpu() -> None:
    """Only where this process has torch work on one; the metric is missing elsewhere."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        GPU_MEMORY.labels("allocated").set(torch.cuda.memory_allocated())
        GPU_MEMORY.labels("reserved").set(torch.cuda.memory_reserved())
