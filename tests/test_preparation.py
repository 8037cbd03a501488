"""Raw events to a log: order, split, vocabularies, what is refused, streams, batches."""

from datetime import date, datetime
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from event_frames import at, frame_of, names_of
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import assert_equal

from eventmodel.schema import load_schema
from training.preparation import prepare
from training.preparation.split import split

# --- order and split --------------------------------------------------------------------


def test_events_are_ordered_by_time(tiny_schema):
    kinds = ["in", "out", "break", "in"]
    log, _ = prepare(frame_of(4, Kind=kinds, EventDatetime=[at(3), at(0), at(2), at(1)]), tiny_schema)
    assert names_of(log, "Kind") == ["out", "in", "break", "in"]
    assert (np.diff(log.events.timestamp) == 60_000_000).all()


def test_equal_timestamps_keep_the_order_of_the_input(tiny_schema):
    kinds = ["out", "in", "break", "in", "out"]
    log, _ = prepare(frame_of(5, Kind=kinds, EventDatetime=[at(1), at(0), at(1), at(2), at(1)]), tiny_schema)
    assert names_of(log, "Kind") == ["in", "out", "break", "out", "in"]


def test_events_split_by_time_into_the_wanted_shares(tiny_schema):
    log, report = prepare(frame_of(100), tiny_schema, train=0.7, validation=0.2)
    assert (log.train_end, log.validation_end) == (70, 90)
    assert [part.rows for part in report.parts] == [70, 20, 10]
    assert report.parts[1].first == datetime(2026, 1, 1, 1, 10)


@given(
    gaps=st.lists(st.integers(0, 2), min_size=2, max_size=60).filter(lambda gaps: sum(gap > 0 for gap in gaps) >= 2),
    train=st.floats(0.05, 0.9),
)
def test_equal_timestamps_are_never_divided(gaps, train):
    timestamp = np.cumsum([0, *gaps])
    ends = split(timestamp, train, (1 - train) / 2)
    assert 0 < ends[0] < ends[1] < len(timestamp)
    for end in ends:
        assert timestamp[end - 1] < timestamp[end]


def test_a_cut_goes_to_the_nearer_side_of_equal_timestamps():
    assert split(np.array([0, 1, 2, 3, 3, 3, 4, 5, 6, 7]), 0.5, 0.3) == (6, 8)
    assert split(np.array([0, 1, 2, 3, 3, 3, 4, 5, 6, 7]), 0.4, 0.4) == (3, 8)


def test_a_log_too_small_to_split_is_refused(tiny_schema):
    with pytest.raises(ValueError, match="too small to split: 3 events at 2 distinct times"):
        prepare(frame_of(3, EventDatetime=[at(0), at(1), at(1)]), tiny_schema)


@pytest.mark.parametrize("shares", [(0.9, 0.1), (0, 0.1), (0.5, 0), (float("nan"), 0.1)])
def test_shares_that_leave_a_part_empty_are_refused(tiny_schema, shares):
    with pytest.raises(ValueError, match="leave something for the test"):
        prepare(frame_of(9), tiny_schema, *shares)


# --- vocabularies -------------------------------------------------------------------------


def test_vocabularies_come_from_the_training_part_only(tiny_schema):
    sites = ["north"] * 6 + ["south"] * 4
    log, _ = prepare(frame_of(10, Site=sites), tiny_schema, train=0.6, validation=0.2)
    assert log.codec.vocabularies["Site"] == ("north",)
    assert names_of(log, "Site")[6:] == [None] * 4


def test_a_value_seen_once_in_training_is_unknown(tiny_schema):
    log, report = prepare(frame_of(10, Site=["north"] * 7 + ["once", "north", "north"]), tiny_schema)
    assert log.codec.vocabularies["Site"] == ("north",)
    site = next(category for category in report.categories if category.name == "Site")
    assert site.unknown == (1 / 8, 0, 0)


