"""Of a recent log, a prediction reads what training reads; a client need not know what that is."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import TINY
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from server_example import ZONED, event, write_example

from eventmodel.bundle import Bundle
from eventmodel.context import stream_batch
from eventmodel.engine.layout import lay_out
from eventmodel.event_log import EventLog
from eventmodel.request.errors import RequestError
from eventmodel.request.question import PredictRequest
from eventmodel.request.reader import MAX_RECORDS, read_request, read_requests
from eventmodel.request.records import Records, as_json, build_request
from eventmodel.schema import NumberField
from training.sampling import Nows, Sampler


@pytest.fixture(scope="module")
def of_log(small_log: EventLog) -> Bundle:
    """A bundle of ``small_log``, without its model."""
    return Bundle(
        Path(), "small", "0", small_log.schema, small_log.vocabularies, TINY, (), {}, {}, parity={}, example={}
    )  # fmt: skip


def request_of(bundle: Bundle, records: Any, focus: str, now: Any = None, **question: Any) -> PredictRequest:
    table = Records.of(bundle, records)
    return table.requests([table.read(focus, now)], as_json(question))[0]


def assert_same_arrays(a: object, b: object) -> None:
    """Two trees of arrays and numbers are equal."""
    if isinstance(a, Sequence) and not isinstance(a, str):
        assert isinstance(b, Sequence)
        for x, y in zip(a, b, strict=True):
            assert_same_arrays(x, y)
    else:
        np.testing.assert_array_equal(a, b)  # type: ignore[arg-type]


def assert_reads_the_same(bundle: Bundle, log: EventLog, nows: Nows, request: PredictRequest) -> None:
    """The batch of a request is the one that training makes of the log."""
    expected, _ = Sampler(log, bundle.config, 0, len(log.events.timestamp)).batch(nows, n_targets=1)
    streams, inputs = lay_out([request.query], bundle.schema, bundle.config)
    assert_same_arrays(
        (tuple(stream_batch(rows.events, rows.rows) for _, rows in streams), *inputs),
        (expected.streams, expected.memory, expected.sequence),
    )


def name_of(log: EventLog, frame: pl.DataFrame, entity: int) -> str:
    """The name of an entity of the focus stream, in the records that the log was made of."""
    row = log.focus.rows[log.focus.start[entity]]
    column = log.schema.focus_stream.keys[int(np.argmax(log.focus.keys[row] == entity))]
    return frame.sort(log.schema.order_by, maintain_order=True)[column][int(row)]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_of_all_records_up_to_an_event_serving_reads_what_training_reads_there(
    of_log: Bundle, small_log: EventLog, small_frame: pl.DataFrame, data: st.DataObject
) -> None:
    sampler = Sampler(small_log, of_log.config, 0, len(small_log.events.timestamp))
    nows = sampler.at_last_event(np.array([data.draw(st.sampled_from(sampler.positions.tolist()))]))
    focus = name_of(small_log, small_frame, small_log.focus.entity[nows.position[0]])
    in_order = np.argsort(small_frame["EventDatetime"].to_numpy(), kind="stable")
    up_to_now = small_frame[np.sort(in_order[: nows.last_row[0] + 1])]
    assert_reads_the_same(of_log, small_log, nows, request_of(of_log, up_to_now, focus))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_of_the_whole_log_serving_reads_at_any_moment_what_training_reads_there(
    of_log: Bundle, small_log: EventLog, small_frame: pl.DataFrame, seed: int
) -> None:
    random = np.random.default_rng(seed)
    sampler = Sampler(small_log, of_log.config, 0, len(small_log.events.timestamp))
    drawn = sampler.draw(random, random.choice(sampler.positions, 16))
    between = drawn.timestamp > small_log.events.timestamp[drawn.last_row]  # no tie to break
    assume(between.any())
    nows = Nows(*(column[between][:1] for column in drawn))
    focus = name_of(small_log, small_frame, small_log.focus.entity[nows.position[0]])
    now = small_log.codec.at_timestamp(int(nows.timestamp[0])).wall
    assert_reads_the_same(of_log, small_log, nows, request_of(of_log, small_frame, focus, now))


NAMES = st.sampled_from(["ann", "bob", "cid", "new", 17])
RECORDS = st.lists(
    st.fixed_dictionaries(
        {"EventDatetime": st.integers(0, 9).map(lambda minute: f"2026-01-29T08:0{minute}:00")},
        optional={
            "Kind": st.sampled_from(["in", "out", "nap", None]),
            "Worker": NAMES,
            "Helper": NAMES | st.none(),
            "Site": st.sampled_from(["s1", "s2", "s99", ""]),
            "Hours": st.sampled_from([3, 4.5, "0..4", None]),
            "Case": st.sampled_from([17, "18", "x", None]),
            "PlannedDatetime": st.just(datetime(2026, 1, 29, 9)),
        },
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(records=RECORDS, focus=NAMES, minute=st.integers(-1, 9))
def test_the_document_says_the_same_as_the_records(
    example_bundle: Bundle, records: list[dict[str, Any]], focus: str | int, minute: int
) -> None:
    now = None if minute < 0 else f"2026-01-29T08:0{minute}:30"
    up_to_now = [r for r in records if now is None or r["EventDatetime"] <= now]
    if not any(str(focus) in (str(r.get("Worker")), str(r.get("Helper"))) for r in up_to_now):
        with pytest.raises(RequestError) as caught:
            build_request(example_bundle, records, focus, now)
        assert caught.value.code in ("no_records", "unknown_focus")
        return
    question: Any = {"quantiles": (0.1, 0.5), "allowed": {"Site": ("s1",)}, "horizon": 2}
    document = json.loads(json.dumps(build_request(example_bundle, records, focus, now, **question)))
    assert_same_arrays(
        read_request(document, example_bundle), request_of(example_bundle, records, focus, now, **question)
    )  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(records=RECORDS.filter(len), data=st.data())
def test_records_may_come_in_any_order_that_keeps_equal_times(
    example_bundle: Bundle, records: list[dict[str, Any]], data: st.DataObject
) -> None:
    records[0]["Worker"] = "ann"
    times = data.draw(st.permutations(sorted({r["EventDatetime"] for r in records})))
    shuffled = sorted(records, key=lambda r: times.index(r["EventDatetime"]))
    assert_same_arrays(request_of(example_bundle, shuffled, "ann"), request_of(example_bundle, records, "ann"))


class Labelled(list[object]):
    """A column that goes by labels, as those of a frame that was sorted do: here from its end."""

    def __getitem__(self, label: Any) -> Any:
        return list(self)[-1 - label]


def test_records_may_be_objects_columns_or_a_frame(example_bundle: Bundle) -> None:
    records = [event(0), event(1, "bob", Helper="ann"), event(2, Hours="3")]
    frame = pl.DataFrame(records)
    expected = request_of(example_bundle, records, "ann")
    labelled = {name: Labelled(values) for name, values in frame.to_dict(as_series=False).items()}
    for same in (frame, frame.to_dict(as_series=False), tuple(records), labelled):
        assert_same_arrays(request_of(example_bundle, same, "ann"), expected)


def test_columns_that_the_schema_lacks_are_left_out_where_no_field_lacks_its_own(example_bundle: Bundle) -> None:
    frame = pl.DataFrame([dict.fromkeys(example_bundle.schema.field_by_name) | event(5)])
    more = frame.with_columns(LoadedAt=pl.lit("2026"))
    assert_same_arrays(request_of(example_bundle, more, "ann"), request_of(example_bundle, frame, "ann"))
    with pytest.raises(RequestError, match="no field 'LoadedAt'"):
        request_of(example_bundle, more.drop("Site"), "ann")


def test_what_the_schema_lacks_is_left_out_of_objects_as_it_is_of_columns(example_bundle: Bundle) -> None:
    whole = dict.fromkeys(example_bundle.schema.field_by_name) | event(5)
    more = [whole | {"LoadedAt": "2026"}]
    assert_same_arrays(request_of(example_bundle, more, "ann"), request_of(example_bundle, [whole], "ann"))
    with pytest.raises(RequestError, match="no field 'LoadedAt'"):
        request_of(example_bundle, [event(5, LoadedAt="2026")], "ann")


def test_one_record_that_names_a_field_names_it_for_all(example_bundle: Bundle) -> None:
    whole = dict.fromkeys(example_bundle.schema.field_by_name) | event(5)
    short = event(3)
    with_more = [whole | {"LoadedAt": "2026"}, short | {"LoadedAt": "2026"}]
    assert_same_arrays(request_of(example_bundle, with_more, "ann"), request_of(example_bundle, [whole, short], "ann"))


def test_a_table_that_is_not_collected_is_told_so(example_bundle: Bundle) -> None:
    with pytest.raises(RequestError, match="Call collect"):
        request_of(example_bundle, pl.DataFrame([event(5)]).lazy(), "ann")


def test_a_focus_that_comes_later_than_now_is_told_so(example_bundle: Bundle) -> None:
    with pytest.raises(RequestError, match="every record that names 'bob' is later than 2026-01-29T08:00:30"):
        build_request(example_bundle, GOOD, "bob", "2026-01-29T08:00:30")


def test_a_moment_that_no_calendar_has_is_told(example_bundle: Bundle) -> None:
    with pytest.raises(RequestError, match="ISO 8601"):
        build_request(example_bundle, GOOD, "ann", observed=event(5, EventDatetime=np.datetime64("12026-01-29")))


def test_records_may_be_mappings_of_any_kind(example_bundle: Bundle) -> None:
    assert_same_arrays(
        request_of(example_bundle, [MappingProxyType(event(5))], "ann"), request_of(example_bundle, [event(5)], "ann")
    )


def test_a_short_float_is_the_decimal_that_it_is_written_as(example_bundle: Bundle) -> None:
    assert float(np.float32(0.7)) < 0.7
    fields = [
        f.model_copy(update={"edges": (0.7,)}) if isinstance(f, NumberField) else f
        for f in example_bundle.schema.fields
    ]
    bundle = replace(example_bundle, schema=example_bundle.schema.model_copy(update={"fields": tuple(fields)}))
    expected = request_of(bundle, [event(5, Hours=0.7)], "ann")
    frame = pl.DataFrame([event(5, Hours=0.7)]).with_columns(pl.col("Hours").cast(pl.Float32))
    assert_same_arrays(request_of(bundle, frame, "ann"), expected)
    assert_same_arrays(request_of(bundle, [event(5, Hours=np.float32(0.7))], "ann"), expected)


def test_what_pandas_has_for_nothing_is_a_blank(example_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def __bool__(self) -> bool:
            raise TypeError("boolean value of NA is ambiguous")

        def __eq__(self, other: object) -> object:  # type: ignore[override]
            return self

        __hash__ = object.__hash__

    missing = Missing()
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(NA=missing))
    blank, given = [event(5) | {"Site": None}], [event(5) | {"Site": missing}]
    assert_same_arrays(request_of(example_bundle, given, "ann"), request_of(example_bundle, blank, "ann"))
    assert build_request(example_bundle, given, "ann", now=missing) == build_request(example_bundle, blank, "ann")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "typed", "text"),
    [
        ("EventDatetime", date(2026, 1, 29), "2026-01-29T00:00:00"),
        ("EventDatetime", np.datetime64("2026-01-29T08:30:00", "ns"), "2026-01-29T08:30:00"),
        ("Case", Decimal("17.00"), "17"),
        ("Case", Decimal("12345678901234567890.0123456789"), "12345678901234567890.0123456789"),
        ("Site", float("nan"), None),
        ("Hours", float("nan"), None),
        ("Hours", Decimal("1.5"), 1.5),
    ],
)
def test_what_typed_tables_hold_is_read_as_its_text(
    example_bundle: Bundle, field: str, typed: object, text: object
) -> None:
    records, same = [event(5)], [event(5)]
    records[0][field], same[0][field] = typed, text
    assert_same_arrays(request_of(example_bundle, records, "ann"), request_of(example_bundle, same, "ann"))
    document = json.loads(json.dumps(build_request(example_bundle, records, "ann"), allow_nan=False))
    assert_same_arrays(read_request(document, example_bundle), request_of(example_bundle, same, "ann"))


def test_the_focus_is_read_with_those_that_it_met_most_recently(example_bundle: Bundle) -> None:
    records = [event(0, Case=1), event(1, "bob", Case=4), event(2, Case=2), event(3, Helper="cid", Case=3)]
    streams = build_request(example_bundle, records, "ann")["streams"]
    assert [entity["id"] for entity in streams["Worker"]] == ["ann", "cid"]
    assert [entity["id"] for entity in streams["Case"]] == ["3", "2"]
    assert len(streams["Time"][0]["events"]["rows"]) == 4


def test_a_history_is_cut_to_what_the_model_reads(example_bundle: Bundle) -> None:
    streams = build_request(example_bundle, [event(minute) for minute in range(20)], "ann")["streams"]
    events = streams["Worker"][0]["events"]
    at = events["columns"].index("EventDatetime")
    assert [row[at] for row in events["rows"]] == [f"2026-01-29T08:{minute}:00" for minute in range(14, 20)]


def test_now_is_the_latest_record_unless_it_is_given(example_bundle: Bundle) -> None:
    records = [event(9, "bob"), event(3)]
    assert build_request(example_bundle, records, "ann")["now"] == "2026-01-29T08:09:00"
    assert build_request(example_bundle, records, "ann", datetime(2026, 1, 29, 8, 5))["now"] == "2026-01-29T08:05:00"


def test_a_request_of_decimals_is_json(example_bundle: Bundle) -> None:
    document = build_request(example_bundle, [event(0, Hours=Decimal("4.25"))], "ann")
    assert "4.25" in json.dumps(document)


def test_a_name_cut_in_the_middle_of_a_character_is_one_like_any_other(example_bundle: Bundle) -> None:
    cut = "ann\ud83d"
    request = request_of(example_bundle, [event(10, Worker=cut)], cut)
    assert (request.focus, request.query.histories.vocabulary_id[0]) == (cut, 0)


def test_records_that_name_no_focus_at_all_are_told_so(example_bundle: Bundle) -> None:
    with pytest.raises(RequestError) as caught:
        build_request(example_bundle, {"EventDatetime": ["2026-01-29T08:00:00"]}, "ann")
    assert (caught.value.code, caught.value.hint) == ("unknown_focus", "Give records that name it.")


def test_datetimes_of_a_zoned_log_are_written_with_their_offset(tmp_path: Path) -> None:
    zoned = write_example(tmp_path, ZONED)
    document = build_request(zoned, [event(0, EventDatetime=datetime(2026, 7, 1, 8, tzinfo=UTC))], "ann")
    assert document["now"] == "2026-07-01T10:00:00+02:00"
    assert read_request(document, zoned).query.now_utc_offset == 7200


def test_an_event_that_several_read_is_the_same_to_each(example_bundle: Bundle) -> None:
    records = [event(0), event(1, "bob", Helper="ann"), event(2, "bob", Site="s99")]
    table = Records.of(example_bundle, records)
    together = table.requests([table.read("ann"), table.read("bob")], {})
    for request, focus in zip(together, ("ann", "bob"), strict=True):
        assert_same_arrays(request, request_of(example_bundle, records, focus))


GOOD = [event(0), event(1, "bob")]
CASES = {
    # what is given: (the records, the other arguments, where it is wrong, the code)
    "no records": ([], {}, "records", "no_records"),
    "no columns": ({}, {}, "records", "no_records"),
    "no table": (5, {}, "records", "not_a_list"),
    "a record as columns": (event(0), {}, "records.Kind", "not_a_list"),
    "columns of two lengths": ({"Worker": ["ann"], "EventDatetime": []}, {}, "records", "column_length"),
    "a record as text": ([*GOOD, "ann"], {}, "records[2]", "not_an_object"),
    "unknown field": ([*GOOD, event(2, Siet="s1")], {}, "records[2].Siet", "unknown_field"),
    "unknown column": ({"Siet": ["s1"]}, {}, "records.Siet", "unknown_field"),
    "no datetime": ([*GOOD, {"Worker": "ann"}], {}, "records[2].EventDatetime", "missing_datetime"),
    "bad datetime": ([event(0, EventDatetime="soon"), *GOOD], {}, "records[0].EventDatetime", "bad_datetime"),
    "no column of datetimes": ({"Worker": ["ann"]}, {}, "records[0].EventDatetime", "missing_datetime"),
    "bad key": ([*GOOD, event(2, Case=float("inf"))], {}, "records[2].Case", "bad_value"),
    "bad value": ([event(9), event(3, Hours="x"), *GOOD], {}, "records[1].Hours", "bad_value"),
    "no focus": (GOOD, {"focus": None}, "focus", "unknown_focus"),
    "unknown focus": (GOOD, {"focus": "anne"}, "focus", "unknown_focus"),
    "focus after now": (GOOD, {"focus": "bob", "now": "2026-01-29T08:00:30"}, "focus", "unknown_focus"),
    "all after now": (GOOD, {"now": "2026-01-29T07:00:00"}, "now", "no_records"),
    "bad now": (GOOD, {"now": "yesterday"}, "now", "bad_datetime"),
    "bad horizon": (GOOD, {"horizon": 0}, "horizon", "bad_horizon"),
    "unknown key": (GOOD, {"horizn": 1}, "horizn", "unknown_key"),
    "streams beside records": (GOOD, {"streams": {}}, "streams", "unknown_key"),
}  # fmt: skip


@pytest.mark.parametrize(("records", "changes", "loc", "code"), CASES.values(), ids=CASES.keys())
def test_what_is_wrong_is_named_by_its_place(
    example_bundle: Bundle, records: Any, changes: dict[str, Any], loc: str, code: str
) -> None:
    with pytest.raises(RequestError) as caught:
        build_request(example_bundle, records, **{"focus": "ann"} | changes)
    assert (caught.value.loc, caught.value.code) == (loc, code)
    assert caught.value.message
    assert caught.value.hint


def test_a_misspelt_focus_gets_the_nearest_one_as_a_hint(example_bundle: Bundle) -> None:
    with pytest.raises(RequestError, match="Did you mean 'ann'"):
        build_request(example_bundle, GOOD, "anne")


def test_a_value_that_is_not_read_is_not_looked_at(example_bundle: Bundle) -> None:
    """Records may be many; what lies before the newest events of the histories costs nothing."""
    old = event(0, "bob", Hours="x")
    newer = [event(minute) for minute in range(1, 20)]
    assert build_request(example_bundle, [old, *newer], "ann")["focus"] == "ann"


# --- records in a request ----------------------------------------------------------------------


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


ROWS = {"columns": list(GOOD[0]), "rows": [list(record.values()) for record in GOOD]}


@pytest.mark.parametrize("records", [GOOD, ROWS])
def test_a_request_may_hold_records_of_which_the_prediction_reads_what_it_would_be_sent(
    example_bundle: Bundle, records: Any
) -> None:
    document = {"records": records, "focus": "ann", "horizon": 2, "top_k": 1}
    assert_same_arrays(
        read_request(document, example_bundle), request_of(example_bundle, GOOD, "ann", horizon=2, top_k=1)
    )


def test_requests_of_both_kinds_are_read_together(example_bundle: Bundle) -> None:
    documents = [
        {"records": GOOD, "focus": "ann"},
        build_request(example_bundle, GOOD, "ann"),
        {"records": ROWS, "focus": "bob"},
    ]
    for together, document in zip(read_requests(documents, example_bundle), documents, strict=True):
        assert_same_arrays(together, read_request(document, example_bundle))


@pytest.mark.parametrize(
    ("changes", "code", "loc"),
    [
        ({"streams": {"Worker": []}}, "streams_and_records", "records"),
        ({"focus": None}, "missing_focus", "focus"),
        ({"focus": "nobody"}, "unknown_focus", "focus"),
        ({"records": []}, "no_records", "records"),
        ({"records": "all"}, "not_a_list", "records"),
        ({"records": [{}]}, "missing_datetime", "records[0].EventDatetime"),
        ({"observed": {"Kind": nested(600)}}, "bad_value", "observed.Kind"),
        ({"records": [GOOD[0] | {"Siet": "s1"}]}, "unknown_field", "records[0].Siet"),
        ({"records": ROWS | {"rows": [*ROWS["rows"], ["x"]]}}, "row_width", f"records.rows[{len(GOOD)}]"),
        ({"records": [GOOD[0] | {"EventDatetime": "soon"}]}, "bad_datetime", "records[0].EventDatetime"),
        (
            {"records": {"columns": ["EventDatetime"], "rows": [["2026-01-29"]] * (MAX_RECORDS + 1)}},
            "too_many_records",
            "records.rows",
        ),
    ],
)
def test_what_is_wrong_with_a_request_s_records_is_named_by_its_place(
    example_bundle: Bundle, changes: dict[str, Any], code: str, loc: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read_request({"records": GOOD, "focus": "ann"} | changes, example_bundle)
    assert (caught.value.code, caught.value.loc) == (code, loc)
