import errno
import gzip
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import assert_equal
from rich.console import Console

from eventmodel.event_log import EventLog
from eventmodel.log_writer import LogWriter
from eventmodel.schema import Schema, load_schema
from training.preparation import prepare
from training.preparation.report import print_report
from training.preparation.row_reader import RowReader
from training.preparation.split import split
from training.prepare import PrepareConfig, main, run
from training.read_table import read_table


def at(minute: int) -> str:
    return f"2026-01-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00"


def frame_of(n: int, **columns: Sequence[object] | pl.Series) -> pl.DataFrame:
    """n events a minute apart, by ann throughout, with the given columns in place or in addition."""
    times = [at(minute) for minute in range(n)]
    return pl.DataFrame({"Worker": ["ann"] * n, "EventDatetime": times} | columns)


def names_of(log: EventLog, category: str) -> list[str | None]:
    """What the log says of each event in one category, in the order of the log."""
    index = [c.name for c in log.schema.categories].index(category)
    return [log.codec.names[index][id_] for id_ in log.events.ids[:, index]]


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
    events = small_log.codec.encode_columns(in_order.to_dict(as_series=False), len(in_order))
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
        (6, "EventDatetime", "yesterday", "'yesterday' is not an ISO 8601 datetime like 2026-01-29T08:00:00")
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
    _, report = prepare(frame_of(9, Case=[1.5] * 8 + [float("nan")]), tiny_schema)
    assert report.refused.select("line", "field").rows() == [(10, "Case")]


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


# --- files --------------------------------------------------------------------------------


@pytest.fixture
def schema_file(tiny_schema: Schema, tmp_path: Path) -> str:
    path = tmp_path / "tiny.json"
    path.write_text(tiny_schema.model_dump_json(), "utf-8")
    return str(path)


def test_csv_and_parquet_give_the_same_log(small_frame, small_log, tmp_path):
    small_frame.write_csv(tmp_path / "events.csv")
    small_frame.write_parquet(tmp_path / "events.parquet")
    for name in ("events.csv", "events.parquet"):
        log, _ = prepare(read_table(tmp_path / name), load_schema("workforce"))
        assert log.codec.vocabularies == small_log.codec.vocabularies
        np.testing.assert_array_equal(log.events.ids, small_log.events.ids)


def test_an_id_of_a_csv_file_keeps_its_leading_zeros(tmp_path):
    (tmp_path / "events.csv").write_text("Worker\n0042\n", "utf-8")
    assert read_table(tmp_path / "events.csv").rows() == [("0042",)]


def test_a_blank_line_counts_as_a_row(tmp_path):
    (tmp_path / "events.csv").write_text("a,b\n1,2\n\n3,4\n", "utf-8")
    assert read_table(tmp_path / "events.csv").rows() == [("1", "2"), (None, None), ("3", "4")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n3\n", "events.csv, line 3: 1 values, but the header names 2 columns"),
        (b"a,b\n1,2\n3,4,5\n", "events.csv, line 3: 3 values, but the header names 2 columns"),
        (b'a,b\n1,"2\n', "events.csv, after line 1: unexpected end of data"),
        (b"a,b\n1,\xff\n", "events.csv is not UTF-8 text"),
        (b"", "events.csv cannot be read as csv: empty CSV"),
    ],
)
def test_a_broken_csv_file_is_named_with_its_fault(tmp_path, content, message):
    (tmp_path / "events.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "events.csv")


def test_a_broken_parquet_file_is_named(tmp_path):
    (tmp_path / "events.parquet").write_text("PAR1", "utf-8")
    with pytest.raises(ValueError, match=r"events\.parquet cannot be read as parquet"):
        read_table(tmp_path / "events.parquet")


@pytest.mark.parametrize("name", ["nowhere.csv", "."])
def test_a_path_that_is_no_file_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="is not a file"):
        read_table(tmp_path / name)


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "events.xlsx").touch()
    with pytest.raises(ValueError, match=r"must end in \.csv, .* or \.parquet"):
        read_table(tmp_path / "events.xlsx")


def test_a_run_leaves_the_log_and_beside_it_the_refused_rows(schema_file, tmp_path):
    frame_of(9, Hours=["1"] * 8 + ["x"]).write_csv(tmp_path / "events.csv")
    out = StringIO()
    config = PrepareConfig(schema_file, (str(tmp_path / "events.csv"),), tmp_path / "log")
    run(config, Console(file=out, width=80))
    assert len(EventLog.load(config.out).events.timestamp) == 8
    refused = pl.read_csv(tmp_path / "log.refused.csv")
    assert refused.columns == ["line", "field", "value", "reason"]
    assert refused["line"].to_list() == [10]
    assert "9 rows read, 1 refused, 8 kept" in out.getvalue()


def test_a_clean_run_takes_an_earlier_list_of_refused_rows_away(schema_file, tmp_path):
    (tmp_path / "log.refused.csv").touch()
    frame_of(9).write_csv(tmp_path / "events.csv")
    run(PrepareConfig(schema_file, (str(tmp_path / "events.csv"),), tmp_path / "log"), Console(quiet=True))
    assert not (tmp_path / "log.refused.csv").exists()


def test_the_report_shows_ten_of_many_refused_values(tiny_schema):
    _, report = prepare(frame_of(30, Hours=["1"] * 9 + ["[x]"] * 21), tiny_schema)
    out = StringIO()
    print_report(report, Console(file=out, width=100))
    text = out.getvalue()
    assert "21, the first 10" in text
    assert text.count("Hours = '[x]': '[x]' is not a number") == 10


