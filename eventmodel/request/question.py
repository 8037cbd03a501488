"""What a request asks about the future, whatever is known of the past."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple, TypedDict

import numpy as np

from eventmodel.bundle import Bundle
from eventmodel.calendar import keep_to_calendar
from eventmodel.codec import Codec, EncodeError, Moment
from eventmodel.coders import spellings
from eventmodel.engine.query import Query, Sampling
from eventmodel.quoted import quoted
from eventmodel.request.errors import RequestError, cut, did_you_mean, one_of
from eventmodel.request.histories import (
    EncodedHistories,
    as_text,
    unknown_field,
    unreadable,
)
from eventmodel.schema import Schema

DEFAULT_TOP_K = 5
MAX_QUANTILES = 9
MAX_SEED = 2**63 - 1
MAX_SAMPLES = 100
MIN_TEMPERATURE = 0.001
MAX_TEMPERATURE = 100
MIN_TOP_P = 0.001
"""With MIN_TEMPERATURE: below, nothing but the most probable value is drawn, and fp32 runs out of small numbers."""


class Question(TypedDict, total=False):
    """What is asked about the future, whatever the past; every key may be left out."""

    horizon: int
    """How many future events, each given the ones before; 1 unless given."""
    top_k: int | Literal["all"]
    """How many values to list per category; 5 unless given."""
    categories: Sequence[str]
    """The categories to detail; all unless given."""
    allowed: Mapping[str, Sequence[object]]
    """Per category, the only values that may happen."""
    quantiles: Sequence[float]
    """Levels, lowest first, at which each event's time is wanted; they take 200 sampled events each, and so time,
    or with ``sampling`` the rollouts that are drawn anyhow."""
    sampling: Mapping[str, float]
    """``num_samples`` rollouts in place of the most probable one, at a ``temperature``, from the ``top_p``
    most probable values, by a ``seed``."""
    observed: Mapping[str, object]
    """An event to score as the next one, by field name."""


class PredictRequest(NamedTuple):
    """What the model is asked, and what the answer must show of it."""

    query: Query
    focus: str
    top_k: int | None
    """Values to list per category; None lists all."""
    categories: tuple[int, ...]
    """Indices of the categories that the answer details."""
    unknown: np.ndarray
    """(k,) the category of each value that was given and that the vocabularies lack."""
    n_events: int
    """Events in all histories together."""


def read_question(
    asked: Mapping[str, object], bundle: Bundle, focus: str, now: Moment, encoded: EncodedHistories
) -> PredictRequest:
    """Check what is asked, and put it beside what is known.

    Args:
        asked: the keys of ``Question``; others are not looked at.
        encoded: what is known.

    Raises:
        RequestError: names the first place that is wrong, and what to send instead.
    """
    schema, codec = bundle.schema, bundle.codec
    observed, unknown_observed = _read_observed(codec, now, focus, asked.get("observed"))
    query = Query(
        histories=encoded.histories,
        now=now.timestamp,
        now_utc_offset=now.utc_offset,
        horizon=_read_horizon(asked.get("horizon"), bundle.max_horizon),
        allowed=_read_allowed(codec, asked.get("allowed")),
        observed=observed,
        quantiles=_read_quantiles(asked.get("quantiles")),
        sampling=_read_sampling(asked.get("sampling")),
    )
    return PredictRequest(
        query=query,
        focus=focus,
        top_k=_read_top_k(asked.get("top_k")),
        categories=_read_categories(schema, asked.get("categories")),
        unknown=np.concatenate([unknown_observed, encoded.unknown]),
        n_events=len(encoded.histories.events.timestamp),
    )


def check_keys(document: object, known: Sequence[str]) -> Mapping[str, object]:
    """The document as an object that has no other keys.

    Raises:
        RequestError: it is none, or has one.
    """
    if not isinstance(document, dict):
        raise RequestError(
            "not_an_object",
            "",
            f"a request is an object by key, not {quoted(document)}",
            'Send {"streams": {...}}, as in the bundle\'s example.json, or {"records": [...], "focus": ...}.',
        )
    for key in document:
        if key not in known:
            raise RequestError("unknown_key", cut(key), "a request has no such key", did_you_mean(key, known))
    return document


def _read_horizon(value: object, limit: int) -> int:
    horizon = 1 if value is None else _number(value, 1, limit, is_whole=True)
    if horizon is None:
        raise RequestError(
            "bad_horizon",
            "horizon",
            f"{quoted(value)} is not a number of future events that this model predicts",
            f"Send a whole number from 1 to {limit}.",
        )
    return int(horizon)


def _read_top_k(value: object) -> int | None:
    if value is None:
        return DEFAULT_TOP_K
    if value == "all":
        return None
    top_k = _number(value, 1, sys.float_info.max, is_whole=True)
    if top_k is None:
        raise RequestError(
            "bad_top_k", "top_k", f"{quoted(value)} is not a number of values", 'Send a whole number from 1, or "all".'
        )
    return int(top_k)


def _number(value: object, least: float, most: float, *, is_whole: bool) -> float | None:
    """A number between two bounds, a whole one also where it is written as 4.0; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        return None
    return None if is_whole and value != int(value) else value


