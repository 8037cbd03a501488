"""The load test: what it sends, what it makes of the answers, and both of its loops against a real server."""

import json
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from running_server import ROOT, free_port, started
from server_example import SCHEMA, ZONED, write_example

from benchmarks.loadtest.mix import REPEATED, SIZES, Mix
from benchmarks.loadtest.report import MOST_FAILED, SLOWEST_S, Step, saturation
from eventmodel.bundle import Bundle
from eventmodel.request.reader import read_request

LOCUSTFILE = ROOT / "benchmarks" / "loadtest" / "locustfile.py"


# --- the mix -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["local", "zoned"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    schema = {"local": SCHEMA, "zoned": ZONED}[request.param]
    example = {"streams": {"Worker": [{"id": "ann", "events": [event(request.param)]}]}}
    return write_example(tmp_path_factory.mktemp("bundle"), schema, example=example)


def event(kind: str) -> dict[str, object]:
    at = "2026-01-29T08:00:00" + ("+01:00" if kind == "zoned" else "")
    return {"Kind": "in", "Worker": "ann", "Site": "s1", "PlannedDatetime": at, "EventDatetime": at}


def card(bundle: Bundle) -> dict[str, Any]:
    """What the load test reads of the server's card."""
    streams = {
        s.name: {"entities": s.max_entities, "events": s.history_length(bundle.config.context_length)}
        for s in bundle.schema.streams
    }
    return {
        "schema": bundle.schema.model_dump(mode="json"),
        "limits": {"streams": streams, "horizon": bundle.max_horizon},
        "example": bundle.example,
    }


def some(bundle: Bundle, n: int = 400) -> list[tuple[str, dict[str, Any]]]:
    return [(body.kind, orjson.loads(body.content)) for body in islice(Mix(card(bundle)), n)]


def test_every_request_of_the_mix_can_be_read(bundle: Bundle) -> None:
    for _, document in some(bundle):
        assert not len(read_request(document, bundle).unknown)


def test_requests_are_of_every_size_and_horizon_in_their_shares(bundle: Bundle) -> None:
    found = some(bundle)
    limits = {stream.name: stream.history_length(bundle.config.context_length) for stream in bundle.schema.streams}
    kinds = Counter(kind for kind, _ in found)
    assert set(kinds) == {f"{size}, {horizon} ahead" for size in SIZES for horizon in (1, 3, 4)}  # it has no 8
    for kind, document in found:
        size, horizon = kind.removesuffix(" ahead").split(", ")
        read = read_request(document, bundle)
        assert read.query.horizon == int(horizon)
        histories = read.query.histories
        stream = np.repeat(list(limits), histories.entities)
        lengths = {name: int(histories.length[stream == name].sum()) for name in limits}
        assert lengths == {name: max(round(limit * SIZES[size][1]), 1) for name, limit in limits.items()}
    for size, (share, _) in SIZES.items():
        assert sum(n for kind, n in kinds.items() if kind.startswith(size)) / len(found) == pytest.approx(
            share, abs=0.1
        )


def test_about_half_of_the_histories_were_sent_before(bundle: Bundle) -> None:
    sent: set[str] = set()
    repeated = 0
    found = some(bundle, 3000)
    for _, document in found:
        content = json.dumps(document["streams"])
        repeated += content in sent
        sent.add(content)
    assert repeated / len(found) == pytest.approx(REPEATED, abs=0.1)


def test_the_same_seed_gives_the_same_requests(bundle: Bundle) -> None:
    assert some(bundle) == some(bundle)


# --- the report ----------------------------------------------------------------------------


def step(rate: float, seconds: float = 0.1, answered: int = 1000, failed: int = 0) -> Step:
    made = Step(rate, seconds=10, failures=Counter({"503 queue_full": failed} if failed else {}))
    made.durations["short"] += [seconds] * answered
    return made


def test_a_summary_has_the_percentiles_of_all_and_of_every_kind() -> None:
    made = Step(20, seconds=2)
    made.durations["short"] += [0.1] * 30
    made.durations["full"] += [0.3] * 10
    made.failures["504 timeout"] += 1
    found = made.summary()
    assert (found["rate"], found["requests"], found["answered_per_second"]) == (20, 41, 20)
    assert (found["latency_s"]["p50"], found["latency_s"]["p95"]) == (0.1, 0.3)
    assert found["by_kind"]["full"] == {"answered": 10, "latency_s": dict.fromkeys(found["latency_s"], 0.3)}
    assert found["failures"] == {"504 timeout": 1}


