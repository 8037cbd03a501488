"""Histories to states: each once, in batches of about the same length."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from eventmodel.batch import StreamBatch
from eventmodel.context import StreamRows, stream_batch
from eventmodel.engine.backend import Backend, Native
from eventmodel.engine.buckets import length_buckets
from eventmodel.engine.state_cache import StateCache, digest


@dataclass
class Statistics:
    """What encoding has done so far. Operators watch the hit rate and the padding."""

    hits: int = 0
    """Histories whose state was there already, in the cache or in the same batch."""
    misses: int = 0
    """Histories that were encoded."""
    tokens: int = 0
    """Positions that were encoded: events, and a start token each."""
    padding: int = 0
    """Positions that were computed for nothing, because a batch has one length."""
    seconds: float = 0
    """Time that it took; on a GPU, that handing over its work took."""


class StateEncoder:
    """Encodes what the cache does not hold."""

    def __init__(self, backend: Backend, d_model: int, cache_bytes: int) -> None:
        self._backend, self._d_model = backend, d_model
        self._cache = StateCache(backend, d_model, cache_bytes)
        self.statistics = Statistics()

    def encode(self, streams: Sequence[tuple[str, StreamRows]]) -> Native:
        """States (E, D) of the histories of all kinds, one kind after the other."""
        started = time.perf_counter()
        keys = [key for name, rows in streams for key in _digests(name, rows)]
        first: dict[bytes, int] = {}
        place = np.fromiter((first.setdefault(key, len(first)) for key in keys), np.int64, len(keys))
        distinct = list(first)
        slots = self._cache.find(distinct)
        missing = np.flatnonzero(slots < 0)
        self.statistics.misses += len(missing)
        self.statistics.hits += len(keys) - len(missing)

        states = self._backend.native(np.zeros((len(distinct), self._d_model), np.float32))
        found = np.flatnonzero(slots >= 0)
        if len(found):
            states[found] = self._cache.get(slots[found])
        if len(missing):
            self._fill(states, missing, place, streams)
            self._cache.put([distinct[i] for i in missing], states[missing])
        result = states if len(distinct) == len(keys) else states[place]
        self.statistics.seconds += time.perf_counter() - started
        return result

    def _fill(
        self, states: Native, missing: np.ndarray, place: np.ndarray, streams: Sequence[tuple[str, StreamRows]]
    ) -> None:
        """Encode the first history of each missing state."""
        example = np.full(len(states), -1)
        example[place[::-1]] = np.arange(len(place))[::-1]  # the first one is written last
        # all batches are made before one is encoded, which leaves nothing of Python in a processor's caches
        for name, batch, places in list(self._batches(streams, example[missing], place)):
            states[places] = self._backend.run(f"encode_{name}", batch)[0]

    def _batches(
        self, streams: Sequence[tuple[str, StreamRows]], wanted: np.ndarray, place: np.ndarray
    ) -> Iterator[tuple[str, StreamBatch, np.ndarray]]:
        """Histories ``wanted`` (n,) of all kinds, in batches of one kind, and the places of their states."""
        start = 0
        for name, rows in streams:
            of_kind = wanted[(wanted >= start) & (wanted < start + len(rows.rows))] - start
            length = (rows.rows[of_kind] >= 0).sum(1)
            for bucket in length_buckets(length):
                some, longest = of_kind[bucket], max(int(length[bucket].max()), 1)
                yield name, stream_batch(rows.events, rows.rows[some, :longest]), place[start + some]
                self.statistics.tokens += int(length[bucket].sum()) + len(bucket)
                self.statistics.padding += int((longest - length[bucket]).sum())
            start += len(rows.rows)


def _digests(stream: str, rows: StreamRows) -> list[bytes]:
    """Of each history; its rows stand one after the other in the table."""
    length = (rows.rows >= 0).sum(1)
    start = np.where(length > 0, rows.rows[:, 0], 0)
    return [digest(stream, rows.events, s, s + n) for s, n in zip(start.tolist(), length.tolist(), strict=True)]
