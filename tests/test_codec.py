import pickle
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmodel.codec import Codec, EncodeError
from eventmodel.coders import IdCoder, text_of
from eventmodel.schema import Schema

PEOPLE, SITES = ("ann", "bob", "0042"), ("north", "south")


def make_codec(tiny_schema: Schema, time_zone: str | None = None) -> Codec:
    schema = tiny_schema.model_copy(update={"time_zone": time_zone})
    return Codec(schema, {"people": PEOPLE, "Site": SITES})


@pytest.fixture(scope="module")
def codec(tiny_schema):
    return make_codec(tiny_schema)


@pytest.fixture(scope="module")
def zoned(tiny_schema):
    return make_codec(tiny_schema, "Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0042", "0042"),
        (42, "42"),
        (42.0, "42"),
        (0.5, "0.5"),
        (np.int32(7), "7"),
        (np.float64(7), "7"),
        (True, "true"),
        (None, None),
        ("", None),
    ],
)
def test_a_name_is_text_and_a_number_its_decimal_text(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize("spelt", [("false", "true"), ("False", "True"), ("FALSE", "TRUE")])
def test_a_boolean_is_the_value_that_the_log_spells_in_its_own_way(tiny_schema, spelt):
    schema = tiny_schema.model_dump(mode="json")
    schema["fields"].append({"name": "IsVip", "kind": "enum", "values": list(spelt)})
    codec = make_codec(Schema.model_validate(schema))
    assert [codec.encode_value("IsVip", value) for value in (False, True, np.True_)] == [(1,), (2,), (2,)]


@pytest.mark.parametrize("value", [{}, [], Decimal("inf"), float("inf"), b"x"])
def test_what_cannot_name_anything_is_an_error(value):
    with pytest.raises(ValueError, match="string"):
        text_of(value)


@pytest.mark.parametrize("value", [1e22, -1e22, float(2**53 + 2), np.float64(1e300)])
def test_a_number_that_has_lost_digits_names_nothing(value):
    with pytest.raises(ValueError, match="lost digits"):
        text_of(value)
    assert text_of(10**22 + 123) == "10000000000000000000123"


@pytest.mark.parametrize("spelt", ["1042", "1042.0"])
@pytest.mark.parametrize("value", [1042, 1042.0, "1042", "1042.0", Decimal("1042.00")])
def test_a_whole_number_is_the_name_that_the_log_spells_in_its_own_way(spelt, value):
    coder = IdCoder(["7", spelt])
    assert coder.encode(value) == (2,)
    assert coder.encode("1042.00") == (0,)  # a version may be


@pytest.mark.parametrize("spelt", ["true", "True", "TRUE"])
@pytest.mark.parametrize("value", [True, "true", "True", "TRUE"])
def test_a_boolean_may_be_text_of_another_spelling(spelt, value):
    assert IdCoder(["no", spelt]).encode(value) == (2,)


@pytest.mark.parametrize("value", ["1711121312345", "1711121312", "171112131234"])
def test_digits_alone_are_no_datetime_but_a_date(codec, value):
    with pytest.raises(ValueError, match="ISO 8601"):
        codec.moment(value)
    assert codec.moment("20260129") == codec.moment("2026-01-29")


def test_ids_follow_the_vocabulary_from_one(codec):
    assert [codec.encode_value("Worker", name) for name in PEOPLE] == [(1,), (2,), (3,)]


@pytest.mark.parametrize("value", [None, "", "nobody"])
def test_a_blank_and_an_unseen_name_are_unknown(codec, value):
    assert codec.encode_value("Worker", value) == (0,)


@pytest.mark.parametrize("value", [None, "", "sleep"])
def test_a_blank_and_a_value_outside_the_closed_set_are_unknown(codec, value):
    assert codec.encode_value("Kind", value) == (0,)


@pytest.mark.parametrize(
    ("value", "id_"),
    [(-1, 1), (0, 2), ("3.9", 2), (4, 3), ("8.4999", 3), (8.5, 4), ("1e3", 4), (None, 0), ("", 0)],
)
def test_a_number_falls_into_the_bucket_that_starts_at_its_edge(codec, value, id_):
    assert codec.encode_value("Hours", value) == (id_,)


def test_a_buckets_own_name_is_read_back(codec):
    labels = codec.names[4][1:]
    assert [codec.encode_value("Hours", label) for label in labels] == [(1,), (2,), (3,), (4,)]


def test_a_decimal_is_a_number(codec):
    assert codec.encode_value("Hours", Decimal("4.5")) == codec.encode_value("Hours", 4.5)


@pytest.mark.parametrize("value", ["many", "nan", float("inf"), True, [8], "1" * 400, "1_000"])
def test_what_is_not_a_finite_number_is_an_error(codec, value):
    with pytest.raises(ValueError, match="number"):
        codec.encode_value("Hours", value)


def test_a_datetime_gives_month_day_hour_and_minute(codec):
    assert codec.encode_value("EventDatetime", "2026-03-29T02:30:59") == (3, 29, 3, 31)


def test_a_key_gives_no_id(codec):
    assert codec.encode_value("Case", "K1") == ()


def test_a_key_that_names_nothing_is_an_error(codec):
    with pytest.raises(ValueError, match="expected a string or a number"):
        codec.encode_value("Case", {"id": 1})


@pytest.mark.parametrize("value", ["yesterday", "29/03/2026", 20260329, "2026-02-30T00:00:00"])
def test_what_is_not_iso_8601_is_an_error(codec, value):
    with pytest.raises(ValueError, match="ISO 8601"):
        codec.moment(value)


@pytest.mark.parametrize("value", [None, ""])
def test_the_ordering_datetime_must_be_there(codec, value):
    with pytest.raises(ValueError, match="every event needs this datetime"):
        codec.moment(value)


def test_another_datetime_may_be_blank(codec):
    assert codec.encode_value("PlannedDatetime", "") == (0, 0, 0, 0)


def test_a_local_log_refuses_a_zone(codec):
    with pytest.raises(ValueError, match="local wall time"):
        codec.moment("2026-03-29T02:30:00Z")


def test_a_zoned_log_refuses_wall_time(zoned):
    with pytest.raises(ValueError, match="carries no zone"):
        zoned.moment("2026-03-29T02:30:00")


def test_a_local_moment_is_the_wall_clock(codec):
    moment = codec.moment("1970-01-02T00:00:01.5")
    assert moment == (86_401_500_000, 0)


def test_a_zoned_moment_is_utc_with_the_zones_offset(zoned):
    moment = zoned.moment("1970-01-01T00:00:00Z")
    assert moment == (0, 3600)
    assert moment.wall == datetime(1970, 1, 1, 1)


def test_hours_of_a_zoned_log_are_read_in_its_zone_whatever_offset_is_sent(zoned):
    ids = [zoned.encode_value("EventDatetime", f"2026-07-01T{time}") for time in ("10:00+00:00", "06:00-04:00")]
    assert ids == [(7, 1, 13, 1)] * 2


def test_time_runs_on_through_the_hour_that_clocks_show_twice(zoned):
    first, second = zoned.moment("2026-10-25T02:30:00+02:00"), zoned.moment("2026-10-25T02:30:00+01:00")
    assert second.timestamp - first.timestamp == 3_600_000_000
    assert first.wall == second.wall == datetime(2026, 10, 25, 2, 30)


def test_of_a_wall_time_shown_twice_the_earlier_moment_is_taken(zoned):
    assert zoned.at_wall(datetime(2026, 10, 25, 2, 30)) == zoned.moment("2026-10-25T02:30:00+02:00")


def test_a_wall_time_that_clocks_skip_is_a_moment_after_the_gap(zoned):
    assert zoned.at_wall(datetime(2026, 3, 29, 2, 30)).wall == datetime(2026, 3, 29, 3, 30)


def test_a_datetime_beyond_the_calendar_is_an_error(zoned):
    with pytest.raises(ValueError, match="outside the years"):
        zoned.moment("0001-01-01T00:00:00+14:00")


moments = st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1)).map(lambda at: at.replace(second=0, microsecond=0))