def test_several_files_are_one_log(schema_file, tiny_schema, tmp_path):
    frame = frame_of(30, Site=["north", "south"] * 15, Hours=["1"] * 14 + ["x"] + ["2"] * 15)
    names = [str(tmp_path / f"{name}.csv") for name in ("b", "a")]
    frame[:10].write_csv(names[0])
    frame[10:].select("Hours", "Site", "EventDatetime", "Worker").write_csv(names[1])
    run(PrepareConfig(schema_file, tuple(names), tmp_path / "log"), Console(quiet=True))
    assert_equal(EventLog.load(tmp_path / "log"), prepare(frame, tiny_schema)[0])
    refused = pl.read_csv(tmp_path / "log.refused.csv")
    assert refused.select("file", "line", "field").rows() == [(names[1], 6, "Hours")]


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst"])
def test_compressed_files_of_a_pattern_are_read_in_the_order_of_their_names(schema_file, tiny_schema, tmp_path, suffix):
    frame = frame_of(30, Site=[f"s{i % 7}" for i in range(30)], EventDatetime=[at(i // 3) for i in range(30)])
    for i, place in enumerate(("2", "1", "3")):
        text = frame[i * 10 : i * 10 + 10].write_csv().encode()
        compressed = gzip.compress(text) if suffix.endswith("gz") else zstandard.compress(text)
        (tmp_path / f"{place}{suffix}").write_bytes(compressed)
    run(PrepareConfig(schema_file, (str(tmp_path / f"*{suffix}"),), tmp_path / "log"), Console(quiet=True))
    in_order = pl.concat([frame[10:20], frame[:10], frame[20:]])
    assert_equal(EventLog.load(tmp_path / "log"), prepare(in_order, tiny_schema)[0])


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst"])
def test_a_fault_inside_a_compressed_file_is_named_with_its_line(tmp_path, suffix):
    compress = gzip.compress if suffix.endswith("gz") else zstandard.compress
    (tmp_path / f"events{suffix}").write_bytes(compress(b"a,b\n1,2\n3\n"))
    with pytest.raises(ValueError, match="line 3: 1 values, but the header names 2 columns"):
        read_table(tmp_path / f"events{suffix}")


def test_a_compressed_file_that_ends_early_is_named(tmp_path):
    random = np.random.default_rng(0).integers(1 << 30, size=(5000, 2))
    text = "a,b\n" + "\n".join(f"{a},{b}" for a, b in random)
    (tmp_path / "events.csv.gz").write_bytes(gzip.compress(text.encode())[:20_000])
    with pytest.raises(ValueError, match=r"events\.csv\.gz can"):
        read_table(tmp_path / "events.csv.gz")


def test_a_file_that_lacks_a_field_of_another_is_refused_by_name(schema_file, tmp_path):
    frame_of(9, Site=["north"] * 9).write_csv(tmp_path / "a.csv")
    frame_of(9).write_csv(tmp_path / "b.csv")
    config = PrepareConfig(schema_file, (str(tmp_path / "*.csv"),), tmp_path / "log")
    with pytest.raises(ValueError, match=r"b\.csv has no column 'Site', which .*a\.csv has"):
        run(config, Console(quiet=True))
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a.csv", "*.csv"), r"a\.csv is named twice"),
        (("b*.csv",), "no file matches .*b"),
        ((), "no input"),
    ],
)
def test_names_that_give_no_clear_list_of_files_are_refused(schema_file, tmp_path, names, message):
    frame_of(9).write_csv(tmp_path / "a.csv")
    config = PrepareConfig(schema_file, tuple(str(tmp_path / name) for name in names), tmp_path / "log")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(config, Console(quiet=True))


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(schema_file, tmp_path):
    frame_of(9).write_csv(tmp_path / "events[1].csv")
    config = PrepareConfig(schema_file, (str(tmp_path / "events[1].csv"),), tmp_path / "log")
    run(config, Console(quiet=True))
    assert len(EventLog.load(config.out).events.timestamp) == 9


def test_a_full_disk_is_reported_and_an_earlier_log_stays(schema_file, tmp_path, monkeypatch):
    frame_of(9).write_csv(tmp_path / "events.csv")
    config = PrepareConfig(schema_file, (str(tmp_path / "events.csv"),), tmp_path / "log")
    run(config, Console(quiet=True))
    frame_of(11, Hours=["x"] + ["1"] * 10).write_csv(tmp_path / "events.csv")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LogWriter, "append", full)
    with pytest.raises(OSError, match=r"log cannot be written: the disk is full"):
        run(config, Console(quiet=True))
    assert len(EventLog.load(config.out).events.timestamp) == 9
    assert {path.name for path in tmp_path.iterdir()} == {"events.csv", "tiny.json", "log"}


def test_out_of_memory_says_what_takes_it(tiny_schema, monkeypatch):
    def no_room(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(RowReader, "read", no_room)
    with pytest.raises(ValueError, match="out of memory, which holds every different name: people 0, Site 0, Case 0"):
        prepare(frame_of(9), tiny_schema)


@pytest.mark.parametrize("fault", ["schema", "input", "out"])
def test_a_users_mistake_is_one_line_and_exit_code_2(schema_file, tmp_path, monkeypatch, capsys, fault):
    frame_of(9).write_csv(tmp_path / "events.csv")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    arguments = {"schema": schema_file, "input": str(tmp_path / "events.csv"), "out": str(tmp_path / "log")}
    arguments[fault] = {"schema": "nowhere.json", "input": "nowhere.csv", "out": str(tmp_path / "mine")}[fault]
    monkeypatch.setattr(
        "sys.argv", ["prepare", *(part for name in arguments for part in (f"--{name}", arguments[name]))]
    )
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
