"""Writes a prepared log that need not fit in memory: events in the order of the log, a batch at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from eventmodel.array_file import ArrayFile
from eventmodel.codec import Vocabularies
from eventmodel.event_log import array_path, write_header
from eventmodel.schema import Schema
from eventmodel.stream_index import entities_of, text_of_names

AT_ONCE = 1 << 22
"""Events of an index that are sorted together; 32 bytes of memory each."""
READ_ROWS = 1 << 20
"""Rows that are read at a time."""


def write_timestamps(directory: Path, batches: Iterable[np.ndarray]) -> np.ndarray:
    """Write when events happened, in the order of the log, ahead of all else.

    Args:
        batches: (k,) int64 microseconds each.

    Returns:
        (n,) the whole, mapped.
    """
    path = array_path(directory, "events.timestamp")
    with ArrayFile(path, np.int64) as file:
        for timestamp in batches:
            file.append(timestamp)
    return np.asarray(np.load(path, "r"))


class LogWriter:
    """The other arrays of one log, growing.

    Nothing is held in memory but some numbers per entity. Entities are numbers from 0 in whatever
    order they were met; the index numbers them in the order of their first event.
    """

    def __init__(self, directory: Path, schema: Schema, n_names: Mapping[str, int]) -> None:
        """Begin in an empty directory.

        Args:
            n_names: per keyed stream, how many entities there may be.
        """
        self._directory, self._schema = directory, schema
        with ExitStack() as files:

            def new(name: str, dtype: type, width: int | None = None) -> ArrayFile:
                return files.enter_context(ArrayFile(array_path(directory, name), dtype, width))

            self._offset = new("events.utc_offset", np.int32)
            self._ids = new("events.ids", np.int32, len(schema.categories))
            self._streams = {
                s.name: _IndexWriter(
                    new(f"{s.name}.keys", np.int32, len(s.keys)), new(f"{s.name}.rows", np.int64), n_names[s.name]
                )
                for s in schema.streams
                if s.keys
            }
            self._files = files.pop_all()

    def append(self, ids: np.ndarray, utc_offset: np.ndarray, names: Mapping[str, np.ndarray]) -> None:
        """Write the next k events.

        Args:
            ids: (k, C).
            utc_offset: (k,) seconds.
            names: per keyed stream with K keys, (k, K) the entities named; -1 where blank.
        """
        self._ids.append(ids)
        self._offset.append(utc_offset)
        for stream, index in self._streams.items():
            index.append(names[stream])

    def entities(self, stream: str) -> int:
        """How many entities of a stream the events have named so far."""
        return self._streams[stream].entities

    def index(
        self, stream: str, names: Sequence[str], vocabulary_id: np.ndarray, advance: Callable[[int, int], object]
    ) -> None:
        """Finish a stream's index, once all events are written.

        Args:
            names: (n_names,) of each entity.
            vocabulary_id: (n_names,) of each entity, 0 where it has none.
            advance: called now and then with how much is done of how much.
        """
        index = self._streams[stream]
        with ArrayFile(array_path(self._directory, f"{stream}.start"), np.int64) as file:
            file.append(index.start)
        with ArrayFile(array_path(self._directory, f"{stream}.vocabulary_id"), np.int32) as file:
            file.append(vocabulary_id[index.named])
        with (
            ArrayFile(array_path(self._directory, f"{stream}.name_end"), np.int64) as ends,
            ArrayFile(array_path(self._directory, f"{stream}.name_text"), np.uint8) as text,
        ):
            named = index.named
            for begin in range(0, len(named), READ_ROWS):
                end, some = text_of_names([names[i] for i in named[begin : begin + READ_ROWS].tolist()])
                ends.append(end + len(text))
                text.append(some)
        index.write_rows(advance)

    def finish(self, vocabularies: Vocabularies, train_end: int, validation_end: int) -> None:
        """Write what a log holds beside its arrays."""
        write_header(self._directory, self._schema, vocabularies, train_end, validation_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()


class _IndexWriter:
    """The index of one keyed stream."""

    def __init__(self, keys: ArrayFile, rows: ArrayFile, n_names: int) -> None:
        self._keys, self._rows = keys, rows
        self._entity = np.full(n_names + 1, -1, np.int32)  # the last one is that of a blank, so that -1 finds it
        self._count = np.zeros(n_names, np.int64)
        self._named: list[np.ndarray] = []

    @property
    def entities(self) -> int:
        return sum(map(len, self._named))

    @property
    def named(self) -> np.ndarray:
        """(E,) the entities in the order of their first event."""
        return np.concatenate([*self._named, np.empty(0, np.int64)])

    @property
    def start(self) -> np.ndarray:
        """(E + 1,) where each entity's rows start."""
        return np.append(0, self._count[: self.entities].cumsum())

    def append(self, names: np.ndarray) -> None:
        """Number the entities that the next events (k, K) name."""
        new = names[(names >= 0) & (self._entity[names] < 0)]
        if len(new):
            values, first = np.unique(new, return_index=True)
            in_order = values[np.argsort(first)].astype(np.int64)
            self._entity[in_order] = np.arange(self.entities, self.entities + len(in_order))
            self._named.append(in_order)
        keys = self._entity[names]
        self._keys.append(keys)
        entity, _ = entities_of(keys)
        self._count += np.bincount(entity, minlength=len(self._count))

    def write_rows(self, advance: Callable[[int, int], object]) -> None:
        """Write the rows of entity 0 in order, then of entity 1, and so on.

        Each run over the keys takes as many entities as fit in memory; the rows of an entity that
        does not fit are in order as they come.
        """
        start, n = self.start, len(self._keys)
        firsts = [0]
        while firsts[-1] < len(start) - 1:
            fitting = int(np.searchsorted(start, start[firsts[-1]] + AT_ONCE, side="right")) - 1
            firsts.append(max(fitting, firsts[-1] + 1))
        done, total = 0, n * (len(firsts) - 1)
        for first, last in pairwise(firsts):
            found = []
            for entity, row, end in self._pairs(first, last):
                if last == first + 1:
                    self._rows.append(row)
                else:
                    found.append((entity, row))
                advance(done + end, total)
            if found:
                entities, rows = (np.concatenate(column) for column in zip(*found, strict=True))
                self._rows.append(rows[np.argsort(entities, kind="stable")])
            done += n

    def _pairs(self, first: int, last: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Entities in [first, last) with the rows of their events, and up to which row all are told."""
        for begin in range(0, len(self._keys), READ_ROWS):
            end = min(begin + READ_ROWS, len(self._keys))
            keys = self._keys.read(begin, end)
            is_in = (keys >= first) & (keys < last)
            rows = np.flatnonzero(is_in.any(1))
            entity, at = entities_of(np.where(is_in[rows], keys[rows], -1))
            yield entity, rows[at] + begin, end
