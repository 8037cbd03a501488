import json
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from logs import assert_equal

from eventmodel.codec import MICROSECONDS, Events
from eventmodel.entities import newest_distinct
from eventmodel.event_log import EventLog, gather, window
from eventmodel.schema import Stream
from eventmodel.stream_index import index_stream
from eventmodel.time_context import gap_bucket, hour, weekday


def make_events(seconds: list[float], n_categories: int = 3) -> Events:
    """Events whose ids say their row: 10 * row + category + 1."""
    n = len(seconds)
    ids = 10 * np.arange(n)[:, None] + np.arange(n_categories) + 1
    timestamp = (np.array(seconds) * MICROSECONDS).astype(np.int64)
    return Events(ids.astype(np.int32), timestamp, np.zeros(n, np.int32))


# --- time -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0, 1), (0.9, 1), (1, 2), (2.9, 2), (3, 3), (2**20 - 2, 20), (2**20 - 1, 21), (1e12, 31), (-5, 1)],
)
def test_a_gap_bucket_is_one_more_per_doubling_and_ends_at_31(seconds, bucket):
    assert gap_bucket(np.array([seconds])) == [bucket]


@given(day=st.integers(-3000, 30_000), offset=st.sampled_from([-18_000, 0, 3600, 37_800]))
def test_weekday_and_hour_are_those_of_the_wall_clock(day, offset):
    wall = datetime(1970, 1, 1) + timedelta(days=day, hours=day % 24)
    timestamp = np.array([(wall - datetime(1970, 1, 1)) // timedelta(microseconds=1) - offset * MICROSECONDS])
    assert weekday(timestamp, np.array([offset])) == [wall.isoweekday()]
    assert hour(timestamp, np.array([offset])) == [wall.hour]


# --- gather and window ----------------------------------------------------------------


def test_gathered_rows_are_the_rows_of_the_table():
    events = make_events([0, 10, 20])
    batch = gather(events, np.array([[0, 2], [1, 2]]))
    assert batch.ids.tolist() == [[[1, 2, 3], [21, 22, 23]], [[11, 12, 13], [21, 22, 23]]]
    assert batch.is_event.all()


def test_padding_is_zero_on_either_side():
    batch = gather(make_events([0, 10, 20]), np.array([[1, -1], [-1, 1]]))
    assert batch.is_event.tolist() == [[True, False], [False, True]]
    for column in (batch.ids.sum(axis=2), batch.gap, batch.weekday):
        assert not column[~batch.is_event].any()


def test_the_gap_is_to_the_previous_event_of_the_row_and_unknown_for_its_first():
    events = make_events([0, 1, 1 + 2**10])
    assert gather(events, np.array([[0, 1, 2], [0, 2, -1], [-1, -1, 2]])).gap.tolist() == [
        [0, 2, 11],
        [0, 11, 0],
        [0, 0, 0],
    ]


def test_padding_before_the_first_event_is_no_previous_event():
    assert gather(make_events([0, 1]), np.array([[-1, 1]])).gap.tolist() == [[0, 0]]


@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (2, 0)])
def test_an_empty_table_gathers_to_padding(shape):
    batch = gather(make_events([]), np.full(shape, -1))
    assert batch.ids.shape == (*shape, 3)
    assert not batch.is_event.any()


def test_no_room_gathers_to_no_columns():
    assert gather(make_events([0, 1]), np.full((2, 0), -1)).ids.shape == (2, 0, 3)


def test_gathering_leaves_the_table_alone():
    events = make_events([0, 10])
    before = events.ids.copy()
    gather(events, np.array([[0, -1]])).ids[:] = 99
    assert (events.ids == before).all()


def test_a_left_aligned_window_pads_on_the_right():
    assert window(np.array([5, 9]), np.array([2, 9]), 3).tolist() == [[3, 4, -1], [6, 7, 8]]


def test_a_right_aligned_window_pads_on_the_left():
    assert window(np.array([5, 9]), np.array([2, 9]), 3, align="right").tolist() == [[-1, 3, 4], [6, 7, 8]]


@given(
    histories=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=5),
    width=st.integers(0, 7),
    align=st.sampled_from(["left", "right"]),
)
def test_a_window_is_the_newest_entries_oldest_first(histories, width, align):
    length = np.array([min(pair) for pair in histories])
    end = np.array([max(pair) for pair in histories])
    for row, e, n in zip(window(end, length, width, align), end, length, strict=True):
        kept = min(n, width)
        assert row[row >= 0].tolist() == list(range(e - kept, e))
        assert len(row) == width


# --- stream indices -------------------------------------------------------------------


def rows_of(index, entity: int) -> list[int]:
    return index.rows[index.start[entity] : index.start[entity + 1]].tolist()


def test_entities_are_numbered_in_the_order_of_their_first_event():
    index = index_stream([["b", "a", None, "b"]], ["a", "b"])
    assert index.keys.tolist() == [[0], [1], [-1], [0]]
    assert index.vocabulary_id.tolist() == [2, 1]


def test_an_entity_has_its_events_oldest_first():
    index = index_stream([["b", "a", None, "b"]], None)
    assert [rows_of(index, 0), rows_of(index, 1)] == [[0, 3], [1]]


