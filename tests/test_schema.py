import json
from typing import Any

import pytest
from pydantic import ValidationError

from eventmodel.schema import NumberField, Schema, builtin_schemas, explain, load_schema


def changed(schema: Schema, **changes: Any) -> Schema:
    return Schema.model_validate(schema.model_dump(mode="json") | changes)


def many_fields(datetimes: int) -> list[dict[str, Any]]:
    names = ["EventDatetime", *(f"No{i}Datetime" for i in range(datetimes - 1))]
    return [{"name": "Worker", "kind": "key"}, *({"name": name, "kind": "datetime"} for name in names)]


def test_the_built_in_schemas_are_flights_and_workforce():
    assert builtin_schemas() == ["flights", "workforce"]


@pytest.mark.parametrize("name", builtin_schemas())
def test_every_built_in_schema_has_seventeen_categories(name):
    assert len(load_schema(name).categories) == 17


def test_the_workforce_schema_has_the_categories_of_the_original_system():
    parts = ("Month", "Day", "Hour", "Minute")
    assert [category.name for category in load_schema("workforce").categories] == [
        "EventType",
        "ActorRecordId",
        "RecipientRecordId",
        "ApprovedByManagerUserRecordId",
        "LocationRecordId",
        "CostCodeRecordId",
        "JobCodeRecordId",
        "IsTimesheet",
        "HoursWorked",
        *(f"Time_Event_{part}" for part in parts),
        *(f"Time_Reference_{part}" for part in parts),
    ]


def test_a_schema_survives_json(tiny_schema):
    assert Schema.model_validate_json(tiny_schema.model_dump_json()) == tiny_schema


def test_a_schema_is_read_from_a_file(tiny_schema, tmp_path):
    path = tmp_path / "tiny.json"
    path.write_text(tiny_schema.model_dump_json(), "utf-8")
    assert load_schema(path) == tiny_schema


def test_a_key_field_is_no_category(tiny_schema):
    assert "Case" not in [category.name for category in tiny_schema.categories]


def test_fields_that_share_a_vocabulary_learn_one(tiny_schema):
    assert tiny_schema.vocabularies == ("people", "Site")


def test_a_stream_is_embedded_by_the_first_category_among_its_keys(tiny_schema):
    category = tiny_schema.key_category(tiny_schema.stream_by_name["Worker"])
    assert tiny_schema.categories[category].name == "Worker"


@pytest.mark.parametrize("stream", ["Case", "Time"])
def test_a_stream_without_an_id_among_its_keys_is_embedded_by_none(tiny_schema, stream):
    assert tiny_schema.key_category(tiny_schema.stream_by_name[stream]) is None


def test_bucket_labels_say_their_bounds():
    assert NumberField(name="x", edges=(-5, 0, 2.5)).labels == ("<-5", "-5..0", "0..2.5", ">=2.5")


def test_edges_that_are_nearly_equal_keep_different_labels():
    labels = NumberField(name="x", edges=(1234567, 1234568, 1234569)).labels
    assert len(set(labels)) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order_by": "Worker"}, "order_by must name a datetime field"),
        ({"order_by": "Nowhere"}, "order_by must name a datetime field"),
        ({"focus": "Nobody"}, "is not a stream"),
        ({"focus": "Time"}, "has no key fields"),
        ({"time_zone": "Mars/Olympus"}, "not an IANA zone name"),
        ({"streams": [{"name": "Worker", "keys": ["Hours"]}]}, "must name a field of kind id or key"),
        ({"streams": [{"name": "Worker", "keys": ["Worker", "Site"]}]}, "must share one vocabulary"),
        ({"streams": [{"name": "Worker", "keys": ["Worker"]}] * 2}, "two streams are named 'Worker'"),
        (
            {"streams": [{"name": "Worker", "keys": ["Worker"]}, {"name": "Time", "max_entities": 2}]},
            "its max_entities is 1",
        ),
        ({"streams": [{"name": "../up", "keys": ["Worker"]}]}, "String should match pattern"),
        ({"fields": many_fields(65)}, "260 categories are more than 256"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(tiny_schema, changes, message):
    with pytest.raises(ValidationError, match=message):
        changed(tiny_schema, **changes)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"name": "Kind", "kind": "id"}, "two fields are named 'Kind'"),
        ({"name": "New", "kind": "enum", "values": ["a", "a"]}, "lists 'a' twice"),
        ({"name": "New", "kind": "enum", "values": ["a", ""]}, "an empty value means unknown"),
        ({"name": "New", "kind": "number", "edges": [1, 1]}, "must increase"),
        ({"name": "New", "kind": "number", "edges": [float("nan")]}, "finite"),
        ({"name": "New", "kind": "text"}, "does not match any of the expected tags"),
        ({"name": "Event", "kind": "datetime"}, "two categories are named 'Time_Event_Month'"),
    ],
)
def test_a_field_that_cannot_be_is_refused(tiny_schema, field, message):
    with pytest.raises(ValidationError, match=message):
        changed(tiny_schema, fields=[*tiny_schema.model_dump(mode="json")["fields"], field])


def test_a_fault_is_explained_by_its_place(tiny_schema):
    with pytest.raises(ValidationError) as caught:
        changed(tiny_schema, order_by=3, streams=[{"name": "Worker", "max_events": 0}, {"name": "Time"}])
    assert explain(caught.value).splitlines() == [
        "  order_by: Input should be a valid string",
        "  streams.0.max_events: Input should be greater than or equal to 1",
    ]


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "photo.json"
    path.write_bytes(b"\xff\xd8")
    with pytest.raises(ValueError, match=r"photo\.json is not UTF-8"):
        load_schema(path)


def test_an_unknown_schema_is_answered_with_the_built_in_ones():
    with pytest.raises(ValueError, match=r"\['flights', 'workforce'\]"):
        load_schema("flihgts")


def test_a_file_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text("{", "utf-8")
    with pytest.raises(ValueError, match=r"broken\.json is not JSON"):
        load_schema(path)


def test_a_file_that_is_not_a_schema_is_named_with_its_faults(tmp_path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"name": "other"}), "utf-8")
    with pytest.raises(ValueError, match=r"other\.json is not a schema:\n  fields: Field required"):
        load_schema(path)
