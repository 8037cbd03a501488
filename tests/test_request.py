"""A request becomes arrays, or one error that names the place and the fix."""

from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server_example import SCHEMA, ZONED, event, example, write_example

from eventmodel.bundle import Bundle
from eventmodel.engine.query import Sampling
from eventmodel.request.errors import RequestError
from eventmodel.request.question import MAX_QUANTILES, MAX_SAMPLES, PredictRequest
from eventmodel.request.reader import KEYS, read_request, read_requests


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_example(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def zoned(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_example(tmp_path_factory.mktemp("zoned"), ZONED)


def read(bundle: Bundle, body: object) -> PredictRequest:
    return read_request(body, bundle)


def error_of(bundle: Bundle, body: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(bundle, body)
    return caught.value


def changed(*path: Any, to: object) -> dict[str, Any]:
    """The example with one place changed."""
    body = example()
    place: Any = body
    for key in path[:-1]:
        place = place[key]
    if isinstance(place, list) and path[-1] == len(place):
        place.append(to)
    else:
        place[path[-1]] = to
    return body


def without(*path: Any) -> dict[str, Any]:
    body = example()
    place: Any = body
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return body


def as_rows(events: list[dict[str, object]]) -> dict[str, list[Any]]:
    columns = sorted({name for e in events for name in e})
    return {"columns": columns, "rows": [[e.get(name) for name in columns] for e in events]}


ANN = ("streams", "Worker", 0)
EVENTS = (*ANN, "events")
CASES = {
    # what is sent: (the body, where it is wrong, the code)
    "not an object": ([], "", "not_an_object"),
    "unknown key": (changed("horizons", to=1), "horizons", "unknown_key"),
    "no streams": (without("streams"), "streams", "missing_streams"),
    "streams as a list": (changed("streams", to=[]), "streams", "not_an_object"),
    "unknown stream": (changed("streams", "Wroker", to=[]), "streams.Wroker", "unknown_stream"),
    "stream as an object": (changed("streams", "Worker", to={}), "streams.Worker", "not_a_list"),
    "too many entities": (
        changed("streams", "Case", to=[{"id": i, "events": []} for i in range(3)]),
        "streams.Case",
        "too_many_entities",
    ),
    "two entities without keys": (
        changed("streams", "Time", to=[{"events": []}] * 2),
        "streams.Time",
        "too_many_entities",
    ),
    "entity as a string": (changed(*ANN, to="ann"), "streams.Worker[0]", "not_an_object"),
    "unknown key of an entity": (changed(*ANN, "event", to=[]), "streams.Worker[0].event", "unknown_key"),
    "duplicate entity": (changed("streams", "Worker", 1, "id", to="ann"), "streams.Worker[1].id", "duplicate_entity"),
    "missing id": (without(*ANN, "id"), "streams.Worker[0].id", "missing_id"),
    "blank id": (changed(*ANN, "id", to=""), "streams.Worker[0].id", "missing_id"),
    "id as a list": (changed(*ANN, "id", to=["ann"]), "streams.Worker[0].id", "bad_value"),
    "id without keys": (changed("streams", "Time", 0, "id", to="x"), "streams.Time[0].id", "unexpected_id"),
    "no events": (without(*EVENTS), "streams.Worker[0].events", "not_a_list"),
    "too many events": (changed(*EVENTS, to=[event(0)] * 7), "streams.Worker[0].events", "too_many_events"),
    "event as a list": (changed(*EVENTS, 1, to=[]), "streams.Worker[0].events[1]", "not_an_object"),
    "unknown field": (changed(*EVENTS, 1, "Knid", to="in"), "streams.Worker[0].events[1].Knid", "unknown_field"),
    "no datetime": (
        without(*EVENTS, 1, "EventDatetime"),
        "streams.Worker[0].events[1].EventDatetime",
        "missing_datetime",
    ),
    "bad datetime": (
        changed(*EVENTS, 2, "EventDatetime", to="yesterday"),
        "streams.Worker[0].events[2].EventDatetime",
        "bad_datetime",
    ),
    "datetime as a number": (
        changed(*EVENTS, 2, "PlannedDatetime", to=5),
        "streams.Worker[0].events[2].PlannedDatetime",
        "bad_datetime",
    ),
    "zone in a local log": (
        changed("streams", "Worker", 1, "events", 0, "EventDatetime", to="2026-01-29T08:00:00Z"),
        "streams.Worker[1].events[0].EventDatetime",
        "bad_datetime",
    ),
    "name as an object": (changed(*EVENTS, 0, "Site", to={}), "streams.Worker[0].events[0].Site", "bad_value"),
    "key as a list": (
        changed("streams", "Case", 0, "events", 0, "Case", to=[]),
        "streams.Case[0].events[0].Case",
        "bad_value",
    ),
    "number as text": (changed(*EVENTS, 0, "Hours", to="many"), "streams.Worker[0].events[0].Hours", "bad_value"),
    "number as a boolean": (changed(*EVENTS, 0, "Hours", to=True), "streams.Worker[0].events[0].Hours", "bad_value"),
    "out of order": (
        changed(*EVENTS, to=[event(5), event(5), event(4)]),
        "streams.Worker[0].events[2].EventDatetime",
        "out_of_order",
    ),
    "out of order in the second entity": (
        changed("streams", "Worker", 1, "events", to=[event(5, "bob"), event(4, "bob")]),
        "streams.Worker[1].events[1].EventDatetime",
        "out_of_order",
    ),
    "event after now": (
        changed("now", to="2026-01-29T08:05:00"),
        "streams.Time[0].events[1].EventDatetime",
        "event_after_now",
    ),
    "event of another entity": (
        changed(*EVENTS, 0, "Worker", to="bob"),
        "streams.Worker[0].events[0].Worker",
        "event_of_another_entity",
    ),
    "event of nobody": (
        without("streams", "Case", 0, "events", 0, "Case"),
        "streams.Case[0].events[0].Case",
        "event_of_another_entity",
    ),
    "no entity to predict": (without("streams", "Worker"), "streams.Worker", "missing_focus"),
    "which entity to predict": (without("focus"), "focus", "ambiguous_focus"),
    "unknown focus": (changed("focus", to="eve"), "focus", "unknown_focus"),
    "focus as a list": (changed("focus", to=["ann"]), "focus", "bad_value"),
    "bad now": (changed("now", to="noon"), "now", "bad_datetime"),
    "now as a boolean": (changed("now", to=True), "now", "bad_datetime"),
    "nothing tells now": ({"streams": {"Worker": [{"id": "ann", "events": []}]}}, "now", "missing_now"),
    "horizon 0": (changed("horizon", to=0), "horizon", "bad_horizon"),
    "horizon beyond the model's": (changed("horizon", to=5), "horizon", "bad_horizon"),
    "horizon as a fraction": (changed("horizon", to=1.5), "horizon", "bad_horizon"),
    "horizon as a boolean": (changed("horizon", to=True), "horizon", "bad_horizon"),
    "top_k 0": (changed("top_k", to=0), "top_k", "bad_top_k"),
    "top_k in other words": (changed("top_k", to="every"), "top_k", "bad_top_k"),
    "top_k as a boolean": (changed("top_k", to=True), "top_k", "bad_top_k"),
    "categories as a string": (changed("categories", to="Kind"), "categories", "not_a_list"),
    "unknown category": (changed("categories", 1, to="Sites"), "categories[1]", "unknown_category"),
    "duplicate category": (changed("categories", to=["Kind", "Kind"]), "categories[1]", "duplicate_category"),
    "allowed as a list": (changed("allowed", to=["s1"]), "allowed", "not_an_object"),
    "allowed for no category": (
        changed("allowed", "EventDatetime", to=["s1"]),
        "allowed.EventDatetime",
        "unknown_category",
    ),
    "nothing allowed": (changed("allowed", "Site", to=[]), "allowed.Site", "empty_allowed"),
    "allowed as a string": (changed("allowed", "Site", to="s1"), "allowed.Site", "not_a_list"),
    "unknown value allowed": (changed("allowed", "Site", 1, to="s99"), "allowed.Site[1]", "unknown_value"),
    "null allowed": (changed("allowed", "Site", 1, to=None), "allowed.Site[1]", "unknown_value"),
    "more allowed than there is": (changed("allowed", "Kind", to=["in"] * 9), "allowed.Kind", "too_many_values"),
    "a date that no calendar has": (
        changed("allowed", to={"Time_Event_Month": ["2", "4"], "Time_Event_Day": ["31"]}),
        "allowed.Time_Event_Day",
        "impossible_date",
    ),
    "quantiles as a number": (changed("quantiles", to=0.5), "quantiles", "not_a_list"),
    "too many quantiles": (changed("quantiles", to=[i / 20 for i in range(1, 11)]), "quantiles", "too_many_quantiles"),
    "quantile 0": (changed("quantiles", 0, to=0), "quantiles[0]", "bad_quantile"),
    "quantile 1": (changed("quantiles", 2, to=1.0), "quantiles[2]", "bad_quantile"),
    "quantile as a string": (changed("quantiles", 1, to="0.5"), "quantiles[1]", "bad_quantile"),
    "quantile as a boolean": (changed("quantiles", 0, to=True), "quantiles[0]", "bad_quantile"),
    "quantiles that fall": (changed("quantiles", to=[0.5, 0.1]), "quantiles[1]", "quantiles_out_of_order"),
    "quantile twice": (changed("quantiles", to=[0.5, 0.5]), "quantiles[1]", "quantiles_out_of_order"),
    "observed as a list": (changed("observed", to=[]), "observed", "not_an_object"),
    "unknown field observed": (changed("observed", "Plaec", to=1), "observed.Plaec", "unknown_field"),
    "bad value observed": (changed("observed", "Hours", to="x"), "observed.Hours", "bad_value"),
    "observed at no time": (without("observed", "EventDatetime"), "observed.EventDatetime", "missing_datetime"),
    "observed before now": (
        changed("observed", "EventDatetime", to="2026-01-29T08:09:59"),
        "observed.EventDatetime",
        "observed_before_now",
    ),
}


def test_an_observed_event_of_another_case_is_no_event_of_the_focus(tmp_path: Path) -> None:
    of_cases = write_example(tmp_path, SCHEMA | {"focus": "Case"})
    case = example()["streams"]["Case"][0]["id"]
    body = example() | {"focus": case}
    assert read(of_cases, body | {"observed": event(20, Case=case)}).query.observed is not None
    error = error_of(of_cases, body | {"observed": event(20, Case="another")})
    assert (error.code, error.loc) == ("event_of_another_entity", "observed.Case")


@pytest.mark.parametrize(("body", "loc", "code"), CASES.values(), ids=CASES.keys())
def test_what_is_wrong_is_named_by_its_place(bundle: Bundle, body: object, loc: str, code: str) -> None:
    error = error_of(bundle, body)
    assert (error.loc, error.code) == (loc, code)
    assert error.status == 422
    assert error.message
    assert error.hint


ROWS = as_rows([event(0), event(3), event(4), event(5)])  # columns EventDatetime, Kind, Site, Worker
ROW_CASES = {
    "value": (ROWS | {"rows": [*ROWS["rows"][:3], ["x", "in", "s1", "ann"]]}, "rows[3].EventDatetime", "bad_datetime"),
    "unknown column": (ROWS | {"columns": ["EventDatetime", "Kind", "Siet", "Worker"]}, "columns[2]", "unknown_field"),
    "column as a number": (ROWS | {"columns": ["EventDatetime", "Kind", 3, "Worker"]}, "columns[2]", "unknown_field"),
    "column twice": (ROWS | {"columns": ["EventDatetime", "Kind", "Kind", "Worker"]}, "columns[2]", "duplicate_column"),
    "short row": (ROWS | {"rows": [*ROWS["rows"][:2], ["x"]]}, "rows[2]", "row_width"),
    "row as an object": (ROWS | {"rows": [{}]}, "rows[0]", "row_width"),
    "no rows": ({"columns": ROWS["columns"]}, "rows", "not_a_list"),
    "unknown key": (ROWS | {"index": []}, "index", "unknown_key"),
    "too many rows": (ROWS | {"rows": ROWS["rows"] * 2}, "rows", "too_many_events"),
}  # fmt: skip


@pytest.mark.parametrize(("events", "loc", "code"), ROW_CASES.values(), ids=ROW_CASES.keys())
def test_a_bad_row_is_named_by_its_place(bundle: Bundle, events: object, loc: str, code: str) -> None:
    error = error_of(bundle, changed(*EVENTS, to=events))
    assert (error.loc, error.code) == (f"streams.Worker[0].events.{loc}", code)


def test_columns_and_rows_equal_objects(bundle: Bundle) -> None:
    body = example()
    objects = read(bundle, body)
    for entities in body["streams"].values():
        for entity in entities:
            entity["events"] = as_rows(entity["events"])
    mine, theirs = read(bundle, body).query.histories, objects.query.histories
    for a, b in zip((*mine.events, *mine[1:]), (*theirs.events, *theirs[1:]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_requests_are_read_together_as_they_are_alone(bundle: Bundle) -> None:
    new = {"streams": {"Worker": [{"id": "new", "events": []}]}, "now": "2026-01-29T08:00:00"}
    unheard_of = {"streams": {"Worker": [{"id": "ann", "events": [event(0, Site="x"), event(1, Kind="nap")]}]}}
    documents = [example(), new, without("streams", "Case"), unheard_of, changed("focus", to="bob")]
    for together, document in zip(read_requests(documents, bundle), documents, strict=True):
        alone = read(bundle, document)
        assert together[1:4] == alone[1:4]
        np.testing.assert_equal(together.query._asdict(), alone.query._asdict())
        np.testing.assert_array_equal(together.unknown, alone.unknown)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_of_requests_read_together_one_that_is_wrong_is_told(bundle: Bundle, place: int) -> None:
    documents: list[object] = [example(), example(), example()]
    documents[place] = changed(*EVENTS, to=[event(5), event(4)])
    with pytest.raises(RequestError, match="earlier than the one before it"):
        read_requests(documents, bundle)


def test_the_arrays_are_those_of_the_codec(bundle: Bundle) -> None:
    histories = read(bundle, example()).query.histories
    events = example()["streams"]["Worker"][0]["events"]
    columns = {name: [record.get(name) for record in events] for name in bundle.schema.field_by_name}
    expected, _ = bundle.codec.encode_columns(columns, len(events))
    np.testing.assert_array_equal(histories.events.ids[: len(events)], expected.ids)
    assert histories.entities == (2, 1, 1)
    assert histories.length.tolist() == [3, 2, 1, 2]
    assert histories.vocabulary_id.tolist() == [1, 2, 0, 0]


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        (changed("streams", "Time", to={}), "streams.Time"),
        (changed("streams", "Time", to=[{"events": []}] * 2), "streams.Time"),
        (changed("streams", "Time", 0, to="x"), "streams.Time[0]"),
    ],
)
def test_a_hint_about_a_stream_without_keys_asks_for_no_id(bundle: Bundle, body: object, loc: str) -> None:
    error = error_of(bundle, body)
    assert error.loc == loc
    assert '{"events": [...]}' in error.hint


@pytest.mark.parametrize(
    "body",
    [changed("categories", to="Kind"), changed("allowed", to=[]), changed(*EVENTS, to={"columns": 3, "rows": []})],
)
def test_a_hint_names_what_the_schema_has(bundle: Bundle, body: object) -> None:
    assert '"Kind"' in error_of(bundle, body).hint


def test_months_without_an_allowed_day_are_ruled_out_and_days_that_no_allowed_month_has(bundle: Bundle) -> None:
    asked = {"Time_Event_Month": ["1", "2"], "Time_Event_Day": ["30"], "Time_Planned_Month": ["2"]}
    allowed = read(bundle, changed("allowed", to=asked)).query.allowed
    assert allowed is not None
    parts = dict(
        zip(
            [c.name for c in bundle.schema.categories],
            np.split(allowed, np.cumsum(bundle.codec.sizes)[:-1]),
            strict=True,
        )
    )
    assert np.flatnonzero(parts["Time_Event_Month"]).tolist() == [1]
    assert np.flatnonzero(parts["Time_Planned_Day"]).tolist() == list(range(1, 30))


@pytest.mark.parametrize("value", [3, "3", 3.5, "0..4"])
def test_a_number_that_is_allowed_means_its_bucket(bundle: Bundle, value: object) -> None:
    allowed = read(bundle, changed("allowed", to={"Hours": [value]})).query.allowed
    assert allowed is not None
    at = [category.name for category in bundle.schema.categories].index("Hours")
    ids = np.flatnonzero(allowed[bundle.codec.starts[at] : bundle.codec.starts[at + 1]])
    assert [bundle.codec.names[at][i] for i in ids] == ["0..4"]


def test_a_datetime_of_which_a_part_is_asked_for_is_not_blank(bundle: Bundle) -> None:
    allowed = read(bundle, changed("allowed", to={"Time_Planned_Hour": ["8"]})).query.allowed
    assert allowed is not None
    starts = np.cumsum((0, *bundle.codec.sizes))[:-1]
    blank = [c.name for c, start in zip(bundle.schema.categories, starts, strict=True) if not allowed[start]]
    assert blank == [f"Time_Planned_{part}" for part in ("Month", "Day", "Hour", "Minute")]


def test_the_focus_comes_first(bundle: Bundle) -> None:
    request = read(bundle, changed("focus", to="bob"))
    assert request.focus == "bob"
    assert request.query.histories.length[:2].tolist() == [2, 3]
    assert request.query.histories.vocabulary_id[:2].tolist() == [2, 1]


def test_an_error_is_named_by_its_place_in_the_body_where_the_focus_was_moved(bundle: Bundle) -> None:
    body = changed("focus", to="bob")
    body["streams"]["Worker"][0]["events"][1]["Hours"] = "x"
    assert error_of(bundle, body).loc == "streams.Worker[0].events[1].Hours"


def test_the_only_entity_is_the_focus(bundle: Bundle) -> None:
    assert read(bundle, {"streams": {"Worker": [{"id": 7, "events": [event(0, Worker=7)]}]}}).focus == "7"


def test_a_stream_left_out_has_no_entities(bundle: Bundle) -> None:
    request = read(bundle, without("streams", "Case"))
    assert request.query.histories.entities == (2, 0, 1)


def test_now_is_the_latest_events_time_unless_it_is_given(bundle: Bundle) -> None:
    latest = bundle.codec.moment("2026-01-29T08:09:00").timestamp
    assert read(bundle, without("now")).query.now == latest
    assert read(bundle, example()).query.now == latest + 60_000_000


def test_an_empty_history_can_be_predicted_from(bundle: Bundle) -> None:
    body = {"streams": {"Worker": [{"id": "new", "events": []}]}, "now": "2026-01-29T08:00:00"}
    query = read(bundle, body).query
    assert query.histories.length[0] == 0
    assert query.histories.vocabulary_id[0] == 0


def test_defaults_ask_for_one_event_in_every_category(bundle: Bundle) -> None:
    request = read(bundle, {"streams": {"Worker": [{"id": "ann", "events": [event(0)]}]}})
    assert request.query.horizon == 1
    assert request.top_k == 5
    assert request.categories == tuple(range(len(bundle.schema.categories)))
    assert request.query.allowed is None
    assert request.query.observed is None
    assert request.query.quantiles == ()


def test_quantiles_are_levels_in_the_order_sent(bundle: Bundle) -> None:
    assert read(bundle, example()).query.quantiles == (0.1, 0.5, 0.9)
    most = [i / 20 for i in range(1, MAX_QUANTILES + 1)]
    assert read(bundle, changed("quantiles", to=most)).query.quantiles == tuple(most)


def test_no_levels_ask_for_no_quantiles(bundle: Bundle) -> None:
    assert read(bundle, changed("quantiles", to=[])).query.quantiles == ()


@pytest.mark.parametrize("blank", [{}, {"Worker": None}, {"Worker": "", "Helper": ""}])
def test_an_observed_event_that_names_nobody_is_the_focus_s_own(bundle: Bundle, blank: dict[str, Any]) -> None:
    body = changed("focus", to="bob")
    body["observed"] = {k: v for k, v in event(20, "bob").items() if k != "Worker"} | blank
    full = body | {"observed": event(20, "bob")}
    assert np.array_equal(read(bundle, body).query.observed, read(bundle, full).query.observed)


def test_an_observed_event_in_which_the_focus_is_second_keeps_its_blank(bundle: Bundle) -> None:
    observed = read(bundle, changed("observed", to=event(20, "", Helper="ann"))).query.observed
    assert observed is not None
    assert observed[1:3].tolist() == [0, 1]  # Worker is blank, Helper is ann


def test_null_counts_as_left_out(bundle: Bundle) -> None:
    nulls = dict.fromkeys(KEYS[1:])
    streams = {"Worker": [{"id": "ann", "events": [event(0)]}], "Case": None}
    assert repr(read(bundle, {"streams": streams} | nulls)) == repr(read(bundle, {"streams": streams}))


def test_allowed_keeps_what_it_names_and_every_other_category_whole(bundle: Bundle) -> None:
    allowed = read(bundle, example()).query.allowed
    assert allowed is not None
    names = [category.name for category in bundle.schema.categories]
    parts = dict(zip(names, np.split(allowed, np.cumsum(bundle.codec.sizes)[:-1]), strict=True))
    assert np.flatnonzero(parts["Site"]).tolist() == [1, 2, 3]
    assert np.flatnonzero(parts["Time_Event_Hour"]).tolist() == [9, 10]  # hours 8 and 9: ids are one above
    others = {name: part for name, part in parts.items() if name not in ("Site", "Time_Event_Hour")}
    assert all(part[1:].all() for part in others.values())
    assert [name for name, part in others.items() if not part[0]] == [
        "Time_Event_Month", "Time_Event_Day", "Time_Event_Minute"
    ]  # fmt: skip


def test_values_that_the_vocabularies_lack_are_counted_and_blanks_are_not(bundle: Bundle) -> None:
    categories = [category.name for category in bundle.schema.categories]
    base = [categories[c] for c in read(bundle, example()).unknown]
    assert base == ["Worker"]  # "eve" in the stream Time
    body = changed(*EVENTS, 0, "Site", to="nowhere")
    body["streams"]["Worker"][0]["events"][1]["Site"] = ""
    body["observed"]["Kind"] = "nap"
    assert sorted(categories[c] for c in read(bundle, body).unknown) == ["Kind", "Site", *base]


def test_a_zoned_schema_wants_an_offset_and_keeps_it(zoned: Bundle) -> None:
    body = {"streams": {"Worker": [{"id": "ann", "events": [event(0)]}]}}
    assert error_of(zoned, body).code == "bad_datetime"
    body["streams"]["Worker"][0]["events"][0]["EventDatetime"] = "2026-07-01T08:00:00Z"
    assert read(zoned, body).query.now_utc_offset == 7200


def test_a_misspelt_name_gets_the_nearest_one_as_a_hint(bundle: Bundle) -> None:
    assert "'Kind'" in error_of(bundle, changed(*EVENTS, 0, "Knid", to="in")).hint
    assert "'Worker'" in error_of(bundle, changed("streams", "Wroker", to=[])).hint


def test_a_value_nested_without_end_is_refused_like_any_other(bundle: Bundle) -> None:
    nested: list[Any] = []
    for _ in range(10_000):
        nested = [nested]
    assert error_of(bundle, changed("streams", to=nested)).code == "not_an_object"


def test_an_error_says_its_place_the_fault_and_the_fix(bundle: Bundle) -> None:
    error = error_of(bundle, changed("horizon", to=0))
    assert str(error) == f"horizon: {error.message}. {error.hint}"
    assert str(error_of(bundle, [])).startswith("a request is an object")


def test_a_long_value_is_not_repeated_in_full(bundle: Bundle) -> None:
    error = error_of(bundle, changed("x" * 100_000, to=1))
    assert len(error.loc) + len(error.message) + len(error.hint) < 500


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.datetimes()
    | st.sampled_from(["ann", "2026-01-29", np.float32(2), np.int64(3), (1, 2), {1}, object()]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inner for place in places(item, (*at, key)))]


def as_example_in_rows() -> dict[str, Any]:
    return changed(*EVENTS, to=as_rows(example()["streams"]["Worker"][0]["events"]))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_document_is_read_or_refused_and_nothing_else(bundle: Bundle, data: st.DataObject) -> None:
    body: Any = {"": deepcopy(data.draw(st.sampled_from([example(), as_example_in_rows()])))}
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(body)[1:]))
        parent = body
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = data.draw(VALUES)
    with suppress(RequestError):
        read(bundle, body[""])


