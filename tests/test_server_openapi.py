"""The documented format is the one that requests are read with."""

from typing import Any

import pytest
from server_example import FakeEngine, example

from eventmodel.bundle import Bundle
from eventmodel.request.reader import KEYS, read_request
from eventmodel.request.rendering import render
from server.json_schema import request_schema, response_schema


def undocumented(value: Any, schema: dict[str, Any], at: str = "") -> list[str]:
    """Places of a document that a schema does not describe."""
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return [
            place
            for key, item in value.items()
            for place in (undocumented(item, known[key], f"{at}.{key}") if key in known else [f"{at}.{key}"])
        ]
    if isinstance(value, list):
        one = next((s for s in (schema, *schema.get("oneOf", ())) if "array" in s.get("type", ())), None)
        return (
            [f"{at}[]"] if one is None else [p for item in value for p in undocumented(item, one["items"], f"{at}[]")]
        )
    return []


def test_every_key_of_a_request_is_documented(example_bundle: Bundle) -> None:
    assert tuple(request_schema(example_bundle)["properties"]) == KEYS


def test_the_example_holds_nothing_undocumented(example_bundle: Bundle) -> None:
    assert undocumented(example(), request_schema(example_bundle)) == []
    assert undocumented({"streams": {"Worker": [{"id": "ann", "evnts": []}]}}, request_schema(example_bundle)) != []


@pytest.mark.parametrize("sampling", [None, {"num_samples": 3}])
def test_an_answer_holds_nothing_undocumented(example_bundle: Bundle, sampling: object) -> None:
    request = read_request(example() | {"sampling": sampling}, example_bundle)
    answer = render(example_bundle, request, FakeEngine(example_bundle).answer([request.query])[0])
    assert undocumented(answer, response_schema(example_bundle.schema)) == []
    assert set(answer) | {"rollouts"} == set(response_schema(example_bundle.schema)["properties"])


def test_the_documented_limits_are_those_of_the_reader(example_bundle: Bundle) -> None:
    schema = request_schema(example_bundle)
    longest = schema["properties"]["horizon"]["maximum"]
    assert read_request(example() | {"horizon": longest}, example_bundle).query.horizon == longest
    streams = schema["properties"]["streams"]["properties"]
    assert {name: stream["maxItems"] for name, stream in streams.items()} == {"Worker": 3, "Case": 2, "Time": 1}
    events = streams["Time"]["items"]["properties"]["events"]["oneOf"][0]
    assert events["maxItems"] == 6  # the model reads fewer than the schema's 11
