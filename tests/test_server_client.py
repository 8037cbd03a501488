"""The client against the real server, and against one that answers as a test wants it."""

import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, get_type_hints

import httpx
import pytest
from running_server import ENVIRONMENT, Server, free_port, request, started
from server_example import SCHEMA, example

from eventmodel.bundle import Bundle
from eventmodel.schema import Schema
from server import prediction
from server.client import ApiError, Client
from server.json_schema import response_schema
from server.prediction import Prediction


@pytest.fixture(scope="module")
def server(example_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with started(
        example_bundle.path, tmp_path_factory.mktemp("log") / "server.log", EVENTMODEL_API_KEY="s3cret"
    ) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Client:
    return server.api


def refused(call: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value


def test_the_client_imports_neither_torch_nor_the_server_s_own_libraries() -> None:
    code = "import sys; from server.client import Client; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    imported = set(done.stdout.split())
    assert "httpx" in imported
    heavy = {"torch", "onnxruntime", "litserve", "fastapi", "numpy", "pydantic", "prometheus_client", "eventmodel"}
    assert imported & heavy == set()


# --- the real server -----------------------------------------------------------------------


def test_the_example_of_the_info_is_predicted(client: Client) -> None:
    asked = client.info()["example"]
    answer = client.predict(asked)
    assert (answer["focus"], len(answer["events"])) == (asked["focus"], asked["horizon"])


def test_a_ready_server_is_ready_and_a_missing_one_is_not(client: Client) -> None:
    assert client.is_ready()
    with Client(f"http://127.0.0.1:{free_port()}") as nobody:
        assert not nobody.is_ready()


def test_an_error_carries_what_the_server_says_and_the_request_s_name(client: Client) -> None:
    error = refused(lambda: client.predict(request() | {"horizon": 99}, request_id="order-17"))
    assert (error.status, error.code, error.loc, error.request_id) == (422, "bad_horizon", "horizon", "order-17")
    assert error.message.startswith("99 is not a number of future events")
    assert error.hint == "Send a whole number from 1 to 4."
    assert str(error).startswith("422 bad_horizon at horizon: 99 is not")
    assert str(error).endswith("(request order-17)")


def test_an_error_crosses_between_processes() -> None:
    error = ApiError("queue_full", "no room", "order-17", "", "Wait.", 503, 1.0)
    crossed = pickle.loads(pickle.dumps(error))
    assert vars(crossed) == vars(error)
    assert str(crossed) == "503 queue_full: no room. Wait. (request order-17)"


def test_a_wrong_key_is_refused(server: Server) -> None:
    with Client(f"http://127.0.0.1:{server.port}", api_key="wrong") as stranger:
        assert refused(stranger.info).code == "unauthorized"


def test_the_server_is_told_how_long_the_client_waits(client: Client) -> None:
    asked_at = time.monotonic()
    error = refused(lambda: client.predict(request("sleep"), timeout_s=0.3))
    assert (error.status, error.code) == (504, "timeout")
    assert time.monotonic() - asked_at < 1


# --- a server that answers as it is told ---------------------------------------------------


class Scripted:
    """Gives its answers in turn, the last one for ever; counts attempts and never really sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.slept: list[float] = []
        self.now = 1000.0
        monkeypatch.setattr("server.client.time", self)

    def __call__(self, asked: httpx.Request) -> httpx.Response:
        self.asked.append(asked)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def client(self, **settings: Any) -> Client:
        return Client("http://server", transport=httpx.MockTransport(self), **settings)


def full(retry_after: str | None = "1") -> httpx.Response:
    error = {"code": "queue_full", "loc": "", "message": "no room", "hint": "Wait."}
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return httpx.Response(503, headers=headers, json={"error": error})


OK = httpx.Response(200, json={"events": []})


@pytest.mark.parametrize("failure", [full(), httpx.ConnectError("no")])
def test_a_full_or_missing_server_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, failure: httpx.Response | Exception
) -> None:
    script = Scripted(monkeypatch, failure, failure, OK)
    assert script.client().predict({}) == {"events": []}
    assert len(script.asked) == 3
    assert len({asked.headers["x-request-id"] for asked in script.asked}) == 1


def test_a_connection_that_is_closed_in_between_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = httpx.RemoteProtocolError("gone")
    script = Scripted(monkeypatch, gone, OK)
    assert script.client().predict({}) == {"events": []}
    script = Scripted(monkeypatch, gone, httpx.ReadError("gone"), OK)  # what was sent may be what ends the server
    assert refused(lambda: script.client().predict({})).code == "closed"
    assert len(script.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 413, 422, 429, 500, 502, 504])
def test_nothing_else_is_asked_again(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    script = Scripted(monkeypatch, httpx.Response(status, text="<html>from a proxy</html>"), OK)
    error = refused(lambda: script.client().predict({}))
    assert (error.status, error.code, len(script.asked)) == (status, "bad_answer", 1)


def test_a_late_answer_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted(monkeypatch, httpx.ReadTimeout("late"), OK)
    error = refused(lambda: script.client().predict({}))
    assert (error.status, error.code, len(script.asked)) == (None, "timeout", 1)


def test_attempts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted(monkeypatch, full("0"))
    error = refused(lambda: script.client(attempts=3).predict({}))
    assert (error.code, error.status, len(script.asked), len(script.slept)) == ("queue_full", 503, 3, 2)


def test_no_attempt_is_made_before_the_time_that_the_server_names(monkeypatch: pytest.MonkeyPatch) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=9), usegmt=True)
    for retry_after, least, most in (("2", 2, 2.1), (date, 7.5, 9.1), (None, 0, 0.1), ("soon", 0, 0.1)):
        script = Scripted(monkeypatch, full(retry_after), OK)
        script.client().predict({})
        assert least <= script.slept[0] <= most, retry_after


def test_waits_are_random_and_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = []
    for _ in range(40):
        script = Scripted(monkeypatch, full("0"))
        refused(lambda script=script: script.client(attempts=6).predict({}))
        rounds.append(script.slept)
    for i, waits in enumerate(zip(*rounds, strict=True)):
        assert len(set(waits)) > 30
        assert 0.05 * 2**i < max(waits) <= 0.1 * 2**i


def test_no_wait_goes_beyond_the_time_that_the_caller_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted(monkeypatch, full("3600"), OK)
    assert refused(lambda: script.client().predict({}, timeout_s=5)).code == "queue_full"
    assert script.slept == []
    script = Scripted(monkeypatch, full("2"))
    refused(lambda: script.client(attempts=99).predict({}, timeout_s=5))
    left = [float(asked.headers["x-request-timeout"]) for asked in script.asked]
    assert left[0] == 5
    assert left == sorted(left, reverse=True)
    assert sum(script.slept) < 5


def test_an_answer_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted(monkeypatch, httpx.Response(200, text="welcome"))
    assert refused(script.client().info).code == "bad_answer"


def test_an_address_that_is_none_is_an_error_and_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted(monkeypatch, httpx.UnsupportedProtocol("no scheme"))
    assert refused(script.client().info).code == "unreachable"
    assert len(script.asked) == 1


@pytest.mark.parametrize("url", ["localhost:8000", "server", "ftp://server"])
def test_an_address_without_http_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="it lacks http:// or https://"):
        Client(url)


@pytest.mark.parametrize(
    "settings", [{"attempts": 0}, {"timeout_s": 0}, {"timeout_s": float("nan")}, {"api_key": "two\nlines"}]
)
def test_a_setting_that_cannot_work_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Client("http://server", **settings)


# --- types ---------------------------------------------------------------------------------


def test_the_types_are_the_documented_ones() -> None:
    def keys(documented: dict[str, Any], type_: Any) -> None:
        """Walk both together."""
        inner = getattr(type_, "__args__", ())
        if documented.get("type") == "array":
            keys(documented["items"], inner[0])
        elif "additionalProperties" in documented and documented["additionalProperties"] is not False:
            keys(documented["additionalProperties"], inner[1])
        elif "properties" in documented and type_ is not prediction.Record:
            hints = get_type_hints(type_)
            assert list(documented["properties"]) == list(hints), type_
            assert set(documented["required"]) == type_.__required_keys__, type_
            for name, described in documented["properties"].items():
                keys(described, hints[name])

    keys(response_schema(Schema.model_validate(SCHEMA)), Prediction)


@pytest.mark.parametrize("arguments", [{"timeout_s": 0}, {"timeout_s": float("inf")}, {"request_id": "a b"}])
def test_an_argument_that_cannot_work_is_refused_before_anything_is_sent(
    client: Client, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        client.predict(request(), **arguments)


def test_a_request_that_json_cannot_hold_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(ValueError, match="JSON"):
        client.predict(example() | {"quantiles": [float("nan")]})
    with pytest.raises(ValueError, match="JSON"):
        client.predict(example() | {"now": datetime.now(UTC)})
