"""The event log: one table in the order of time, an index per stream, and ``gather``.

Training reads its batches from a log of years; the server lays the histories of its requests
out as a small table and reads them with the same functions. Order is by timestamp and, among
equal timestamps, by the row of the input: nothing that a label knows breaks a tie.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from eventmodel.codec import MICROSECONDS, Codec, Events, Vocabularies
from eventmodel.directory import write_directory
from eventmodel.header import Format
from eventmodel.schema import Schema
from eventmodel.stream_index import INDEX_COLUMNS, StreamIndex
from eventmodel.time_context import gap_bucket, weekday

FORMAT = Format(
    "a prepared event log",
    name="event log",
    version=2,
    file="log.json",
    instead="make one with python -m training.prepare",
    again="prepare the log again",
)
"""A prepared log is a directory of this file and one .npy file per array."""
Part = Literal["training", "validation", "test", "all"]


class EventBatch(NamedTuple):
    """Rows of events, B of them with room for L events each; C categories."""

    ids: np.ndarray  # (B, L, C) int32; 0 = unknown or padding
    gap: np.ndarray  # (B, L)    int32; bucket of the seconds since the previous event of the row
    weekday: np.ndarray  # (B, L) int32; 0 = padding
    is_event: np.ndarray  # (B, L) bool; True = a real event


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


def window(end: np.ndarray, length: np.ndarray, width: int, align: Literal["left", "right"] = "left") -> np.ndarray:
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
            vocabularies, train_end, validation_end = (
                header[name] for name in ("vocabularies", "train_end", "validation_end")
            )
        return cls(
            schema=schema,
            vocabularies=vocabularies,
            events=Events(*(column(f"events.{name}") for name in Events._fields)),
            streams={
                s.name: StreamIndex(*(column(f"{s.name}.{c}") for c in INDEX_COLUMNS)) for s in schema.streams if s.keys
            },
            train_end=train_end,
            validation_end=validation_end,
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
