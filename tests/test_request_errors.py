"""What cannot be read becomes one error that names the place and the fix."""

from pathlib import Path
from typing import Any

import pytest
from documents import ANN, EVENTS, as_rows, changed, without
from server_example import SCHEMA, event, example, write_example

from eventmodel.bundle import Bundle
from eventmodel.request.errors import RequestError
from eventmodel.request.question import MAX_SAMPLES
from eventmodel.request.reader import read_request, read_requests


def error_of(bundle: Bundle, body: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read_request(body, bundle)
    return caught.value


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
    "a datetime as category": (changed("categories", 1, to="EventDatetime"), "categories[1]", "unknown_category"),
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
    assert read_request(body | {"observed": event(20, Case=case)}, of_cases).query.observed is not None
    error = error_of(of_cases, body | {"observed": event(20, Case="another")})
    assert (error.code, error.loc) == ("event_of_another_entity", "observed.Case")


@pytest.mark.parametrize(("body", "loc", "code"), CASES.values(), ids=CASES.keys())
def test_what_is_wrong_is_named_by_its_place(example_bundle: Bundle, body: object, loc: str, code: str) -> None:
    error = error_of(example_bundle, body)
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
def test_a_bad_row_is_named_by_its_place(example_bundle: Bundle, events: object, loc: str, code: str) -> None:
    error = error_of(example_bundle, changed(*EVENTS, to=events))
    assert (error.loc, error.code) == (f"streams.Worker[0].events.{loc}", code)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_of_requests_read_together_one_that_is_wrong_is_told(example_bundle: Bundle, place: int) -> None:
    documents: list[object] = [example(), example(), example()]
    documents[place] = changed(*EVENTS, to=[event(5), event(4)])
    with pytest.raises(RequestError, match="earlier than the one before it"):
        read_requests(documents, example_bundle)


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        (changed("streams", "Time", to={}), "streams.Time"),
        (changed("streams", "Time", to=[{"events": []}] * 2), "streams.Time"),
        (changed("streams", "Time", 0, to="x"), "streams.Time[0]"),
    ],
)
def test_a_hint_about_a_stream_without_keys_asks_for_no_id(example_bundle: Bundle, body: object, loc: str) -> None:
    error = error_of(example_bundle, body)
    assert error.loc == loc
    assert '{"events": [...]}' in error.hint


@pytest.mark.parametrize(
    "body",
    [changed("categories", to="Kind"), changed("allowed", to=[]), changed(*EVENTS, to={"columns": 3, "rows": []})],
)
def test_a_hint_names_what_the_schema_has(example_bundle: Bundle, body: object) -> None:
    assert '"Kind"' in error_of(example_bundle, body).hint


def test_an_error_is_named_by_its_place_in_the_body_where_the_focus_was_moved(example_bundle: Bundle) -> None:
    body = changed("focus", to="bob")
    body["streams"]["Worker"][0]["events"][1]["Hours"] = "x"
    assert error_of(example_bundle, body).loc == "streams.Worker[0].events[1].Hours"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("EventDatetime", "has the categories 'Time_Event_Month', 'Time_Event_Day'"),
        ("Case", "it is not predicted"),
        ("lunch", "Send one of 'Kind'"),
    ],
)
def test_a_hint_says_what_a_field_that_is_no_category_has_in_place_of_it(
    example_bundle: Bundle, name: str, hint: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read_request(changed("categories", to=[name]), example_bundle)
    assert hint in caught.value.hint


def test_a_misspelt_name_gets_the_nearest_one_as_a_hint(example_bundle: Bundle) -> None:
    assert "'Kind'" in error_of(example_bundle, changed(*EVENTS, 0, "Knid", to="in")).hint
    assert "'Worker'" in error_of(example_bundle, changed("streams", "Wroker", to=[])).hint


def test_a_value_nested_without_end_is_refused_like_any_other(example_bundle: Bundle) -> None:
    nested: list[Any] = []
    for _ in range(10_000):
        nested = [nested]
    assert error_of(example_bundle, changed("streams", to=nested)).code == "not_an_object"


def test_an_error_says_its_place_the_fault_and_the_fix(example_bundle: Bundle) -> None:
    error = error_of(example_bundle, changed("horizon", to=0))
    assert str(error) == f"horizon: {error.message}. {error.hint}"
    assert str(error_of(example_bundle, [])).startswith("a request is an object")


def test_a_long_value_is_not_repeated_in_full(example_bundle: Bundle) -> None:
    error = error_of(example_bundle, changed("x" * 100_000, to=1))
    assert len(error.loc) + len(error.message) + len(error.hint) < 500


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
def test_a_wrong_sampling_names_its_place(example_bundle: Bundle, sampling: object, code: str, loc: str) -> None:
    error = error_of(example_bundle, example() | {"sampling": sampling})
    assert (error.code, error.loc) == (code, loc)