def test_fields_that_share_a_vocabulary_are_counted_together(tiny_schema):
    log, _ = prepare(frame_of(10, Helper=["bob"] + [None] * 9, Worker=["bob"] + ["ann"] * 9), tiny_schema)
    assert log.codec.vocabularies["people"] == ("ann", "bob")


def test_a_vocabulary_is_ordered_by_falling_count_then_by_text(tiny_schema):
    sites = ["b", "c", "a", "b", "a", "c", "c", "b", "x", "x"]
    log, _ = prepare(frame_of(10, Site=sites), tiny_schema)
    assert log.codec.vocabularies["Site"] == ("b", "c", "a")


# --- values -------------------------------------------------------------------------------


def test_every_event_decodes_to_the_record_that_it_came_from(small_frame, small_log):
    """Ids that the training part shows too rarely decode as unknown; hours as their bucket."""
    in_order = small_frame.sort("EventDatetime", maintain_order=True)
    for row in range(0, len(in_order), 97):
        record = in_order.row(row, named=True)
        decoded = small_log.codec.decode(small_log.events.ids[row].tolist(), int(small_log.events.timestamp[row]))
        assert decoded.pop("HoursWorked") == ("8..8.25" if record.pop("HoursWorked") else None)
        assert all(value in (None, record[name]) for name, value in decoded.items())
        assert decoded["ReferenceDatetime"] == record["ReferenceDatetime"]


def test_table_and_codec_encode_alike(small_frame, small_log):
    in_order = small_frame.sort("EventDatetime", maintain_order=True)
    events, _ = small_log.codec.encode_columns(in_order.to_dict(as_series=False), len(in_order))
    for table, codec in zip(small_log.events, events, strict=True):
        np.testing.assert_array_equal(table, codec)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pl.Series([42] * 9), "42"),
        (pl.Series([42.0] * 9), "42"),
        (pl.Series(["0042"] * 9), "0042"),
        (pl.Series([Decimal("42.00")] * 9), "42"),
        (pl.Series([Decimal("4.50")] * 9), "4.5"),
        (pl.Series([Decimal("100")] * 9), "100"),
        (pl.Series(["north"] * 9, dtype=pl.Categorical), "north"),
        (pl.Series([True] * 9), "true"),
    ],
)
def test_an_id_of_any_column_type_is_its_text(tiny_schema, column, text):
    log, _ = prepare(frame_of(9, Site=column), tiny_schema)
    assert names_of(log, "Site") == [text] * 9


def test_datetimes_may_be_typed(tiny_schema):
    times = [datetime(2026, 1, day, 8, 30) for day in range(1, 10)]
    planned = [date(2026, 2, 3)] * 9
    log, _ = prepare(frame_of(9, EventDatetime=times, PlannedDatetime=planned), tiny_schema)
    assert set(names_of(log, "Time_Event_Minute")) == {"30"}
    assert set(names_of(log, "Time_Planned_Month")) == {"2"}


@pytest.mark.parametrize("typed", [False, True])
def test_a_zoned_log_runs_on_through_the_hour_that_clocks_show_twice(tiny_schema, typed):
    schema = tiny_schema.model_copy(update={"time_zone": "Europe/Berlin"})
    times = pl.Series([f"2026-10-{24 + hour // 24}T{hour % 24:02d}:30:00+00:00" for hour in range(22, 28)])
    if typed:
        times = times.str.to_datetime(time_zone="UTC").dt.convert_time_zone("Europe/Berlin")
    log, _ = prepare(frame_of(6, EventDatetime=times), schema)
    assert names_of(log, "Time_Event_Hour") == ["0", "1", "2", "2", "3", "4"]
    assert (np.diff(log.events.timestamp) == 3_600_000_000).all()
    assert log.events.utc_offset.tolist() == [7200] * 3 + [3600] * 3


# --- rows and columns that do not fit -----------------------------------------------------


