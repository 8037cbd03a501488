"""Every limit that ``/info`` tells holds, and is told again to whoever exceeds it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running_server import Server, request, started
from server_example import event, write_example

from eventmodel.bundle import Bundle

Body = dict[str, Any]


@pytest.fixture(scope="module")
def server(example_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    with started(example_bundle.path, log, "--max-body-bytes", "400000", "--timeout-s", "0.7") as running:
        yield running


def with_entities(stream: str, n: int) -> Body:
    entities = [{"events": [event(0)]}] * n if stream == "Time" else [{"id": f"e{i}", "events": []} for i in range(n)]
    return {"streams": {"Worker": [{"id": "e0", "events": []}], stream: entities}, "focus": "e0", "now": "2026-02-01"}


def with_events(stream: str, n: int) -> Body:
    entity = {"Worker": {"id": "ann"}, "Case": {"id": "17"}, "Time": {}}[stream]
    events = [event(i, Case=17) for i in range(n)]
    return {"streams": {"Worker": [{"id": "ann", "events": []}], stream: [entity | {"events": events}]}}


LIMITS: dict[str, Callable[[int], Body]] = {
    "records": lambda n: {
        "records": {
            "columns": ["Worker", "EventDatetime"],
            "rows": [["ann", f"2026-01-29T08:{i % 60:02d}"] for i in range(n)],
        },
        "focus": "ann",
    },
    "horizon": lambda n: request() | {"horizon": n},
    "quantiles": lambda n: request() | {"quantiles": [i / (n + 1) for i in range(1, n + 1)]},
    "samples": lambda n: request() | {"sampling": {"num_samples": n}},
    "temperature": lambda n: request() | {"sampling": {"temperature": n}},
    **{f"streams.{name}.entities": lambda n, name=name: with_entities(name, n) for name in ("Worker", "Case", "Time")},
    **{f"streams.{name}.events": lambda n, name=name: with_events(name, n) for name in ("Worker", "Case", "Time")},
}
"""A request that is as large as is said, by the limit's place in ``/info``."""


def flat(limits: dict[str, Any], at: str = "") -> dict[str, float]:
    found = {}
    for name, value in limits.items():
        found |= flat(value, f"{at}{name}.") if isinstance(value, dict) else {f"{at}{name}": value}
    return found


def test_every_limit_is_tried_out(server: Server) -> None:
    assert set(flat(server.api.info()["limits"])) == {"body_bytes", "timeout_s", "values", *LIMITS, *LEAST.values()}


LEAST = {"temperature": "least_temperature", "top_p": "least_top_p"}


@pytest.mark.parametrize(("name", "limit"), LEAST.items())
def test_what_is_below_the_least_is_told_the_limit(server: Server, name: str, limit: str) -> None:
    least = flat(server.api.info()["limits"])[limit]
    assert server.post(request() | {"sampling": {name: least}}).status_code == 200
    refused = server.post(request() | {"sampling": {name: least / 2}})
    assert refused.status_code == 422
    assert str(least) in refused.json()["error"]["message"]


@pytest.mark.parametrize("limit", LIMITS)
def test_what_is_at_a_limit_is_answered_and_what_is_above_is_told_the_limit(server: Server, limit: str) -> None:
    most = int(flat(server.api.info()["limits"])[limit])
    assert server.post(LIMITS[limit](most)).status_code == 200
    refused = server.post(LIMITS[limit](most + 1))
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert error["loc"]
    assert str(most) in error["message"] + error["hint"]


def test_an_answer_lists_as_many_values_as_it_may_and_a_longer_one_is_told_the_limit(tmp_path: Path) -> None:
    sites = [f"s{i}" for i in range(70_000)]
    bundle = write_example(tmp_path / "bundle", vocabularies={"people": ["ann", "bob", "cid"], "Site": sites})
    horizon = bundle.max_horizon
    with started(bundle.path, tmp_path / "server.log") as server:
        most = server.api.info()["limits"]["values"]
        top_k = most // horizon - len(bundle.schema.fields)  # beside an event's fields
        asked = request() | {"horizon": horizon, "categories": ["Site"], "top_k": top_k}
        answer = server.post(asked)
        assert [len(event["categories"]["Site"]["top"]) for event in answer.json()["events"]] == [top_k] * horizon
        refused = server.post(asked | {"top_k": top_k + 1})
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "answer_too_large"
        assert str(most) in refused.json()["error"]["message"]


def test_a_body_at_its_limit_is_answered_and_a_larger_one_is_told_the_limit(server: Server) -> None:
    most = server.api.info()["limits"]["body_bytes"]
    body = json.dumps(request()).encode().ljust(most)
    assert server.client.post("/predict", content=body).status_code == 200
    refused = server.client.post("/predict", content=body + b" ")
    assert refused.status_code == 413
    assert str(most) in refused.json()["error"]["message"]


def test_nobody_waits_longer_than_the_server_does(server: Server) -> None:
    late = server.post(request("sleep"), **{"X-Request-Timeout": "60"})
    assert late.status_code == 504
    assert late.elapsed.total_seconds() < server.api.info()["limits"]["timeout_s"] + 0.5