@given(
    kind=st.sampled_from([None, "in", "out", "break"]),
    worker=st.sampled_from([None, *PEOPLE]),
    hours=st.sampled_from([None, "<0", "0..4", "4..8.5", ">=8.5"]),
    event=moments,
    lead=st.timedeltas(timedelta(days=-100), timedelta(days=100)),
    time_zone=st.sampled_from([None, "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
)
def test_records_to_ids_to_records_is_the_identity_on_known_values(
    tiny_schema, kind, worker, hours, event, lead, time_zone
):
    codec = make_codec(tiny_schema, time_zone)
    planned = (event + lead).replace(second=0, microsecond=0)
    # of the two moments that a wall time may name, at_wall gives the one that decode writes
    event_text, planned_text = (
        codec.decode([0] * len(codec.sizes), codec.at_wall(wall).timestamp)["EventDatetime"]
        for wall in (event, planned)
    )
    record = {
        "Kind": kind,
        "Worker": worker,
        "Helper": None,
        "Site": "south",
        "Hours": hours,
        "PlannedDatetime": planned_text,
        "EventDatetime": event_text,
    }
    events, _ = codec.encode_columns({name: [value] for name, value in record.items()}, 1)
    assert codec.decode(events.ids[0].tolist(), int(events.timestamp[0])) == record


@given(at=moments.map(lambda wall: wall.replace(tzinfo=UTC)))
def test_a_timestamp_gives_back_the_moment_that_it_came_from(tiny_schema, at):
    codec = make_codec(tiny_schema, "Europe/Berlin")
    moment = codec.moment(at)
    assert codec.at_timestamp(moment.timestamp) == moment


def test_a_decoded_hour_that_is_unknown_is_read_as_midnight(codec):
    ids = [0, 0, 0, 0, 0, 2, 3, 0, 0, 1, 1, 1, 1]
    assert codec.decode(ids, 0)["PlannedDatetime"] == "1970-02-03T00:00:00"


def test_a_decoded_datetime_without_month_or_day_is_unknown(codec):
    assert codec.decode([0] * 13, 0)["PlannedDatetime"] is None


def test_the_last_moment_of_the_calendar_is_read_and_written_in_any_zone(tiny_schema: Schema) -> None:
    codec = Codec(tiny_schema.model_copy(update={"time_zone": "America/New_York"}), {"people": [], "Site": []})
    at = codec.moment("9999-12-31T23:59:00+00:00").timestamp
    evening = (12, 31, 24, 60)  # after the end of the calendar in UTC
    assert codec.decode([0] * 5 + [*evening, *evening], at)["EventDatetime"] == "9999-12-31T18:59:00-05:00"


def test_an_event_encodes_alone_as_among_others(codec):
    records = [
        {"Kind": "in", "Worker": "ann", "Case": "K1", "EventDatetime": "2026-01-01T08:00:00"},
        {"Kind": "out", "Worker": "bob", "Case": "K2", "EventDatetime": "2026-01-01T09:00:00"},
    ]
    columns = {name: [record[name] for record in records] for name in records[0]}
    together, _ = codec.encode_columns(columns, 2)
    for row, record in enumerate(records):
        alone, _ = codec.encode_columns({name: [value] for name, value in record.items()}, 1)
        assert together.ids[row].tolist() == alone.ids[0].tolist()
        assert together.timestamp[row] == alone.timestamp[0]


def test_no_events_encode_to_empty_arrays(codec):
    events, _ = codec.encode_columns({}, 0)
    assert events.ids.shape == (0, 13)
    assert events.timestamp.shape == (0,)


def test_an_unreadable_value_is_reported_by_row_and_field(codec):
    times = ["2026-01-01T08:00:00"] * 3
    with pytest.raises(EncodeError, match="'lots' is not a number") as caught:
        codec.encode_columns({"Hours": ["1", "2", "lots"], "EventDatetime": times}, 3)
    assert (caught.value.row, caught.value.field) == (2, "Hours")


def test_a_record_without_its_ordering_datetime_is_an_error(codec):
    with pytest.raises(EncodeError, match="every event needs this datetime"):
        codec.encode_columns({"Kind": ["in"]}, 1)


def test_an_error_survives_the_way_to_another_process():
    error = pickle.loads(pickle.dumps(EncodeError(3, "Hours", "not a number")))
    assert (error.row, error.field, str(error)) == (3, "Hours", "not a number")


def test_a_codec_without_a_vocabulary_of_its_schema_is_refused(tiny_schema):
    with pytest.raises(ValueError, match=r"\['Site'\]"):
        Codec(tiny_schema, {"people": PEOPLE})


def test_sizes_count_id_zero(codec):
    assert codec.sizes == (4, 4, 4, 3, 5, 13, 32, 25, 61, 13, 32, 25, 61)


def test_every_name_leads_back_to_its_id(codec):
    for names, id_of in zip(codec.names, codec.id_of, strict=True):
        assert [id_of[name] for name in names[1:]] == list(range(1, len(names)))
