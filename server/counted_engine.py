"""An engine whose work shows in the metrics."""

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

from eventmodel.engine.query import Answer, Query
from eventmodel.engine.states import Statistics
from server.metrics import ENCODED_POSITIONS, GPU_MEMORY, IN_STAGE, STATES


class MeasuredEngine(Protocol):
    """An engine that says what its encoding has done."""

    @property
    def statistics(self) -> Statistics:
        """So far."""
        ...

    def answer(self, queries: list[Query], on_step: Callable[[], None]) -> list[Answer]:
        """As that of ``server.engine.Engine``."""
        ...


class _Work(NamedTuple):
    """What one batch took."""

    queries: int
    seconds: float
    before: Statistics
    after: Statistics


class CountedEngine:
    """Notes what an engine does, batch by batch, and counts it when there is time.

    Args:
        engine: which answers.
    """

    def __init__(self, engine: MeasuredEngine) -> None:
        self._engine, self._noted = engine, replace(engine.statistics)
        self._work: deque[_Work] = deque()

    def answer(self, queries: list[Query], on_step: Callable[[], None]) -> list[Answer]:
        """As that of ``server.engine.Engine``."""
        started, before = time.perf_counter(), self._noted
        try:
            return self._engine.answer(queries, on_step)
        finally:  # what fails has taken its time as well
            self._noted = replace(self._engine.statistics)
            self._work.append(_Work(len(queries), time.perf_counter() - started, before, self._noted))

    def count(self) -> None:
        """Let the metrics show the batches since; in any thread."""
        while self._work:
            queries, seconds, before, after = self._work.popleft()
            encoding = after.seconds - before.seconds
            for _ in range(queries):  # each request was there for all of it
                IN_STAGE["encode"].observe(encoding)
                IN_STAGE["decode"].observe(seconds - encoding)
            STATES.labels("cached").inc(after.hits - before.hits)
            STATES.labels("encoded").inc(after.misses - before.misses)
            ENCODED_POSITIONS.labels("real").inc(after.tokens - before.tokens)
            ENCODED_POSITIONS.labels("padding").inc(after.padding - before.padding)
        _measure_gpu()


def _measure_gpu() -> None:
    """Only where this process has torch work on one; the metric is missing elsewhere."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        GPU_MEMORY.labels("allocated").set(torch.cuda.memory_allocated())
        GPU_MEMORY.labels("reserved").set(torch.cuda.memory_reserved())
