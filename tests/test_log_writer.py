from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eventmodel import log_writer
from eventmodel.event_log import EventLog
from eventmodel.log_writer import LogWriter, write_timestamps
from eventmodel.schema import Schema
from eventmodel.stream_index import INDEX_COLUMNS, index_stream


@given(
    names=arrays(np.int32, st.tuples(st.integers(0, 25), st.just(2)), elements=st.integers(-1, 6)),
    cuts=st.lists(st.integers(0, 25), max_size=4),
    at_once=st.integers(1, 12),
    read_rows=st.integers(1, 9),
)
def test_an_index_that_grows_is_the_one_that_is_built_at_once(
    tiny_schema: Schema, tmp_path_factory, names, cuts, at_once, read_rows
) -> None:
    vocabulary = ["3", "0", "5"]
    schema = tiny_schema.model_copy(update={"streams": tiny_schema.streams[:1]})
    directory: Path = tmp_path_factory.mktemp("log")
    n = len(names)
    write_timestamps(directory, [np.arange(n)])
    before = log_writer.AT_ONCE, log_writer.READ_ROWS
    log_writer.AT_ONCE, log_writer.READ_ROWS = at_once, read_rows
    try:
        with LogWriter(directory, schema, {"Worker": 7}) as log:
            for part in np.split(names, sorted(min(cut, n) for cut in cuts)):
                log.append(np.zeros((len(part), 13), np.int32), np.zeros(len(part), np.int32), {"Worker": part})
            ids = np.array([vocabulary.index(str(i)) + 1 if str(i) in vocabulary else 0 for i in range(7)])
            log.index("Worker", [str(i) for i in range(7)], ids, lambda done, total: None)
            log.finish({"people": vocabulary, "Site": []}, 0, 0)
    finally:
        log_writer.AT_ONCE, log_writer.READ_ROWS = before
    columns = [[None if name < 0 else str(name) for name in column] for column in names.T]
    expected = index_stream(columns, vocabulary)
    found = EventLog.load(directory, is_mapped=False).focus
    for column in INDEX_COLUMNS:
        np.testing.assert_array_equal(getattr(found, column), getattr(expected, column))
        assert getattr(found, column).dtype == getattr(expected, column).dtype
