"""A request becomes arrays: its histories, its focus and its now."""

from pathlib import Path

import numpy as np
import pytest
from documents import EVENTS, as_rows, changed, without
from server_example import ZONED, event, example, write_example

from eventmodel.bundle import Bundle
from eventmodel.request.errors import RequestError
from eventmodel.request.reader import KEYS, read_request, read_requests


def test_columns_and_rows_equal_objects(example_bundle: Bundle) -> None:
    body = example()
    objects = read_request(body, example_bundle)
    for entities in body["streams"].values():
        for entity in entities:
            entity["events"] = as_rows(entity["events"])
    mine, theirs = read_request(body, example_bundle).query.histories, objects.query.histories
    for a, b in zip((*mine.events, *mine[1:]), (*theirs.events, *theirs[1:]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_requests_are_read_together_as_they_are_alone(example_bundle: Bundle) -> None:
    new = {"streams": {"Worker": [{"id": "new", "events": []}]}, "now": "2026-01-29T08:00:00"}
    unheard_of = {"streams": {"Worker": [{"id": "ann", "events": [event(0, Site="x"), event(1, Kind="nap")]}]}}
    documents = [example(), new, without("streams", "Case"), unheard_of, changed("focus", to="bob")]
    for together, document in zip(read_requests(documents, example_bundle), documents, strict=True):
        alone = read_request(document, example_bundle)
        assert together[1:4] == alone[1:4]
        np.testing.assert_equal(together.query._asdict(), alone.query._asdict())
        np.testing.assert_array_equal(together.unknown, alone.unknown)


def test_the_arrays_are_those_of_the_codec(example_bundle: Bundle) -> None:
    histories = read_request(example(), example_bundle).query.histories
    events = example()["streams"]["Worker"][0]["events"]
    columns = {name: [record.get(name) for record in events] for name in example_bundle.schema.field_by_name}
    expected, _ = example_bundle.codec.encode_columns(columns, len(events))
    np.testing.assert_array_equal(histories.events.ids[: len(events)], expected.ids)
    assert histories.entities == (2, 1, 1)
    assert histories.length.tolist() == [3, 2, 1, 2]
    assert histories.vocabulary_id.tolist() == [1, 2, 0, 0]


def test_the_focus_comes_first(example_bundle: Bundle) -> None:
    request = read_request(changed("focus", to="bob"), example_bundle)
    assert request.focus == "bob"
    assert request.query.histories.length[:2].tolist() == [2, 3]
    assert request.query.histories.vocabulary_id[:2].tolist() == [2, 1]


def test_the_only_entity_is_the_focus(example_bundle: Bundle) -> None:
    body = {"streams": {"Worker": [{"id": 7, "events": [event(0, Worker=7)]}]}}
    assert read_request(body, example_bundle).focus == "7"


def test_a_stream_left_out_has_no_entities(example_bundle: Bundle) -> None:
    request = read_request(without("streams", "Case"), example_bundle)
    assert request.query.histories.entities == (2, 0, 1)


def test_now_is_the_latest_events_time_unless_it_is_given(example_bundle: Bundle) -> None:
    latest = example_bundle.codec.moment("2026-01-29T08:09:00").timestamp
    assert read_request(without("now"), example_bundle).query.now == latest
    assert read_request(example(), example_bundle).query.now == latest + 60_000_000


def test_an_empty_history_can_be_predicted_from(example_bundle: Bundle) -> None:
    body = {"streams": {"Worker": [{"id": "new", "events": []}]}, "now": "2026-01-29T08:00:00"}
    query = read_request(body, example_bundle).query
    assert query.histories.length[0] == 0
    assert query.histories.vocabulary_id[0] == 0


def test_null_counts_as_left_out(example_bundle: Bundle) -> None:
    body = {"streams": {"Worker": [{"id": "ann", "events": [event(0)]}], "Case": None}}
    nulls = dict.fromkeys(KEYS[1:])
    assert repr(read_request(body | nulls, example_bundle)) == repr(read_request(body, example_bundle))


def test_values_that_the_vocabularies_lack_are_counted_and_blanks_are_not(example_bundle: Bundle) -> None:
    categories = [category.name for category in example_bundle.schema.categories]
    base = [categories[c] for c in read_request(example(), example_bundle).unknown]
    assert base == ["Worker"]  # "eve" in the stream Time
    body = changed(*EVENTS, 0, "Site", to="nowhere")
    body["streams"]["Worker"][0]["events"][1]["Site"] = ""
    body["observed"]["Kind"] = "nap"
    assert sorted(categories[c] for c in read_request(body, example_bundle).unknown) == ["Kind", "Site", *base]


def test_a_zoned_schema_wants_an_offset_and_keeps_it(tmp_path: Path) -> None:
    zoned = write_example(tmp_path, ZONED)
    body = {"streams": {"Worker": [{"id": "ann", "events": [event(0)]}]}}
    with pytest.raises(RequestError) as caught:
        read_request(body, zoned)
    assert caught.value.code == "bad_datetime"
    body["streams"]["Worker"][0]["events"][0]["EventDatetime"] = "2026-07-01T08:00:00Z"
    assert read_request(body, zoned).query.now_utc_offset == 7200
