"""Queries laid out as a small log: one table, and the rows of it that each query reads.

From here on the engine's batches are built by the very functions that build training's.
"""

from collections.abc import Sequence

import numpy as np

from eventmodel.codec import Events
from eventmodel.config import ModelConfig
from eventmodel.context import DecoderInputs, StreamRows, decoder_inputs
from eventmodel.engine.query import Query
from eventmodel.event_log import window
from eventmodel.schema import Schema


def lay_out(
    queries: Sequence[Query], schema: Schema, config: ModelConfig
) -> tuple[list[tuple[str, StreamRows]], DecoderInputs]:
    """All queries together: the histories to encode, by stream, and what decodes the first future event."""
    histories = [query.histories for query in queries]
    events = Events(*(np.concatenate(columns) for columns in zip(*(h.events for h in histories), strict=True)))
    lengths = np.concatenate([h.length for h in histories]).astype(np.int64)
    ends = np.cumsum(lengths)
    vocabulary_ids = np.concatenate([h.vocabulary_id for h in histories])
    counts = np.array([h.entities for h in histories])  # (B, kinds)
    kinds = np.repeat(np.tile(np.arange(counts.shape[1]), len(queries)), counts.reshape(-1))

    streams = []
    past = np.full((len(queries), config.focus_events), -1)
    focus = schema.stream_index(schema.focus)
    for kind, stream in enumerate(schema.streams):
        of_kind = np.flatnonzero(kinds == kind)
        length, end, count = lengths[of_kind], ends[of_kind], counts[:, kind]
        width = max(min(int(length.max(initial=1)), stream.history_length(config.context_length)), 1)
        slot = np.arange(stream.max_entities)
        first = np.cumsum(count) - count
        entity = np.where(slot < count[:, None], first[:, None] + slot, -1)
        streams.append(StreamRows(events, window(end, length, width), entity, vocabulary_ids[of_kind]))
        if kind == focus:  # a query's first entity of this stream
            has_focus = entity[:, 0] >= 0
            at = np.maximum(entity[has_focus, 0], 0)
            past[has_focus] = window(end[at], length[at], config.focus_events, align="right")
    names = [stream.name for stream in schema.streams]
    return list(zip(names, streams, strict=True)), decoder_inputs(
        streams,
        focus=focus,
        past=past,
        now=np.array([query.now for query in queries], np.int64),
        now_utc_offset=np.array([query.now_utc_offset for query in queries], np.int32),
        future=np.empty((len(queries), 0), np.int64),
    )
