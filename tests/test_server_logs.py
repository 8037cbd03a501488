"""What the server logs, as JSON and for people."""

import asyncio
import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running_server import Server, request, run, started, wait_for
from starlette.types import Message, Receive, Scope, Send

from eventmodel.bundle import Bundle
from server.logs import JsonFormatter, TextFormatter
from server.request_id import RequestId


@pytest.fixture(scope="module")
def server(example_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    with started(
        example_bundle.path, log, "--log-format", "json", "--max-queue", "2", "--log-level", "debug"
    ) as running:
        yield running


def entries(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text().splitlines()]


def of_request(server: Server, id_: str) -> list[dict[str, Any]]:
    """Once they are all there: the last one says how long it took."""
    wait_for(lambda: any(e.get("request_id") == id_ and "duration_s" in e for e in entries(server)))
    return [entry for entry in entries(server) if entry.get("request_id") == id_]


def test_every_line_of_every_process_is_a_json_object(example_bundle: Bundle, tmp_path: Path) -> None:
    """From the start to the end, with a model process that is killed and an HTTP process that is killed."""
    with started(
        example_bundle.path, tmp_path / "server.log", "--log-format", "json", "--http-processes", "2"
    ) as server:
        server.post(request("fail"))
        os.kill(server.model_process(), signal.SIGKILL)
        wait_for(lambda: not server.is_ready())
        wait_for(server.is_ready)
        os.kill(server.http_processes()[0], signal.SIGKILL)
        wait_for(lambda: server.log.read_text().count("Application startup complete") == 3)
    found = entries(server)
    assert {"time", "level", "logger", "process", "message"} <= set.intersection(*(set(entry) for entry in found))
    assert {entry["process"] for entry in found} >= {"MainProcess", "http-0", "inference-worker"}
    assert {"eventmodel", "uvicorn.error"} <= {entry["logger"] for entry in found}


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere%0Aerror:"), ("DELETE", "/info"), ("POST", "/predict/")])
def test_a_request_for_what_is_not_there_has_a_line_with_its_path_as_sent(
    server: Server, method: str, path: str
) -> None:
    id_ = f"lost-{method}"
    assert server.client.request(method, path, headers={"X-Request-ID": id_}).status_code in (404, 405)
    (entry,) = of_request(server, id_)
    assert (entry["level"], entry["message"]) == ("info", f"{method} {path}")


def test_an_end_is_json_too(tmp_path: Path) -> None:
    done = run("--bundle", str(tmp_path), "--log-format", "json")
    entry = json.loads(done.stderr)
    assert (done.returncode, entry["level"], "is not a bundle" in entry["message"]) == (2, "error", True)


def test_an_answer_has_a_line_with_the_id_that_its_header_has(server: Server) -> None:
    (entry,) = of_request(server, server.post(request()).headers["x-request-id"])
    assert (entry["level"], entry["status"], entry["message"]) == ("debug", 200, "POST /predict")
    assert 0 < entry["duration_s"] < 5


def test_a_request_that_is_refused_has_a_line_with_the_reason(server: Server) -> None:
    (entry,) = of_request(server, server.post({"streams": {}}).headers["x-request-id"])
    assert (entry["level"], entry["status"], entry["code"]) == ("info", 422, "missing_focus")


def test_a_request_on_which_the_model_fails_has_its_traceback_and_its_answer(server: Server) -> None:
    traceback, answer = of_request(server, server.post(request("fail")).headers["x-request-id"])
    assert "FloatingPointError: the engine fails on purpose" in traceback["exception"]
    assert (traceback["process"], answer["process"]) == ("inference-worker", "http-0")
    assert (answer["level"], answer["status"], answer["code"]) == ("warning", 500, "internal_error")


def test_at_the_default_level_what_is_answered_has_no_line(example_bundle: Bundle, tmp_path: Path) -> None:
    with started(example_bundle.path, tmp_path / "server.log") as server:
        server.post(request())
        server.post({}, **{"X-Request-ID": "order-17"})
    (line,) = (line for line in server.log.read_text().splitlines() if "POST" in line)
    assert line.startswith("info: POST /predict request_id=order-17 status=422 code=missing_streams duration_s=0.")


@pytest.mark.parametrize("has_begun", [False, True])
def test_what_cannot_be_handled_is_logged_under_its_id_and_answered(
    has_begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if has_begun:
            await send({"type": "http.response.start", "status": 200})
        raise RuntimeError("on purpose")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    scope = {"type": "http", "path": "/info", "headers": [(b"x-request-id", b"order-17")]}
    handled = RequestId(broken)(scope, receive, send)
    if has_begun:  # half an answer is not made whole: its connection is closed
        with pytest.raises(RuntimeError):
            asyncio.run(handled)
    else:
        asyncio.run(handled)
        assert (sent[0]["status"], sent[1]["type"]) == (500, "http.response.body")
        assert (b"x-request-id", b"order-17") in sent[0]["headers"]
    (logged,) = caplog.records
    assert logged.__dict__["request_id"] == "order-17"
    assert logged.exc_info is not None


def record(**fields: object) -> logging.LogRecord:
    try:
        raise KeyError("on\npurpose")
    except KeyError as error:
        raised = (KeyError, error, error.__traceback__)
    made = logging.LogRecord("eventmodel", logging.ERROR, "file", 1, "It %s.", ("fails",), raised)
    made.__dict__.update(fields)
    return made


def test_a_traceback_stays_on_the_line() -> None:
    line = JsonFormatter().format(record(request_id="r1"))
    assert "\n" not in line
    entry = json.loads(line)
    assert (entry["message"], entry["request_id"]) == ("It fails.", "r1")
    assert entry["exception"].startswith("Traceback")


def test_text_says_the_same_for_people() -> None:
    first, *rest = TextFormatter().format(record(request_id="r1", status=500)).splitlines()
    assert first == "error: It fails. request_id=r1 status=500"
    assert rest[0].startswith("Traceback")
