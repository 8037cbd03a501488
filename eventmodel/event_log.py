"""The event log: one table in the order of time, an index per stream, and ``gather``.

Training reads its batches from a log of years; the server lays the histories of its requests
out as a small table and reads them with the same functions. Order is by timestamp and, among
equal timestamps, by the row of the input: nothing that a label knows breaks a tie.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from eventmodel.codec import MICROSECONDS, Codec, Events, Vocabularies
from eventmodel.directory import write_directory
from eventmodel.header import Format
from eventmodel.schema import Schema

FORMAT = Format(
    "a prepared event log",
    name="event log",
    version=2,
    file="log.json",
    instead="make one with python -m training.prepare",
    again="prepare the log again",
)
"""A prepared log is a directory of this file and one .npy file per array."""
INDEX_COLUMNS = ("rows", "start", "vocabulary_id", "keys", "name_end", "name_text")
N_GAP_BUCKETS = 32
"""Bucket 0 is "no previous event"; bucket b holds gaps of 2**(b-1) - 1 seconds up to 2**b - 1."""
N_WEEKDAYS = 8
"""0 is padding; 1 is Monday."""
Part = Literal["training", "validation", "test", "all"]


class EventBatch(NamedTuple):
    """Rows of events, B of them with room for L events each; C categories."""

    ids: np.ndarray  # (B, L, C) int32; 0 = unknown or padding
    gap: np.ndarray  # (B, L)    int32; bucket of the seconds since the previous event of the row
    weekday: np.ndarray  # (B, L) int32; 0 = padding
    is_event: np.ndarray  # (B, L) bool; True = a real event


def gap_bucket(seconds: np.ndarray) -> np.ndarray:
    """Log2 bucket of an elapsed time: 1 for under a second, then one more per doubling."""
    return np.minimum(np.log2(np.maximum(seconds, 0) + 1).astype(np.int32) + 1, N_GAP_BUCKETS - 1)


def weekday(timestamp: np.ndarray, utc_offset: np.ndarray) -> np.ndarray:
    """1 for Monday to 7 for Sunday, on the wall clock."""
    days = (timestamp // MICROSECONDS + utc_offset) // 86_400
    return ((days + 3) % 7 + 1).astype(np.int32)  # 1 January 1970 was a Thursday


def hour(timestamp: np.ndarray, utc_offset: np.ndarray) -> np.ndarray:
    """Hour of the day on the wall clock, 0 to 23."""
    return ((timestamp // MICROSECONDS + utc_offset) // 3600 % 24).astype(np.int32)


def gather(events: Events, rows: np.ndarray) -> EventBatch:
    """Events by row of the table.

    Args:
        events: the table.
        rows: (B, L) integers, each row oldest first; -1 is padding, on either side.
    """
    is_event = rows >= 0
    if len(events.timestamp) == 0:
        zeros = np.zeros(rows.shape, np.int32)
        return EventBatch(np.zeros((*rows.shape, events.ids.shape[1]), np.int32), zeros, zeros, is_event)
    safe = np.maximum(rows, 0)
    ids = np.take(events.ids, safe, axis=0)
    ids[~is_event] = 0
    timestamp = events.timestamp[safe]
    has_previous = np.zeros_like(is_event)
    has_previous[:, 1:] = is_event[:, 1:] & is_event[:, :-1]
    elapsed = np.diff(timestamp, axis=1, prepend=timestamp[:, :1]) / MICROSECONDS
    gap = np.where(has_previous, gap_bucket(elapsed), 0).astype(np.int32)
    day = np.where(is_event, weekday(timestamp, events.utc_offset[safe]), 0).astype(np.int32)
    return EventBatch(ids, gap, day, is_event)


def window(end: np.ndarray, length: np.ndarray, width: int, align: str = "left") -> np.ndarray:
    """Positions of the ``length`` entries before ``end``, oldest first, -1 where there are none.

    Args:
        end: (B,) exclusive ends.
        length: (B,) how many entries exist, at most ``width`` of which are taken.
        align: ``left`` pads on the right, ``right`` pads on the left.

    Returns:
        (B, width) int64.
    """
    length = np.minimum(length, width)
    column = np.arange(width)
    shift = np.zeros_like(length) if align == "left" else width - length
    offset = column - shift[:, None]
    positions = (end - length)[:, None] + offset
    return np.where((offset >= 0) & (offset < length[:, None]), positions, -1)


@dataclass(frozen=True)
class StreamIndex:
    """Which rows of the table belong to which entity of a keyed stream.

    Entities are numbered in the order of their first event. All entities have a number, also
    those that the vocabulary does not know.
    """

    rows: np.ndarray  # (M,) int64: rows of entity 0 in order, then of entity 1, ...
    start: np.ndarray  # (E + 1,) int64: where each entity's rows start
    vocabulary_id: np.ndarray  # (E,) int32: the entity in the vocabulary of its category, 0 if none
    keys: np.ndarray  # (n, K) int32: the entities of each event, -1 where a key is blank
    name_end: np.ndarray  # (E,) int64: where each entity's name ends in
    name_text: np.ndarray  # (T,) uint8: the names, one after the other, in UTF-8 that passes surrogates

    def name(self, entity: int) -> str:
        """What the input calls an entity."""
        begin = self.name_end[entity - 1] if entity else 0
        return self.name_text[begin : self.name_end[entity]].tobytes().decode("utf-8", "surrogatepass")

    @cached_property
    def entity(self) -> np.ndarray:
        """(M,) int64: the entity at each position of ``rows``. As large as the log: ``entity_at`` tells of a few."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    def entity_at(self, position: np.ndarray) -> np.ndarray:
        """The entities at some positions of ``rows``."""
        return np.searchsorted(self.start, position, side="right") - 1  # every entity has an event

    def newest(self, entity: np.ndarray, last_row: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Each entity's newest events up to a row, ``width`` of them at most.

        Returns:
            The position after the newest one, and how many there are.
        """
        end = self.end(entity, last_row)
        return end, np.minimum(end - self.start[entity], width)

    def end(self, entity: np.ndarray, last_row: np.ndarray) -> np.ndarray:
        """Position after the entity's newest event that is not after row ``last_row``."""
        low, high = self.start[entity], self.start[entity + 1]  # rows increase within an entity
        while (is_open := low < high).any():
            middle = (low + high) // 2
            is_before = is_open & (self.rows[np.minimum(middle, len(self.rows) - 1)] <= last_row)
            low = np.where(is_before, middle + 1, low)
            high = np.where(is_open & ~is_before, middle, high)
        return low


def entity_names(names: Sequence[Sequence[str | None]]) -> list[str]:
    """The entities that events name, by their number in the index.

    Args:
        names: per key field, the entity named by each event; None where blank.
    """
    distinct = dict.fromkeys(chain.from_iterable(zip(*names, strict=True)))
    return [name for name in distinct if name is not None]


def index_stream(names: Sequence[Sequence[str | None]], vocabulary: Sequence[str] | None) -> StreamIndex:
    """Build the index of a keyed stream.

    Args:
        names: as ``entity_names`` takes them.
        vocabulary: the values of the category that embeds the entity, if there is one.
    """
    named = entity_names(names)
    number: dict[str | None, int] = {None: -1} | {name: entity for entity, name in enumerate(named)}
    n = len(names[0])
    keys = np.stack([np.fromiter(map(number.__getitem__, column), np.int32, n) for column in names], axis=1)
    entity, row = entities_of(keys)
    start = np.append(0, np.bincount(entity, minlength=len(named)).cumsum())
    known = {name: id_ for id_, name in enumerate(vocabulary or (), start=1)}
    ids = np.fromiter((known.get(name, 0) for name in named), np.int32, len(named))
    return StreamIndex(row[np.argsort(entity, kind="stable")], start, ids, keys, *text_of_names(named))


def text_of_names(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Where each name ends (E,), and all of them (T,), as a ``StreamIndex`` holds them."""
    texts = [name.encode("utf-8", "surrogatepass") for name in names]
    return np.cumsum([0, *map(len, texts)])[1:], np.frombuffer(b"".join(texts), np.uint8)


def entities_of(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which entity each event (n, K) belongs to; to one that it names twice, it belongs once.

    Returns:
        Entities, and the rows of their events; rows increase.
    """
    if keys.shape[1] > 1:
        keys = np.sort(keys, axis=1)
        is_again = np.zeros_like(keys, bool)
        is_again[:, 1:] = keys[:, 1:] == keys[:, :-1]
        keys = np.where(is_again, -1, keys)
    row, column = np.nonzero(keys >= 0)
    return keys[row, column], row


@dataclass(frozen=True)
class EventLog:
    """A prepared log: the table, the stream indices and the chronological split."""

    schema: Schema
    vocabularies: Vocabularies
    events: Events
    streams: dict[str, StreamIndex]
    """By name; a stream without keys has no index: it is the table itself."""
    train_end: int
    """Rows before this one are the training part, from which the vocabularies come."""
    validation_end: int
    """Rows from ``train_end`` up to this one are the validation part; the rest is the test part."""

    @cached_property
    def codec(self) -> Codec:
        """Reads and writes events with the log's vocabularies."""
        return Codec(self.schema, self.vocabularies)

    @property
    def focus(self) -> StreamIndex:
        """The index of the focus stream."""
        return self.streams[self.schema.focus]

    def part(self, name: Part) -> tuple[int, int]:
        """The rows [begin, end) of a part of the log."""
        n = len(self.events.timestamp)
        return {
            "training": (0, self.train_end),
            "validation": (self.train_end, self.validation_end),
            "test": (self.validation_end, n),
            "all": (0, n),
        }[name]

    def save(self, path: Path) -> None:
        """Write a directory of arrays and JSON, whole or not at all.

        Raises:
            OSError: the directory cannot be written; nothing is left behind.
        """
        arrays = {f"events.{name}": column for name, column in self.events._asdict().items()}
        for name, index in self.streams.items():
            arrays |= {f"{name}.{column}": getattr(index, column) for column in INDEX_COLUMNS}
        with write_directory(path, replaces=FORMAT.file) as directory:
            for name, array in arrays.items():
                np.save(array_path(directory, name), array, allow_pickle=False)
            write_header(directory, self.schema, self.vocabularies, self.train_end, self.validation_end)

    @classmethod
    def load(cls, path: Path, is_mapped: bool = True) -> "EventLog":
        """Read a directory that ``save`` or ``LogWriter`` wrote.

        Args:
            is_mapped: leave the arrays on the disk and read what is used; otherwise read them whole.

        Raises:
            ValueError: not an event log, of another format, or damaged.
        """
        header = FORMAT.read(path)

        def column(name: str) -> np.ndarray:
            try:
                # a plain array over the map: a memmap's own indexing is slower
                return np.asarray(np.load(array_path(path, name), "r" if is_mapped else None, allow_pickle=False))
            except (OSError, EOFError, ValueError) as error:
                raise ValueError(f"{path} is damaged: {error}; {FORMAT.again}") from None

        with FORMAT.reading(path):
            schema = Schema.model_validate(header["schema"])
            keyed = [stream.name for stream in schema.streams if stream.keys]
            return cls(
                schema=schema,
                vocabularies=header["vocabularies"],
                events=Events(*(column(f"events.{name}") for name in Events._fields)),
                streams={name: StreamIndex(*(column(f"{name}.{c}") for c in INDEX_COLUMNS)) for name in keyed},
                train_end=header["train_end"],
                validation_end=header["validation_end"],
            )


def array_path(directory: Path, name: str) -> Path:
    """Where a log keeps ``events.COLUMN`` or ``STREAM.COLUMN``."""
    return directory / f"{name}.npy"


def write_header(
    directory: Path, schema: Schema, vocabularies: Vocabularies, train_end: int, validation_end: int
) -> None:
    """Write what a log holds beside its arrays."""
    header = {
        **FORMAT.header(),
        "train_end": train_end,
        "validation_end": validation_end,
        "schema": schema.model_dump(mode="json"),
        "vocabularies": {name: list(values) for name, values in vocabularies.items()},
    }
    (directory / FORMAT.file).write_text(json.dumps(header), "utf-8")


def newest_distinct(keys: np.ndarray, limit: int) -> np.ndarray:
    """The first ``limit`` distinct values of each row, in order; -1 fills up.

    Args:
        keys: (B, W) integers, newest first; -1 is none.

    Returns:
        (B, limit).
    """
    batch, width = keys.shape
    order = np.argsort(keys, axis=1, kind="stable")
    ordered = np.take_along_axis(keys, order, axis=1)
    first = np.ones_like(ordered, bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    is_first = np.empty_like(first)
    np.put_along_axis(is_first, order, first, axis=1)
    is_first &= keys >= 0
    rank = np.cumsum(is_first, axis=1) - 1
    result = np.full((batch, limit + 1), -1, keys.dtype)  # the last column takes what is over
    row = np.broadcast_to(np.arange(batch)[:, None], (batch, width))
    result[row, np.where(is_first, np.minimum(rank, limit), limit)] = keys
    return result[:, :limit]