def test_a_whole_number_may_be_written_with_a_point(bundle: Bundle) -> None:
    sampling = {"num_samples": 3.0, "seed": 7.0}
    request = read_request(example() | {"horizon": 2.0, "top_k": 4.0, "sampling": sampling}, bundle)
    assert (request.query.horizon, request.top_k, request.query.sampling) == (2, 4, Sampling(3, seed=7))


def test_sampling_is_greedy_unless_asked_for(bundle: Bundle) -> None:
    assert read_request(example(), bundle).query.sampling is None
    assert read_request(example() | {"sampling": {"seed": 7}}, bundle).query.sampling == Sampling(1, 1.0, 1.0, 7)


@pytest.mark.parametrize(
    ("sampling", "code", "loc"),
    [
        ([], "not_an_object", "sampling"),
        ({"samples": 3}, "unknown_key", "sampling.samples"),
        ({"num_samples": 0}, "bad_sampling", "sampling.num_samples"),
        ({"num_samples": MAX_SAMPLES + 1}, "bad_sampling", "sampling.num_samples"),
        ({"num_samples": 2.5}, "bad_sampling", "sampling.num_samples"),
        ({"num_samples": True}, "bad_sampling", "sampling.num_samples"),
        ({"temperature": 0}, "bad_sampling", "sampling.temperature"),
        ({"temperature": 1e-46}, "bad_sampling", "sampling.temperature"),
        ({"temperature": "hot"}, "bad_sampling", "sampling.temperature"),
        ({"top_p": 1.5}, "bad_sampling", "sampling.top_p"),
        ({"top_p": 1e-46}, "bad_sampling", "sampling.top_p"),
        ({"seed": -1}, "bad_sampling", "sampling.seed"),
        ({"seed": 2**63}, "bad_sampling", "sampling.seed"),
    ],
)
def test_a_wrong_sampling_names_its_place(bundle: Bundle, sampling: object, code: str, loc: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_request(example() | {"sampling": sampling}, bundle)
    assert (caught.value.code, caught.value.loc) == (code, loc)