def test_a_bad_row_is_refused_with_its_line_and_reason(tiny_schema):
    times = [at(minute) for minute in range(9)]
    times[4] = "yesterday"
    log, report = prepare(frame_of(9, EventDatetime=times), tiny_schema)
    assert len(log.events.timestamp) == report.rows_kept == 8
    assert report.refused.rows() == [
        (
            6,
            "EventDatetime",
            "yesterday",
            "'yesterday' is not an ISO 8601 datetime like 2026-01-29T08:00:00 or 2026-01-29T08:00:00+01:00",
        )
    ]


def test_a_row_without_its_ordering_datetime_is_refused(tiny_schema):
    times = [at(0), None, at(2), "", at(4)]
    _, report = prepare(frame_of(5, EventDatetime=times), tiny_schema)
    assert report.refused["line"].to_list() == [3, 5]
    assert report.rows_refused == 2


def test_a_row_with_two_faults_is_refused_once_and_says_both(tiny_schema):
    hours = ["8"] * 8 + ["lots"]
    _, report = prepare(frame_of(9, Hours=hours, PlannedDatetime=[at(0)] * 8 + ["soon"]), tiny_schema)
    assert report.rows_refused == 1
    assert report.refused.select("line", "field").rows() == [(10, "Hours"), (10, "PlannedDatetime")]


def test_a_key_that_cannot_be_read_is_refused(tiny_schema):
    _, report = prepare(frame_of(9, Case=[1.5] * 8 + [float("inf")]), tiny_schema)
    assert report.refused.select("line", "field").rows() == [(10, "Case")]


def test_a_number_that_is_none_is_a_blank(tiny_schema):
    nothing = float("nan")
    log, report = prepare(frame_of(9, Site=[7.0] * 8 + [nothing], Hours=[nothing] + [1.0] * 8), tiny_schema)
    assert names_of(log, "Site") == ["7"] * 8 + [None]
    assert names_of(log, "Hours")[0] is None
    assert report.refused.is_empty()


def test_a_refused_row_is_in_no_vocabulary(tiny_schema):
    sites = ["gone", "gone"] + ["north"] * 8
    log, _ = prepare(frame_of(10, Site=sites, Hours=["x", "x"] + ["1"] * 8), tiny_schema)
    assert log.codec.vocabularies["Site"] == ("north",)


def test_values_outside_a_closed_set_are_unknown_and_listed(tiny_schema):
    log, report = prepare(frame_of(9, Kind=["in"] * 4 + ["nap"] * 3 + ["lunch", None]), tiny_schema)
    assert names_of(log, "Kind") == ["in"] * 4 + [None] * 5
    assert report.outside == {"Kind": (("nap", 3), ("lunch", 1))}


def test_columns_that_the_schema_does_not_know_are_named(tiny_schema):
    _, report = prepare(frame_of(9, Colour=["red"] * 9), tiny_schema)
    assert report.ignored_columns == ("Colour",)


def test_fields_that_the_input_lacks_are_named_and_unknown_throughout(tiny_schema):
    log, report = prepare(frame_of(9), tiny_schema)
    assert report.missing_fields == ("Kind", "Helper", "Site", "Hours", "Case", "PlannedDatetime")
    assert set(names_of(log, "Time_Planned_Hour")) == {None}
    assert log.streams["Case"].keys.tolist() == [[-1]] * 9


def test_without_the_ordering_column_there_is_no_log(tiny_schema):
    with pytest.raises(ValueError, match="no column 'EventDatetime'"):
        prepare(frame_of(9).drop("EventDatetime"), tiny_schema)


def test_without_a_focus_there_is_no_log(tiny_schema):
    with pytest.raises(ValueError, match="no event names an entity of the focus stream 'Worker'"):
        prepare(frame_of(9, Worker=[None] * 9), tiny_schema)


def test_if_every_row_is_refused_the_first_reason_is_told(tiny_schema):
    with pytest.raises(ValueError, match="every row is refused; line 2, EventDatetime: '1/2/26' is not an ISO 8601"):
        prepare(frame_of(5, EventDatetime=["1/2/26"] * 5), tiny_schema)


