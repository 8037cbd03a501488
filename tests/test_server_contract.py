"""Requests that schemathesis derives from the documented format, right and wrong ones, at the real server."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import validate
from running_server import Server, started
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance
from server_example import ZONED, example, write_example

from eventmodel.bundle import Bundle

BEYOND_JSON_SCHEMA = {
    "impossible_date",
    "ambiguous_focus",
    "bad_datetime",  # 30 February, or what stands in a row
    "bad_value",  # in a row
    "duplicate_entity",
    "event_after_now",
    "event_of_another_entity",
    "missing_datetime",  # in a row
    "missing_now",
    "no_records",  # up to now
    "observed_before_now",
    "out_of_order",
    "quantiles_out_of_order",
    "row_width",
    "unknown_focus",
    "unknown_value",
}
"""Why a request that fits the documented format may be refused all the same."""


@pytest.fixture(scope="module", params=["local", "zoned"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if request.param == "local":
        bundle = write_example(tmp_path_factory.mktemp("bundle"))
    else:
        text = json.dumps(example()).replace(':00"', ':00+01:00"')
        bundle = write_example(tmp_path_factory.mktemp("bundle"), ZONED, example=json.loads(text))
    with started(bundle.path, tmp_path_factory.mktemp("log") / "server.log") as running:
        yield running


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    return server.client.get("/openapi.json").json()


@pytest.fixture(scope="module")
def predict(server: Server, document: dict[str, Any]) -> Any:
    """The operation POST /predict."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{server.port}")
    return schema["/predict"]["POST"]


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1.")
    assert set(document["paths"]) == {"/predict", "/info"}


@pytest.mark.parametrize("more", [{}, {"sampling": {"num_samples": 3}}, {"top_k": "all", "quantiles": None}])
def test_the_documented_example_is_accepted_and_its_answer_is_as_documented(predict: Any, more: dict[str, Any]) -> None:
    documented = predict.definition.raw["requestBody"]["content"]["application/json"]["example"]
    response = predict.Case(body=documented | more, media_type="application/json").call_and_validate()
    assert response.status_code == 200


def test_the_card_is_as_documented(server: Server, document: dict[str, Any]) -> None:
    documented = schemathesis.openapi.from_dict(document)
    documented.config.update(base_url=f"http://127.0.0.1:{server.port}")
    assert documented["/info"]["GET"].Case().call_and_validate().status_code == 200


def test_the_key_is_documented_where_one_is_needed(
    example_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("log") / "server.log"
    with started(example_bundle.path, log, EVENTMODEL_API_KEY="s3cret") as locked:
        document = locked.client.get("/openapi.json", headers={"x-api-key": "s3cret"}).json()
        validate(document)
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=f"http://127.0.0.1:{locked.port}")
        for headers, status in (({"X-API-Key": "s3cret"}, 200), ({}, 401)):
            # schemathesis leaves the key out as well, and sends wrong ones
            assert schema["/info"]["GET"].Case(headers=headers).call_and_validate().status_code == status
        assert document["components"]["securitySchemes"]["key"]["name"] == "X-API-Key"


def whole(value: Any) -> Any:
    """JSON Schema takes 4.0 for a whole number; programs write it as 4."""
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("n", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_what_fits_the_format_is_refused_only_for_what_a_format_cannot_say(
    server: Server, predict: Any, mode: GenerationMode, n: int
) -> None:
    statuses: Counter[int] = Counter()

    @given(predict.as_strategy(generation_mode=mode))
    @settings(max_examples=n, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case: Case) -> None:
        is_right = mode is GenerationMode.POSITIVE
        if is_right:
            case.body = whole(case.body)
        response = case.call()
        statuses[response.status_code] += 1
        # 504 is what a sender gets who waits for next to no time; what fits may still be wrong: see below
        case.validate_response(response, excluded_checks=[not_a_server_error, positive_data_acceptance])
        assert response.status_code in ({200, 422, 504} if is_right else {400, 422, 504})
        if is_right and response.status_code == 422:
            assert response.json()["error"]["code"] in BEYOND_JSON_SCHEMA

    ask()
    # whatever is drawn: some is read, and not merely late or wrong in its headers
    assert statuses[200] + statuses[422] > n / 20
    assert server.client.get("/ready").status_code == 200
    assert "Traceback" not in server.log.read_text()
