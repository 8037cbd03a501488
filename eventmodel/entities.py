"""Which histories a prediction reads: the same choice for a log and for the records that a client has.

A keyed stream gives the entities that the focus met most recently, each with its newest events;
the stream without keys gives the newest events of all.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from eventmodel.event_log import window
from eventmodel.schema import Schema, Stream
from eventmodel.stream_index import StreamIndex

LOOK_BACK = 64
"""Newest events of the focus among which other context entities are looked for."""


class History(NamedTuple):
    """One entity's events that are read."""

    entity: int  # its number in the stream's index; -1 in the stream without keys
    rows: np.ndarray  # (n,) int64 rows of the table, oldest first


def context_entities(
    schema: Schema, indices: Mapping[str, StreamIndex], stream: Stream, position: np.ndarray
) -> np.ndarray:
    """The newest distinct entities among the focus's events, in the focus stream the focus itself first.

    Args:
        indices: of the keyed streams, by name.
        stream: a keyed stream.
        position: (B,) the focus's newest event that is read, as a position in the focus stream's index.

    Returns:
        (B, max_entities) int64 numbers of entities, newest first; -1 fills up.
    """
    focus = indices[schema.focus]
    entity = focus.entity_at(position)
    before = position + 1 - focus.start[entity]  # events of the focus up to now
    recent = window(position + 1, before, LOOK_BACK, align="right")[:, ::-1]
    keys = indices[stream.name].keys[focus.rows[np.maximum(recent, 0)]]  # (B, LOOK_BACK, K)
    keys = np.where(recent[..., None] >= 0, keys, -1).reshape(len(recent), -1).astype(np.int64)
    if stream.name == schema.focus:
        keys = np.concatenate((entity[:, None], keys), 1)
    return newest_distinct(keys, stream.max_entities)


def read_histories(
    schema: Schema, indices: Mapping[str, StreamIndex], focus: int, last_row: int, context_length: int
) -> dict[str, list[History]]:
    """Everything that one prediction reads, by stream.

    Args:
        indices: of the keyed streams, by name.
        focus: number of an entity of the focus stream that has an event up to ``last_row``.
        last_row: the newest row of the table that is not after now.
        context_length: events of one history that the model reads.
    """
    last = np.array([last_row])
    position = indices[schema.focus].end(np.array([focus]), last) - 1
    result = {}
    for stream in schema.streams:
        width = stream.history_length(context_length)
        if not stream.keys:
            result[stream.name] = [History(-1, np.arange(max(last_row + 1 - width, 0), last_row + 1))]
            continue
        index = indices[stream.name]
        entities = context_entities(schema, indices, stream, position)[0]
        entities = entities[entities >= 0]
        end, length = index.newest(entities, last, width)
        result[stream.name] = [
            History(int(entity), index.rows[stop - n : stop])
            for entity, stop, n in zip(entities, end, length, strict=True)
        ]
    return result


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
