"""Sequences that the decoder has read, and that grow event by event without being read again.

What has been read is cached: of each block the keys and values, and the pointer's keys. They stand
in buffers with room for all events to come, which are allocated once and written in place, so a
step costs what one position costs.

Shapes: B sequences, Q positions (with room), S slots, C categories, V the sum of their sizes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from eventmodel.batch import MemoryBatch, SequenceBatch
from eventmodel.config import ModelConfig
from eventmodel.engine.backend import Backend, Native

Rows = slice | np.ndarray
"""Which sequences: a slice shares memory, an array of indices copies and may repeat."""


class ChainStep(NamedTuple):
    """One event of the chain."""

    chosen: np.ndarray  # (B, C) int64
    log_prob: np.ndarray  # (B, C) float32, each given the categories before it


class Decoding:
    """B sequences. Start with ``Decoding.of``."""

    def __init__(
        self,
        backend: Backend,
        config: ModelConfig,
        length: int,
        host: dict[str, np.ndarray],
        native: dict[str, Native],
        cache: Sequence[Native],
    ) -> None:
        """
        Args:
            length: positions that have been read.
            host: ``is_token`` (B, Q), ``is_filled`` (B, 1 + S), ``source_ids`` (B, Q, C).
            native: ``log_probs`` (B, V), ``hidden`` (B, D), ``keys`` (B, Q, D).
            cache: keys and values of the blocks, of the sequence and then of the memory.
        """
        self._backend, self._config, self.length = backend, config, length
        self._host, self._native, self._cache = host, native, cache

    @classmethod
    def of(
        cls,
        backend: Backend,
        config: ModelConfig,
        states: Native,
        memory: MemoryBatch,
        sequence: SequenceBatch,
        room: int = 0,
    ) -> "Decoding":
        """Read whole sequences.

        Args:
            states: (E, D), of all kinds in the schema's order.
            room: how many events will be appended at most.
        """
        log_probs, hidden, keys, *cache = backend.run("decode", (states, *memory, *sequence))
        batch, length = sequence.is_token.shape
        host = {
            "is_token": sequence.is_token,
            "is_filled": np.concatenate((np.ones((batch, 1), bool), memory.place > 0), 1),
            "source_ids": sequence.ids,
        }
        if room:
            for name in ("is_token", "source_ids"):
                array = host[name]
                host[name] = np.zeros((batch, length + room, *array.shape[2:]), array.dtype)
                host[name][:, :length] = array
            blocks = len(cache) // 2

            def widened(array: Native, axis: int) -> Native:
                shape = list(array.shape)
                shape[axis] += room
                wide = backend.zeros(tuple(shape), array)
                wide[(slice(None),) * axis + (slice(length),)] = array
                return wide

            keys = widened(keys, 1)
            cache = [*(widened(array, 2) for array in cache[:blocks]), *cache[blocks:]]
        return cls(backend, config, length, host, {"log_probs": log_probs, "hidden": hidden, "keys": keys}, cache)

    def __len__(self) -> int:
        return len(self._host["is_token"])

    @property
    def key_size(self) -> int:
        """Numbers of one sequence's keys, which the chain reads."""
        return self.length * int(self._native["keys"].shape[2])

    @property
    def read(self) -> np.ndarray:
        """(B, Q, C) int32: the events read so far, among which copying chooses; zeros for padding."""
        return self._host["source_ids"][:, : self.length]

    @property
    def log_probs(self) -> np.ndarray:
        """(B, V) float32: each category's distribution on its own, of the next event."""
        return self._backend.host(self._native["log_probs"])

    def take(self, rows: Rows) -> "Decoding":
        """Some of the sequences, or some of them several times."""
        host = {name: array[rows] for name, array in self._host.items()}
        native = {name: array[rows] for name, array in self._native.items()}
        return Decoding(self._backend, self._config, self.length, host, native, [array[rows] for array in self._cache])

    def append(self, ids: np.ndarray, gap: np.ndarray, weekday: np.ndarray) -> None:
        """Read one event more of every sequence.

        Args:
            ids: (B, C).
            gap: (B,) bucket of the time since the event before.
            weekday: (B,).
        """
        at, backend = self.length, self._backend
        native, host = self._native, self._host
        event = (ids[:, None].astype(np.int32), gap[:, None].astype(np.int32), weekday[:, None].astype(np.int32))
        position = np.array([at], np.int64)
        past = (host["is_token"], host["is_filled"], native["keys"], host["source_ids"])
        log_probs, hidden, key, *added = backend.run("step", (*event, position, *past, *self._cache))
        native["log_probs"], native["hidden"] = log_probs, hidden
        native["keys"][:, at : at + 1] = key
        for array, new in zip(self._cache, added, strict=False):  # the memory's stay as they are
            array[:, :, at : at + 1] = new
        host["is_token"][:, at] = True
        host["source_ids"][:, at : at + 1] = event[0]
        self.length += 1

    def chain(self, rows: Rows, noise: np.ndarray, allowed: np.ndarray, forced: np.ndarray | None = None) -> ChainStep:
        """Choose or score the next event of some sequences, category by category.

        Args:
            noise: (n, V) float32; 0 is greedy.
            allowed: (n, V) bool.
            forced: (n, C), ids to take whatever their probability, -1 where one is to be chosen; None chooses all.
        """
        return self._chain("chain", rows, noise, allowed, forced, ())

    def nucleus(
        self, rows: Rows, noise: np.ndarray, allowed: np.ndarray, temperature: np.ndarray, top_p: np.ndarray
    ) -> ChainStep:
        """Choose among the most probable ids that together reach ``top_p`` (n,) at a ``temperature`` (n,)."""
        return self._chain("nucleus", rows, noise, allowed, None, (temperature, top_p))

    def _chain(
        self,
        graph: str,
        rows: Rows,
        noise: np.ndarray,
        allowed: np.ndarray,
        forced: np.ndarray | None,
        more: tuple[np.ndarray, ...],
    ) -> ChainStep:
        backend = self._backend
        read = slice(self.length)  # without the room
        is_event = self._host["is_token"][rows, read].copy()
        is_event[:, self._config.focus_events] = False  # NOW is none
        source_ids = self._host["source_ids"][rows, read]
        if forced is None:
            forced = np.full((len(noise), source_ids.shape[2]), -1, np.int32)
        hidden, keys = self._native["hidden"][rows], self._native["keys"][rows, read]
        found = backend.run(graph, (hidden, keys, is_event, source_ids, noise, allowed, forced, *more))
        return ChainStep(*(backend.host(array) for array in found))
