"""A real request from the log: for the documentation, the server's self-check and the load test."""

from typing import Any

import numpy as np

from eventmodel.config import ModelConfig
from eventmodel.entities import read_histories
from eventmodel.event_log import EventLog
from training.sampling import Sampler

EVENTS = 16
"""Most events of a history that the example shows, so that a person can read it."""


def example_request(log: EventLog, config: ModelConfig) -> dict[str, Any]:
    """What a client would send at an event in the middle of the validation part.

    Numbers stand as the names of their buckets, because a log keeps no more of them.
    """
    sampler = Sampler(log, config, *log.part("validation"))
    focus = log.focus.entity_at(sampler.positions)
    n_events = np.minimum(sampler.positions + 1 - log.focus.start[focus], EVENTS)
    # somebody whom the vocabulary knows (or whom none needs to), with a past that fills the example
    is_known = (log.focus.vocabulary_id[focus] > 0) | (log.schema.key_category(log.schema.focus_stream) is None)
    row = log.focus.rows[sampler.positions]
    from_middle = np.abs(row - (log.train_end + log.validation_end) // 2)
    position = sampler.positions[np.lexsort((from_middle, -n_events, ~is_known))[0]]
    last_row = int(log.focus.rows[position])
    histories = read_histories(
        log.schema, log.streams, int(log.focus.entity_at(position)), last_row, min(config.context_length, EVENTS)
    )
    streams: dict[str, list[dict[str, Any]]] = {}
    for stream in log.schema.streams:
        streams[stream.name] = []
        for entity, rows in histories[stream.name]:
            if stream.keys:
                events = [_record(log, int(row), stream.name, entity) for row in rows]
                streams[stream.name].append({"id": entity_name(log, stream.name, entity), "events": events})
            else:
                streams[stream.name].append({"events": [_record(log, int(row)) for row in rows]})
    return {
        "streams": streams,
        "focus": streams[log.schema.focus][0]["id"],
        "now": log.codec.iso(log.codec.at_timestamp(int(log.events.timestamp[last_row]))),
        "horizon": 1,
        "top_k": 3,
    }


def entity_name(log: EventLog, stream: str, entity: int) -> str:
    """A name for the example that bundles carry: the vocabulary's, or a number, as case numbers stay with the log."""
    category = log.schema.key_category(log.schema.stream_by_name[stream])
    id_ = int(log.streams[stream].vocabulary_id[entity])
    name = log.codec.names[category][id_] if category is not None else None
    return name or f"{stream}-{entity}"


def _record(log: EventLog, row: int, stream: str | None = None, entity: int = -1) -> dict[str, Any]:
    """An event by field name, blanks left out; the fields that name the entity are filled in."""
    record = log.codec.decode(log.events.ids[row].tolist(), int(log.events.timestamp[row]))
    filled: dict[str, Any] = {name: value for name, value in record.items() if value is not None}
    if stream is not None:
        for column, key in enumerate(log.schema.stream_by_name[stream].keys):
            if log.streams[stream].keys[row, column] == entity:
                filled[key] = entity_name(log, stream, entity)
    return filled
