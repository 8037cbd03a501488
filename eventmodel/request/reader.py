"""A request document to a query: everything that can be checked is checked here, without HTTP and without torch."""

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import NamedTuple, cast

import numpy as np

from eventmodel.bundle import Bundle
from eventmodel.codec import Codec, Events, Moment
from eventmodel.coders import is_blank
from eventmodel.quoted import quoted
from eventmodel.request.errors import RequestError, cut, did_you_mean, one_of
from eventmodel.request.histories import (
    EncodedHistories,
    Entity,
    as_text,
    encode_histories,
    read_entities,
    read_events,
    unreadable,
)
from eventmodel.request.question import PredictRequest, Question, check_keys, read_question
from eventmodel.request.records import Records
from eventmodel.schema import Schema

KEYS = ("streams", "records", "focus", "now", *Question.__annotations__)
MAX_RECORDS = 10_000
"""Of which a prediction is to choose what it reads: the event loop waits for them to be read and put in order."""


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
    asked = [check_keys(document, KEYS) for document in documents]
    of_streams = {at: _outline(one, bundle) for at, one in enumerate(asked) if one.get("records") is None}
    encoded = encode_histories(bundle, [outline.entities for outline in of_streams.values()])
    read = dict(zip(of_streams, map(_complete, of_streams.values(), encoded, repeat(bundle)), strict=True))
    return [read[at] if at in read else _choose(one, bundle) for at, one in enumerate(asked)]


def _choose(asked: Mapping[str, object], bundle: Bundle) -> PredictRequest:
    """A request that has the recent log, of which a prediction reads what training would have read."""
    if asked.get("streams") is not None:
        message = "the request has both streams and records"
        raise RequestError("streams_and_records", "records", message, "Send histories in streams, or the recent log.")
    sent = read_events(bundle.schema, asked["records"], "records", _check_number)
    focus = as_text(asked.get("focus"), "focus")
    if focus is None:
        message = "records concern many, so the one to predict must be named"
        raise RequestError("missing_focus", "focus", message, "Set focus to the id of the entity to predict.")
    records = Records(bundle, sent)
    question = {key: value for key, value in asked.items() if key in Question.__annotations__}
    return records.requests([records.read(focus, cast("str | None", asked.get("now")))], cast(Question, question))[0]


def _check_number(n: int, loc: str) -> None:
    if n > MAX_RECORDS:
        hint = "Send the newest ones, or those that concern the focus and whom it met."
        raise RequestError("too_many_records", loc, f"{n} records are more than {MAX_RECORDS}", hint)


def _outline(asked: Mapping[str, object], bundle: Bundle) -> _Outline:
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
            f"Send an object with the streams {one_of(bundle.schema.stream_by_name)}, or the recent log in records.",
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
    if is_blank(value):
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
