"""A request document to a query: everything that can be checked is checked here, without HTTP and without torch."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from eventmodel.bundle import Bundle
from eventmodel.codec import Codec, Events, Moment
from eventmodel.quoted import quoted
from eventmodel.request.errors import RequestError, cut, did_you_mean, one_of
from eventmodel.request.histories import (
    EncodedHistories,
    Entity,
    as_text,
    encode_histories,
    read_entities,
    unreadable,
)
from eventmodel.request.question import PredictRequest, Question, check_keys, read_question
from eventmodel.schema import Schema

KEYS = ("streams", "focus", "now", *Question.__annotations__)


class _Outline(NamedTuple):
    """A request whose structure is checked, and the values of its events are not."""

    asked: Mapping[str, object]
    entities: dict[str, list[Entity]]
    focus: str


def read_request(document: object, bundle: Bundle) -> PredictRequest:
    """Check a request and turn it into arrays. A key whose value is None counts as left out.

    Args:
        document: what the JSON of a request says, in dicts, lists, strings and numbers.

    Raises:
        RequestError: names the first place that is wrong, and what to send instead.
    """
    return read_requests([document], bundle)[0]


def read_requests(documents: Sequence[object], bundle: Bundle) -> list[PredictRequest]:
    """Read some requests at once, which costs less than one by one.

    Raises:
        RequestError: one of them is wrong; which one shows when each is read alone.
    """
    outlines = [_outline(document, bundle) for document in documents]
    encoded = encode_histories(bundle, [outline.entities for outline in outlines])
    return [_complete(*each, bundle) for each in zip(outlines, encoded, strict=True)]


def _outline(document: object, bundle: Bundle) -> _Outline:
    asked = check_keys(document, KEYS)
    entities = _read_streams(bundle, asked.get("streams"))
    return _Outline(asked, entities, _move_focus_first(bundle.schema, entities, asked.get("focus")))


def _complete(outline: _Outline, encoded: EncodedHistories, bundle: Bundle) -> PredictRequest:
    asked, entities, focus = outline
    now = _read_now(bundle.codec, encoded.histories.events, asked.get("now"))
    _check_not_after(now, bundle.schema, entities, encoded.histories.events)
    return read_question(asked, bundle, focus, now, encoded)


def _read_streams(bundle: Bundle, value: object) -> dict[str, list[Entity]]:
    """Entities by stream, one entry for every stream of the schema; one that is left out has none."""
    if not isinstance(value, dict):
        missing = value is None
        raise RequestError(
            "missing_streams" if missing else "not_an_object",
            "streams",
            "the request has no streams" if missing else f"expected an object by stream name, not {quoted(value)}",
            f"Send an object with the streams {one_of(bundle.schema.stream_by_name)}.",
        )
    known = bundle.schema.stream_by_name
    for name in value:
        if name not in known:
            raise RequestError(
                "unknown_stream",
                f"streams.{cut(name)}",
                f"schema {bundle.schema.name!r} has no stream {quoted(name)}",
                did_you_mean(name, known),
            )
    return {
        name: read_entities(bundle, stream, [] if value.get(name) is None else value[name])
        for name, stream in known.items()
    }


def _move_focus_first(schema: Schema, entities: dict[str, list[Entity]], value: object) -> str:
    """Put the focus in front of its stream's entities, as a query has it, and return its id."""
    candidates = entities[schema.focus]
    focus = as_text(value, "focus")
    if not candidates:
        raise RequestError(
            "missing_focus",
            f"streams.{schema.focus}",
            f"stream {schema.focus!r} is empty, but one of its entities is the one to predict",
            'Send it; {"id": ..., "events": []} stands for one without a history.',
        )
    ids = [entity.id or "" for entity in candidates]
    if focus is None:
        if len(candidates) > 1:
            raise RequestError(
                "ambiguous_focus",
                "focus",
                f"stream {schema.focus!r} has {len(candidates)} entities, so the one to predict must be named",
                f"Set focus to one of {one_of(ids)}.",
            )
        return ids[0]
    if focus not in ids:
        raise RequestError(
            "unknown_focus",
            "focus",
            f"{quoted(focus)} is not among the entities of stream {schema.focus!r}",
            f"Set focus to one of {one_of(ids)}, or send the entity.",
        )
    candidates.insert(0, candidates.pop(ids.index(focus)))
    return focus


def _read_now(codec: Codec, events: Events, value: object) -> Moment:
    if value is None or value == "":
        if not len(events.timestamp):
            raise RequestError(
                "missing_now",
                "now",
                "all histories are empty, so there is no latest event to take the time from",
                "Send now, the moment of the prediction.",
            )
        newest = events.timestamp.max()
        return Moment(int(newest), int(events.utc_offset[events.timestamp == newest].max()))
    try:
        return codec.moment(value)
    except ValueError as error:
        raise unreadable(codec.schema, codec.schema.order_by, value, str(error), "now") from None


def _check_not_after(now: Moment, schema: Schema, entities: Mapping[str, Sequence[Entity]], events: Events) -> None:
    if events.timestamp.max(initial=now.timestamp) == now.timestamp:
        return
    row = int(np.argmax(events.timestamp > now.timestamp))
    for entity in chain.from_iterable(entities[stream.name] for stream in schema.streams):
        if row < entity.n_events:
            raise RequestError(
                "event_after_now",
                entity.event_loc(row, schema.order_by),
                "the event is later than now",
                "Leave out what happens after now, or move now.",
            )
        row -= entity.n_events
