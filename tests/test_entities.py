"""Which histories a prediction reads."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmodel import entities
from eventmodel.entities import read_histories
from eventmodel.schema import Schema
from eventmodel.stream_index import StreamIndex, index_stream

LONG = 99


def indices_of(schema: Schema, events: list[dict[str, Any]]) -> dict[str, StreamIndex]:
    return {s.name: index_stream([[e.get(k) for e in events] for k in s.keys], None) for s in schema.streams if s.keys}


def read(schema: Schema, events: list[dict[str, Any]], last_row: int = -1, length: int = LONG) -> dict[str, list[Any]]:
    """What the first worker of the first event reads: (entity, rows) by stream."""
    last_row %= len(events)
    found = read_histories(schema, indices_of(schema, events), 0, last_row, length)
    return {name: [(h.entity, h.rows.tolist()) for h in of_stream] for name, of_stream in found.items()}


def test_those_met_most_recently_come_first_and_the_focus_before_them(tiny_schema: Schema) -> None:
    events = [
        {"Worker": "ann", "Helper": "bob", "Case": "x"},
        {"Worker": "cid", "Helper": "ann", "Case": "y"},
        {"Worker": "bob", "Case": "z"},
    ]
    histories = read(tiny_schema, events)
    assert histories["Worker"] == [(0, [0, 1]), (2, [1]), (1, [0, 2])]
    assert histories["Case"] == [(1, [1]), (0, [0])]
    assert histories["Time"] == [(-1, [0, 1, 2])]


def test_nothing_after_the_last_row_is_read(tiny_schema: Schema) -> None:
    events = [{"Worker": "ann", "Case": "x"}, {"Worker": "ann", "Case": "y"}]
    assert read(tiny_schema, events, last_row=0) == {"Worker": [(0, [0])], "Case": [(0, [0])], "Time": [(-1, [0])]}


def test_no_more_entities_are_read_than_the_stream_has_room_for(tiny_schema: Schema) -> None:
    events = [{"Worker": "ann", "Case": case} for case in "xyz"]
    assert [entity for entity, _ in read(tiny_schema, events)["Case"]] == [2, 1]


def test_a_history_is_as_long_as_stream_and_model_allow(tiny_schema: Schema) -> None:
    events = [{"Worker": "ann", "Case": "x"}] * 9
    lengths = {name: len(h[0][1]) for name, h in read(tiny_schema, events).items()}
    assert lengths == {"Worker": 7, "Case": 5, "Time": 9}
    assert read(tiny_schema, events, length=2)["Worker"] == [(0, [7, 8])]


def test_entities_are_looked_for_among_the_newest_events_of_the_focus_only(
    tiny_schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entities, "LOOK_BACK", 2)
    events = [{"Worker": "ann", "Case": "x"}, {"Worker": "ann", "Case": "y"}, {"Worker": "ann"}, {"Worker": "bob"}]
    assert [entity for entity, _ in read(tiny_schema, events)["Case"]] == [1]


PEOPLE = st.none() | st.sampled_from("abcd")


@given(
    rest=st.lists(st.fixed_dictionaries({"Worker": PEOPLE, "Helper": PEOPLE, "Case": PEOPLE}), max_size=15),
    data=st.data(),
)
def test_a_plain_search_finds_the_same(tiny_schema: Schema, rest: list[dict[str, Any]], data: st.DataObject) -> None:
    events = [{"Worker": "a"}, *rest]
    last_row = data.draw(st.integers(0, len(events) - 1))
    past = list(enumerate(events[: last_row + 1]))
    focus_events = [e for _, e in past if "a" in (e.get("Worker"), e.get("Helper"))]
    for name, keys, room, longest in (("Worker", ("Worker", "Helper"), 3, 7), ("Case", ("Case",), 2, 5)):
        met = [e[key] for e in reversed(focus_events) for key in keys if e.get(key)]
        chosen = list(dict.fromkeys(["a"] * (name == "Worker") + met))[:room]
        expected = [[row for row, e in past if who in (e.get(key) for key in keys)][-longest:] for who in chosen]
        assert [rows for _, rows in read(tiny_schema, events, last_row)[name]] == expected
    assert [int(row) for _, rows in read(tiny_schema, events, last_row)["Time"] for row in rows] == [
        row for row, _ in past
    ][-11:]
