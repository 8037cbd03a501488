"""What a prediction reads of the past: the same construction for a log and for a request.

A prediction has a focus and a now. This module turns *positions* into the parts of a ``Batch``; which
positions they are is the affair of whoever asks: training draws them from a log's indices,
the engine lays the histories of its queries out as a table and lists them.

Shapes: B samples, E entities, P focus events, F future events, S slots.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from eventmodel.batch import MemoryBatch, SequenceBatch, StreamBatch
from eventmodel.codec import MICROSECONDS, Events
from eventmodel.event_log import gather
from eventmodel.time_context import gap_bucket, hour, weekday


class StreamRows(NamedTuple):
    """The entities of one stream in a batch."""

    events: Events  # the table that ``rows`` points into
    rows: np.ndarray  # (E, L) int64, oldest first, right-padded with -1; the memory looks at the newest only
    entity: np.ndarray  # (B, max_entities) int64: which of the E stands in each slot, -1 = none
    vocabulary_id: np.ndarray  # (E,) int32


def stream_batch(events: Events, rows: np.ndarray) -> StreamBatch:
    """One kind's histories, ready to encode; ``rows`` (E, L) as in ``StreamRows``."""
    batch = gather(events, rows)
    return StreamBatch(batch.ids, batch.gap, batch.weekday, batch.is_event.sum(1, dtype=np.int64))


def memory_batch(streams: Sequence[StreamRows], now: np.ndarray) -> MemoryBatch:
    """Slots of the memory.

    Args:
        now: (B,) int64 microseconds.
    """
    place, ids, gaps, offset = [], [], [], 1
    for stream in streams:
        n = len(stream.rows)
        filled = stream.entity >= 0
        entity = np.maximum(stream.entity, 0)
        place.append(np.where(filled, entity + offset, 0))
        offset += n
        if n == 0:  # nobody of this kind in the whole batch
            ids.append(np.zeros_like(entity, np.int32))
            gaps.append(np.zeros_like(entity, np.int32))
            continue
        ids.append(np.where(filled, stream.vocabulary_id[entity], 0).astype(np.int32))
        last_row = stream.rows.max(1)
        last_time = stream.events.timestamp[np.maximum(last_row, 0)] if len(stream.events.timestamp) else last_row
        elapsed = gap_bucket((now[:, None] - last_time[entity]) / MICROSECONDS)
        gaps.append(np.where(filled & (last_row[entity] >= 0), elapsed, 0).astype(np.int32))
    return MemoryBatch(*(np.concatenate(parts, 1) for parts in (place, ids, gaps)))


def sequence_batch(
    events: Events,
    past: np.ndarray,
    now: np.ndarray,
    now_utc_offset: np.ndarray,
    since_last: np.ndarray,
    future: np.ndarray,
) -> SequenceBatch:
    """The decoder's sequence: past events, NOW, future events.

    Args:
        events: the table that ``past`` and ``future`` point into.
        past: (B, P) int64 rows of the focus's newest events, left-padded with -1.
        now: (B,) int64 microseconds.
        now_utc_offset: (B,) int32 seconds.
        since_last: (B,) int32 bucket of the time since the focus's last event.
        future: (B, F) int64 rows of the events after now, right-padded with -1.
    """
    batch, p = past.shape
    taken = gather(events, np.concatenate((past, future), 1))

    def with_now(column: np.ndarray, value: np.ndarray) -> np.ndarray:
        return np.concatenate((column[:, :p], value[:, None], column[:, p:]), 1)

    ids = with_now(taken.ids, np.zeros((batch, events.ids.shape[1]), np.int32))
    return SequenceBatch(
        ids=ids,
        gap=with_now(taken.gap, since_last),
        weekday=with_now(taken.weekday, weekday(now, now_utc_offset)),
        is_token=with_now(taken.is_event, np.ones(batch, bool)),
        now_hour=hour(now, now_utc_offset),
    )


class DecoderInputs(NamedTuple):
    """What the decoder reads beside the states."""

    memory: MemoryBatch
    sequence: SequenceBatch


def decoder_inputs(
    streams: Sequence[StreamRows],
    focus: int,
    past: np.ndarray,
    now: np.ndarray,
    now_utc_offset: np.ndarray,
    future: np.ndarray,
) -> DecoderInputs:
    """Memory and sequence.

    Args:
        focus: index of the focus stream among ``streams``.
        past, now, now_utc_offset, future: as in ``sequence_batch``.
    """
    memory = memory_batch(streams, now)
    focus_slot = sum(stream.entity.shape[1] for stream in streams[:focus])
    since_last = memory.gap[:, focus_slot]
    return DecoderInputs(memory, sequence_batch(streams[focus].events, past, now, now_utc_offset, since_last, future))