def test_an_input_of_no_rows_is_refused(tiny_schema):
    with pytest.raises(ValueError, match="it has no rows"):
        prepare(frame_of(0, Worker=pl.Series([], dtype=pl.String)), tiny_schema)


# --- streams ------------------------------------------------------------------------------


def test_streams_index_the_events_of_each_entity(tiny_schema):
    workers, helpers = ["ann", "bob", "ann", "cy"] + ["ann"] * 6, [None, "ann", None, "bob"] + [None] * 6
    log, report = prepare(
        frame_of(10, Worker=workers, Helper=helpers, Case=list("xyxy") * 2 + ["z", None]), tiny_schema
    )
    assert report.entities == {"Worker": 3, "Case": 3}
    assert log.focus.keys[:4].tolist() == [[0, -1], [1, 0], [0, -1], [2, 1]]
    assert log.streams["Case"].keys[:, 0].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 2, -1]


def test_entities_know_their_id_in_the_vocabulary(small_log):
    index = small_log.streams["Location"]
    names = names_of(small_log, "LocationRecordId")
    vocabulary = small_log.codec.vocabularies["LocationRecordId"]
    for entity, id_ in enumerate(index.vocabulary_id):
        assert vocabulary[id_ - 1] == names[index.rows[index.start[entity]]]


def test_entities_of_a_key_field_have_no_id(tiny_schema):
    log, _ = prepare(frame_of(9, Case=["k"] * 9), tiny_schema)
    assert log.streams["Case"].vocabulary_id.tolist() == [0]


# --- batches ------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_rows", [97, 1000])
def test_read_in_small_batches_it_is_the_same_log_and_the_same_report(small_frame, small_log, batch_rows):
    faulty = small_frame.with_columns(
        HoursWorked=pl.when(pl.int_range(pl.len()) % 41 == 3).then(pl.lit("x")).otherwise("HoursWorked"),
        EventType=pl.when(pl.int_range(pl.len()) % 37 == 3).then(pl.lit("Nap")).otherwise("EventType"),
    )
    schema = load_schema("workforce")
    (log, report), (whole, of_whole) = (prepare(faulty, schema, batch_rows=n) for n in (batch_rows, 1 << 20))
    assert_equal(log, whole)
    assert report.refused.equals(of_whole.refused)
    assert len(report.refused) > 40
    assert {**vars(report), "refused": None} == {**vars(of_whole), "refused": None}
    assert_equal(prepare(small_frame, schema, batch_rows=batch_rows)[0], small_log)


@settings(max_examples=15, deadline=None)
@given(minutes=st.lists(st.integers(0, 9), min_size=9, max_size=24), batch_rows=st.integers(1, 9))
def test_equal_timestamps_keep_the_order_of_the_input_across_batches(tiny_schema, minutes, batch_rows):
    frame = frame_of(len(minutes), EventDatetime=[at(m) for m in minutes], Case=[str(i) for i in range(len(minutes))])
    try:
        log, _ = prepare(frame, tiny_schema, batch_rows=batch_rows)
    except ValueError:
        return  # too few distinct times
    assert (log.streams["Case"].rows == np.arange(len(minutes))).all()  # entities are numbered by their first event
    assert log.events.timestamp.tolist() == sorted(log.events.timestamp.tolist())
    assert_equal(log, prepare(frame, tiny_schema)[0])


def test_a_split_by_entity_does_not_depend_on_the_batches(tiny_schema):
    schema = tiny_schema.model_copy(update={"streams": tiny_schema.streams[:1]})
    random = np.random.default_rng(0)
    parts = random.integers(3, size=60)
    times = [at(int(minute)) for minute in random.integers(999, size=60)]
    logs = [prepare(frame_of(60, EventDatetime=times), schema, parts=parts, batch_rows=n)[0] for n in (7, 60)]
    assert_equal(*logs)
    assert (logs[0].train_end, logs[0].validation_end) == ((parts == 0).sum(), (parts < 2).sum())