def _read_categories(schema: Schema, value: object) -> tuple[int, ...]:
    if value is None:
        return tuple(range(len(schema.categories)))
    if not isinstance(value, list):
        raise RequestError(
            "not_a_list",
            "categories",
            f"expected a list of names, not {quoted(value)}",
            f'Send ["{schema.categories[0].name}", ...].',
        )
    result: list[int] = []
    for i, name in enumerate(value):
        index = _category(schema, name, f"categories[{i}]")
        if index in result:
            raise RequestError(
                "duplicate_category", f"categories[{i}]", f"{quoted(name)} occurs twice", "Send each category once."
            )
        result.append(index)
    return tuple(result)


def _category(schema: Schema, name: object, loc: str) -> int:
    names = [category.name for category in schema.categories]
    if not isinstance(name, str) or name not in names:
        message = f"schema {schema.name!r} has no category {quoted(name)}"
        raise RequestError("unknown_category", loc, message, _category_hint(schema, name))
    return names.index(name)


def _category_hint(schema: Schema, name: object) -> str:
    names = [category.name for category in schema.categories]
    if isinstance(name, str) and name in schema.field_by_name:
        own = [category.name for category in schema.categories if category.field == name]
        return f"A datetime has the categories {one_of(own)}." if own else "A key names entities; it is not predicted."
    return did_you_mean(name, names)


def _read_allowed(codec: Codec, value: object) -> np.ndarray | None:
    """(sum of category sizes,) bool; a category that is not named keeps all of its ids."""
    if value is None or value == {}:
        return None
    if not isinstance(value, dict):
        raise RequestError(
            "not_an_object",
            "allowed",
            f"expected an object by category, not {quoted(value)}",
            f'Send {{"{codec.schema.categories[0].name}": [...]}}.',
        )
    allowed = np.ones(sum(codec.sizes), bool)
    start = codec.starts
    asked = []
    for name, values in value.items():
        loc = f"allowed.{cut(name)}"
        index = _category(codec.schema, name, loc)
        asked.append(index)
        hint = "List the values, or leave the category out to allow all."
        if not isinstance(values, list):
            raise RequestError("not_a_list", loc, f"expected a list of values, not {quoted(values)}", hint)
        if not values:
            raise RequestError("empty_allowed", loc, "a category needs at least one value that may happen", hint)
        if len(values) >= codec.sizes[index] > 1:
            raise RequestError(
                "too_many_values",
                loc,
                f"{len(values)} values, but the category has {codec.sizes[index] - 1}",
                "List each value once, or leave the category out to allow all.",
            )
        allowed[start[index] : start[index + 1]] = False
        allowed[start[index] + _ids(codec, index, values, loc)] = True
    named = {codec.schema.categories[index].field for index in asked}
    for c, category in enumerate(codec.schema.categories):
        if category.part is not None and category.field in named:
            allowed[start[c]] = False  # a datetime of which a part is asked for is not blank
    for month, day in _dates(codec.schema):
        if not keep_to_calendar(*(allowed[start[c] : start[c + 1]] for c in (month, day))):
            name = codec.schema.categories[day].name
            message = "no allowed month has any of these days"
            raise RequestError("impossible_date", f"allowed.{name}", message, "Allow another month or day.")
    return allowed


def _dates(schema: Schema) -> Iterator[tuple[int, int]]:
    """Month and day of each datetime field, as category indices."""
    index = {(category.field, category.part): i for i, category in enumerate(schema.categories)}
    return ((i, index[field, "Day"]) for (field, part), i in index.items() if part == "Month")


def _ids(codec: Codec, category: int, values: Collection[object], loc: str) -> np.ndarray:
    """Of values by name; of a number its bucket's."""
    id_of, ids = codec.id_of[category], []
    is_number = codec.schema.categories[category].kind == "number"
    for i, value in enumerate(values):
        text = as_text(value, f"{loc}[{i}]")
        known = next((name for name in spellings(value) if name in id_of), None)
        if known is None and is_number and text is not None:
            with suppress(ValueError):
                known = codec.names[category][codec.encode_value(codec.schema.categories[category].field, value)[0]]
        if known is None:
            raise RequestError(
                "unknown_value",
                f"{loc}[{i}]",
                f"the model knows no value {quoted(value)} in this category",
                did_you_mean(text, id_of),
            )
        ids.append(id_of[known])
    return np.array(ids, np.int64)


