"""The engine as the server sees it, and how the model process gets one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from eventmodel.bundle import Bundle
from eventmodel.engine import Engine as BundleEngine
from eventmodel.engine.engine import BackendName, DeviceName
from eventmodel.engine.query import Answer, Query


class Engine(Protocol):
    """What the server needs of an engine."""

    def answer(self, queries: list[Query]) -> list[Answer]:
        """One answer per query, in their order."""
        ...


OpenEngine = Callable[[Bundle], Engine]
"""Opens an engine. It crosses to the model process, so it pickles."""


def open_bundle_engine(
    bundle: Bundle, *, backend: BackendName, device: DeviceName, threads: int, state_cache_mib: int
) -> Engine:
    """Open the bundle's own engine.

    Raises:
        ValueError: the bundle or the machine lacks what the backend needs.
    """
    # Imported here, because only the model process may load an inference library.
    from eventmodel.engine import open_engine

    return CountedEngine(open_engine(bundle, backend, device, threads, state_cache_mib * 2**20))


class CountedEngine:
    """An engine whose encoding shows in the metrics."""

    def __init__(self, engine: BundleEngine) -> None:
        self._engine, self._counted = engine, replace(engine.statistics)

    def answer(self, queries: list[Query]) -> list[Answer]:
        """One answer per query, in their order."""
        # here and not above: the metrics must not be imported before their directory is there
        from server.metrics import ENCODED_POSITIONS, STATES

        answers = self._engine.answer(queries)
        before, now = self._counted, self._engine.statistics
        STATES.labels("cached").inc(now.hits - before.hits)
        STATES.labels("encoded").inc(now.misses - before.misses)
        ENCODED_POSITIONS.labels("real").inc(now.tokens - before.tokens)
        ENCODED_POSITIONS.labels("padding").inc(now.padding - before.padding)
        self._counted = replace(now)
        return answers