@pytest.mark.parametrize(
    ("made", "is_sustained"),
    [
        (step(10), True),
        (step(10, failed=1), MOST_FAILED * 1001 >= 1),
        (step(10, failed=5), False),
        (step(10, seconds=SLOWEST_S + 0.01), False),
        (step(10, answered=0), False),
    ],
)
def test_a_rate_is_sustained_within_the_objectives(made: Step, is_sustained: bool) -> None:
    assert made.is_sustained == is_sustained


def test_the_server_is_saturated_above_the_highest_rate_below_which_all_were_sustained() -> None:
    assert saturation([step(10), step(20), step(40, failed=900), step(80)]) == 20
    assert saturation([step(10, failed=900), step(20)]) is None


# --- both loops ----------------------------------------------------------------------------


def locust(port: int, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary", "--locustfile", str(LOCUSTFILE)]
    return subprocess.run(
        [*command, "--host", f"http://127.0.0.1:{port}", *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"} | environment,
    )


def measured(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("{"))
    found: dict[str, Any] = json.loads(line)
    return found


def test_an_open_loop_sends_at_every_rate_and_reports(example_bundle: Bundle, tmp_path: Path) -> None:
    key = {"EVENTMODEL_API_KEY": "secret"}
    with started(example_bundle.path, tmp_path / "server.log", **key) as server:
        flags = ("--rates", "20,40", "--step-s", "1", "--at-least", "40", "--out", str(tmp_path / "out"))
        done = locust(server.port, *flags, **key)
        assert done.returncode == 0, done.stderr
        assert "EVENTMODEL_API_KEY" in locust(server.port, "--rates", "20", "--step-s", "1").stderr
        assert server.metric('eventmodel_requests_total{status="200"}') == 60
    found = measured(done)
    assert [(s["rate"], s["requests"], s["failures"]) for s in found["steps"]] == [(20, 20, {}), (40, 40, {})]
    assert found["sustained_per_second"] == 40
    (written,) = (tmp_path / "out").glob("*.json")
    assert json.loads(written.read_text()) == found
    assert "POST" in written.with_suffix(".html").read_text()


def test_an_open_loop_does_not_wait_for_a_server_that_is_slow(example_bundle: Bundle, tmp_path: Path) -> None:
    flags = ("--max-batch-size", "1", "--max-queue", "2")
    with started(example_bundle.path, tmp_path / "server.log", *flags, FAKE_ENGINE_BATCH_S="0.2") as server:
        done = locust(server.port, "--rates", "40", "--step-s", "1", "--at-least", "40")
    (found,) = measured(done)["steps"]
    assert done.returncode == 1
    assert found["requests"] == 40
    assert found["failures"].keys() == {"503 queue_full"}
    assert found["failures"]["503 queue_full"] > 25  # it answers five in a second


def test_in_a_closed_loop_every_user_waits_for_its_answer(example_bundle: Bundle, tmp_path: Path) -> None:
    flags = ("--max-batch-size", "4", "--max-queue", "4")
    with started(example_bundle.path, tmp_path / "server.log", *flags, FAKE_ENGINE_BATCH_S="0.1") as server:
        done = locust(server.port, "--users", "4", "--spawn-rate", "100", "--run-time", "2")
    assert done.returncode == 0, done.stderr
    (found,) = measured(done)["steps"]
    assert (found["users"], found["failures"]) == (4, {})  # never more than the queue holds
    assert 10 < found["requests"] <= 4 * 2.5 / 0.1


def test_a_server_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    done = locust(free_port(), "--rates", "1", "--step-s", "1")
    assert done.returncode == 1
    assert any(line.startswith("error: GET http://127.0.0.1") for line in done.stderr.splitlines())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("rates", ["abc", "10,", "0", "-5", "inf"])
def test_rates_that_are_none_are_said_in_one_line(rates: str) -> None:
    done = locust(free_port(), f"--rates={rates}")
    assert done.returncode == 2
    assert "is no rate or list of rates, as 50 or 50,100,150" in done.stderr
    assert "Traceback" not in done.stderr