def test_an_event_belongs_to_the_entities_of_all_its_keys():
    index = index_stream([["a", "b"], ["b", None]], None)
    assert [rows_of(index, 0), rows_of(index, 1)] == [[0], [0, 1]]


def test_an_entity_named_twice_by_an_event_has_it_once():
    index = index_stream([["a"], ["a"]], None)
    assert rows_of(index, 0) == [0]
    assert index.keys.tolist() == [[0, 0]]


def test_an_entity_that_the_vocabulary_lacks_has_a_history_and_no_id():
    index = index_stream([["new", "a"]], ["a"])
    assert rows_of(index, 0) == [0]
    assert index.vocabulary_id.tolist() == [0, 1]


def test_a_stream_that_no_event_names_has_no_entities():
    index = index_stream([[None, None]], None)
    assert index.start.tolist() == [0]


@given(
    names=arrays(np.int64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(-1, 4)),
    data=st.data(),
)
def test_a_future_event_never_enters_a_history(names, data):
    named = [[None if name < 0 else str(name) for name in column] for column in names.T.tolist()]
    index = index_stream(named, None)
    for entity in range(len(index.start) - 1):
        last_row = data.draw(st.integers(-1, len(names) - 1))
        end = index.end(np.array([entity]), np.array([last_row]))
        history = index.rows[window(end, end - index.start[[entity]], 99)[0]]
        history = history[: int((end - index.start[entity])[0])]
        expected = [row for row in range(last_row + 1) if entity in index.keys[row]]
        assert history.tolist() == expected


def test_the_end_of_a_history_is_found_beyond_32_bits():
    n = 70_000
    index = index_stream([[str(i) for i in range(n)]], None)
    entity = np.array([n - 1], np.int32)
    assert index.end(entity, np.array([n - 1], np.int32)) == [n]


@given(
    keys=arrays(np.int32, st.tuples(st.integers(0, 4), st.integers(0, 9)), elements=st.integers(-1, 5)),
    limit=st.integers(1, 6),
)
def test_newest_distinct_keeps_the_first_of_each_key_in_order(keys, limit):
    found = newest_distinct(keys, limit)
    for row, result in zip(keys.tolist(), found.tolist(), strict=True):
        expected = [key for key in dict.fromkeys(row) if key >= 0][:limit]
        assert result == expected + [-1] * (limit - len(expected))


def test_a_history_is_as_long_as_both_schema_and_model_allow():
    stream = Stream(name="Time", max_events=64)
    assert (stream.history_length(200), stream.history_length(16)) == (64, 16)


# --- the log on disk ------------------------------------------------------------------


def test_a_saved_log_loads_as_it_was(small_log, tmp_path):
    small_log.save(tmp_path / "log")
    assert_equal(EventLog.load(tmp_path / "log"), small_log)


def test_a_log_replaces_an_earlier_one(small_log, tmp_path):
    small_log.save(tmp_path / "log")
    small_log.save(tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_directory_of_somebody_else_is_refused_and_stays(small_log, tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(FileExistsError, match="holds something else"):
        small_log.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"format": "event log", "format_version": 99}'])
def test_a_directory_that_is_no_log_of_this_format_is_refused_with_the_way_out(tmp_path, content):
    if content is not None:
        (tmp_path / "log.json").write_text(content, "utf-8")
    with pytest.raises(ValueError, match=r"prepare"):
        EventLog.load(tmp_path)


@pytest.mark.parametrize("size", [None, 0, 40, 1000])
def test_a_log_with_a_missing_or_cut_array_is_refused(small_log, tmp_path, size):
    small_log.save(tmp_path / "log")
    array = tmp_path / "log" / "events.ids.npy"
    if size is None:
        array.unlink()
    else:
        array.write_bytes(array.read_bytes()[:size])
    with pytest.raises(ValueError, match="damaged"):
        EventLog.load(tmp_path / "log")


@pytest.mark.parametrize("lacking", ["schema", "vocabularies", "train_end"])
def test_a_header_that_lacks_something_is_damaged_and_the_way_out_is_told(small_log, tmp_path, lacking):
    small_log.save(tmp_path / "log")
    file = tmp_path / "log" / "log.json"
    header = json.loads(file.read_text("utf-8"))
    del header[lacking]
    file.write_text(json.dumps(header), "utf-8")
    with pytest.raises(ValueError, match=f"its log.json lacks '{lacking}'; prepare the log again"):
        EventLog.load(tmp_path / "log")


def test_a_log_of_pickles_is_refused(small_log, tmp_path):
    small_log.save(tmp_path / "log")
    np.save(tmp_path / "log" / "Actor.rows.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="damaged"):
        EventLog.load(tmp_path / "log")


def test_the_header_is_readable_by_a_person(small_log, tmp_path):
    small_log.save(tmp_path / "log")
    header = json.loads((tmp_path / "log" / "log.json").read_text("utf-8"))
    assert header["schema"]["name"] == "workforce"
    assert header["train_end"] == small_log.train_end


def test_the_focus_is_the_stream_that_the_schema_names(small_log):
    assert small_log.focus is small_log.streams["Actor"]
