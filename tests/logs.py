"""What tests of logs share."""

import numpy as np

from eventmodel.event_log import EventLog


def assert_equal(a: EventLog, b: EventLog) -> None:
    assert (a.schema, a.train_end, a.validation_end) == (b.schema, b.train_end, b.validation_end)
    assert a.codec.vocabularies == b.codec.vocabularies
    assert a.streams.keys() == b.streams.keys()
    pairs = [(a.events._asdict(), b.events._asdict())]
    pairs += [(vars(a.streams[name]), vars(b.streams[name])) for name in a.streams]
    for left, right in pairs:
        for name, array in left.items():
            assert array.dtype == right[name].dtype
            np.testing.assert_array_equal(array, right[name])