def _read_quantiles(value: object) -> tuple[float, ...]:
    """Levels at which each event's time is wanted."""
    if value is None:
        return ()
    if not isinstance(value, list):
        message = f"expected a list of levels, not {quoted(value)}"
        raise RequestError("not_a_list", "quantiles", message, "Send [0.1, 0.5, 0.9].")
    if len(value) > MAX_QUANTILES:
        message = f"{len(value)} levels are over the limit"
        raise RequestError("too_many_quantiles", "quantiles", message, f"Send at most {MAX_QUANTILES}.")
    for i, level in enumerate(value):
        if not isinstance(level, int | float) or isinstance(level, bool) or not 0 < level < 1:
            message = f"{quoted(level)} is not a level strictly between 0 and 1"
            raise RequestError("bad_quantile", f"quantiles[{i}]", message, "Send 0.5 for the median.")
        if i and level <= value[i - 1]:
            message = f"{level} is not above the level before it"
            raise RequestError("quantiles_out_of_order", f"quantiles[{i}]", message, "Send each once, lowest first.")
    return tuple(value)


def _read_sampling(value: object) -> Sampling | None:
    """How rollouts are drawn."""
    if value is None:
        return None
    hint = 'Send {"num_samples": 20}, with "temperature", "top_p" or "seed" beside it.'
    if not isinstance(value, dict):
        raise RequestError("not_an_object", "sampling", f"expected an object, not {quoted(value)}", hint)
    for key in value:
        if key not in Sampling._fields:
            message = "sampling has no such key"
            raise RequestError("unknown_key", f"sampling.{cut(key)}", message, did_you_mean(key, Sampling._fields))

    def read(key: str, default: float, least: float, most: float, *, is_whole: bool = False) -> float:
        found = default if value.get(key) is None else _number(value[key], least, most, is_whole=is_whole)
        if found is None:
            what = "whole number" if is_whole else "number"
            message = f"{quoted(value[key])} is not a {what} from {least} to {most}"
            raise RequestError("bad_sampling", f"sampling.{key}", message, hint)
        return found

    return Sampling(
        num_samples=int(read("num_samples", 1, 1, MAX_SAMPLES, is_whole=True)),
        temperature=read("temperature", 1.0, MIN_TEMPERATURE, MAX_TEMPERATURE),
        top_p=read("top_p", 1.0, MIN_TOP_P, 1),
        seed=int(read("seed", 0, 0, MAX_SEED, is_whole=True)),
    )


def _read_observed(codec: Codec, now: Moment, focus: str, value: object) -> tuple[np.ndarray | None, np.ndarray]:
    """The (C,) ids of the event to score, and the categories (k,) of its values that the vocabularies lack.

    The focus's next event concerns the focus: one that names nobody is read as the focus's own. That it names
    another is as improbable as the model has it, where it reads who is named; of a case number it reads nothing.
    """
    if value is None:
        return None, np.empty(0, np.int64)
    if not isinstance(value, dict):
        raise RequestError(
            "not_an_object", "observed", f"expected an event, not {quoted(value)}", "Send an object by field name."
        )
    for name in value:
        if name not in codec.schema.field_by_name:
            raise unknown_field(codec.schema, name, f"observed.{cut(name)}")
    keys = codec.schema.focus_stream.keys
    if all(value.get(key) in (None, "") for key in keys):
        value = value | {keys[0]: focus}
    reads_names = codec.schema.key_category(codec.schema.focus_stream) is not None
    if not (reads_names or any(as_text(value.get(key), f"observed.{key}") == focus for key in keys)):
        raise RequestError(
            "event_of_another_entity",
            f"observed.{keys[0]}",
            f"the event does not name the focus {quoted(focus)} in {' or '.join(keys)}",
            f"Set {' or '.join(keys)} to {quoted(focus)}, or leave it out.",
        )
    columns = {name: [item] for name, item in value.items()}
    try:
        event, unknown = codec.encode_columns(columns, 1)
    except EncodeError as error:
        field = error.field
        raise unreadable(codec.schema, field, value.get(field), error.message, f"observed.{field}") from None
    if event.timestamp[0] < now.timestamp:
        raise RequestError(
            "observed_before_now",
            f"observed.{codec.schema.order_by}",
            "the observed event is earlier than now, so it cannot be the next one",
            "Set now to the moment before it.",
        )
    return event.ids[0], np.flatnonzero(unknown[0])
