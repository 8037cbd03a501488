"""The real server, in processes of its own, with a fake engine."""

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from running_server import ENVIRONMENT, Server, free_port, request, run, started, wait_for
from server_example import example, write_example

from eventmodel.bundle import Bundle

LIMIT = 50_000
"""Of a body, in bytes."""


@pytest.fixture(scope="module")
def server(example_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    with started(example_bundle.path, log, "--max-body-bytes", str(LIMIT), "--http-processes", "2") as running:
        yield running


def test_the_documented_example_works_as_it_stands(server: Server, example_bundle: Bundle) -> None:
    operation = server.client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    documented = operation["requestBody"]["content"]["application/json"]["example"]
    assert documented == json.loads((example_bundle.path / "example.json").read_text())
    assert server.post(documented).status_code == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_command_that_the_server_prints_works_as_printed(server: Server) -> None:
    commands = [line for line in server.log.read_text().splitlines() if line.startswith("  curl")]
    assert len(commands) == 1  # of two HTTP processes
    answer = subprocess.run(commands[0], shell=True, capture_output=True, check=True).stdout
    assert json.loads(answer)["focus"] == "ann"


def test_probes_say_alive_and_ready(server: Server) -> None:
    assert server.client.get("/live").json() == {"status": "alive"}
    assert server.client.get("/ready").json() == {"status": "ready"}


def test_an_answer_is_the_same_alone_and_in_a_crowd(server: Server) -> None:
    crowd = [request(minute=i) for i in range(12)]
    together = [response.content for response in server.post_all([request("sleep"), *crowd])[1:]]
    assert together == [server.post(body).content for body in crowd]
    assert len(set(together)) == 12


def test_of_72_requests_at_once_the_3_malformed_ones_get_422_and_the_other_69_their_answer(server: Server) -> None:
    bodies: list[object] = [request(minute=i % 60) for i in range(72)]
    for i in (3, 31, 59):
        bodies[i] = {"streams": {"Worker": "nobody"}}
    statuses = [response.status_code for response in server.post_all(bodies)]
    assert [i for i, status in enumerate(statuses) if status == 422] == [3, 31, 59]
    assert statuses.count(200) == 69


def test_a_request_on_which_the_model_fails_leaves_its_batch_alone(server: Server) -> None:
    bodies = [request("sleep"), *(request("fail" if i == 4 else "in", minute=i) for i in range(9))]
    responses = server.post_all(bodies)
    assert [response.status_code for response in responses].index(500) == 5
    assert sum(response.status_code == 200 for response in responses) == 9
    assert responses[5].json()["error"]["code"] == "internal_error"
    assert "fails on purpose" in server.log.read_text()  # the traceback


def test_requests_that_wait_share_a_batch(server: Server) -> None:
    def batches() -> float:
        return server.metrics()["eventmodel_batch_size_requests_count"]

    before, received = batches(), server.received()
    with ThreadPoolExecutor(17) as pool:
        first = pool.submit(server.post, request("sleep"))
        wait_for(lambda: server.received() > received)
        rest = list(pool.map(server.post, [request(minute=i) for i in range(16)]))
    assert {response.status_code for response in [first.result(), *rest]} == {200}
    # The sleeper alone, then all behind it at once, but for those that a busy machine sends late.
    assert batches() - before <= 8


def test_a_body_over_the_limit_gets_413(server: Server) -> None:
    response = server.post("x" * LIMIT)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"


def test_a_body_over_the_limit_is_not_read_on(server: Server) -> None:
    """Neither where its length is announced nor where it comes in chunks."""
    announced = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {10 * LIMIT}\r\n\r\nx"
    chunk = f"{LIMIT + 1:x}\r\n{'x' * (LIMIT + 1)}\r\n"
    chunked = f"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
    for sent in (announced, chunked):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(sent.encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))  # up to the server's close
        assert answer.startswith(b"HTTP/1.1 413")


def test_what_is_not_json_gets_422_whatever_it_claims_to_be(server: Server) -> None:
    for content_type in ("application/json", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded"):
        response = server.client.post("/predict", content=b"a=1", headers={"content-type": content_type})
        assert (response.status_code, response.json()["error"]["code"]) == (422, "not_json")
    assert server.client.post("/predict").status_code == 422


def test_a_compressed_body_is_refused_whole_or_not(server: Server) -> None:
    packed = gzip.compress(json.dumps(request()).encode())
    for body in (packed, packed[:20], b""):
        answer = server.client.post("/predict", content=body, headers={"content-encoding": "gzip"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "compressed")


def test_every_error_has_the_same_shape(server: Server) -> None:
    for response in (
        server.client.get("/nowhere"),
        server.client.get("/predict"),
        server.post({"streams": {}}),
        server.post(request("fail")),
    ):
        assert response.status_code >= 400
        assert list(response.json()["error"]) == ["code", "loc", "message", "hint"]


def test_a_wrong_method_is_told_the_right_one(server: Server) -> None:
    answer = server.client.get("/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]["message"] == "'/predict' takes POST, not GET"


def test_requests_are_counted_exactly_over_all_processes(server: Server) -> None:
    ok, wrong = 'eventmodel_requests_total{status="200"}', 'eventmodel_requests_total{status="422"}'
    reason = 'eventmodel_request_errors_total{code="missing_streams"}'
    unknown = 'eventmodel_values_total{category="Worker",kind="unknown"}'
    before = server.metrics()
    server.post_all([*(example() for _ in range(20)), *({} for _ in range(7))])
    after = server.metrics()
    counted = [after[name] - before.get(name, 0) for name in (ok, wrong, reason, unknown)]
    assert counted == [20, 7, 7, 20]  # one value of the example is unknown
    answered = "eventmodel_request_duration_seconds_count"
    assert after[answered] - before[answered] == 27
    assert after['eventmodel_model_info{name="tiny",version="0123456789ab"}'] == 1


def test_the_stages_of_a_request_add_up_to_its_duration(server: Server) -> None:
    stages = {
        stage: f'eventmodel_stage_duration_seconds_%s{{stage="{stage}"}}'
        for stage in ("parse", "queue", "encode", "decode", "respond")
    }
    before = server.metrics()
    assert server.post(request("sleep")).status_code == 200
    after = server.metrics()

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert {stage: grown(name % "count") for stage, name in stages.items()} == dict.fromkeys(stages, 1)
    duration = grown("eventmodel_request_duration_seconds_sum")
    assert duration > 1.5
    assert sum(grown(name % "sum") for name in stages.values()) == pytest.approx(duration, abs=0.02)


def test_a_request_is_in_flight_until_it_is_answered(server: Server) -> None:
    in_flight = "eventmodel_in_flight_requests"
    with ThreadPoolExecutor(1) as pool:
        sleeping = pool.submit(server.post, request("sleep"))
        wait_for(lambda: server.metric(in_flight) == 1)
        assert sleeping.result().status_code == 200
    wait_for(lambda: server.metric(in_flight) == 0)


def test_the_limits_stand_beside_what_they_limit(server: Server) -> None:
    found = [server.metric(f"eventmodel_max_{name}_requests") for name in ("queue", "batch_size")]
    assert found == [256, 32]


def test_nothing_of_a_request_is_logged(server: Server) -> None:
    server.post(request("fail") | {"focus": "ann"})
    server.post({"streams": {"Worker": [{"id": "secret-name", "events": [{}]}]}})
    assert "secret-name" not in server.log.read_text()
    assert '"ann"' not in server.log.read_text()


def test_an_idle_server_does_not_spin(server: Server) -> None:
    def cpu_ticks() -> int:
        stats = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in server.processes()]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats)  # user and system, 100 per second

    before = cpu_ticks()
    time.sleep(1)
    assert cpu_ticks() - before <= 10


def test_a_path_that_is_no_bundle_is_said_in_one_line(tmp_path: Path) -> None:
    done = run("--bundle", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert "is not a bundle" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_backend_that_the_bundle_lacks_is_said_in_one_line(example_bundle: Bundle) -> None:
    done = run("--bundle", str(example_bundle.path), "--backend", "torchscript")
    assert done.returncode == 2
    assert "torchscript" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_busy_port_is_said_in_one_line(server: Server, example_bundle: Bundle) -> None:
    done = run("--bundle", str(example_bundle.path), "--host", "127.0.0.1", "--port", str(server.port))
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounts a file system")
@pytest.mark.parametrize("kib", [4, 64, 200])
def test_no_room_for_temporary_files_is_said_in_one_line(example_bundle: Bundle, tmp_path: Path, kib: int) -> None:
    small = f"mount -t tmpfs -o size={kib}k none {tmp_path}"
    command = ["unshare", "--mount", "sh", "-c", f'{small} && exec "$@"', "sh"]
    done = run("--bundle", str(example_bundle.path), within=command, TMPDIR=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no room for temporary files")
    assert done.stderr.count("\n") == 1


def test_a_model_that_does_not_load_ends_the_server(tmp_path: Path) -> None:
    bundle = write_example(tmp_path, example=request("fail"))
    done = run("--bundle", str(bundle.path), "--host", "127.0.0.1", "--port", str(free_port()))
    assert done.returncode == 1
    assert "error: the model process does not start: FloatingPointError: the engine fails on purpose" in done.stderr


def test_the_http_process_imports_no_inference_library(example_bundle: Bundle) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from eventmodel.bundle import load_bundle\n"
        "from server.metrics_directory import metrics_directory\n"
        "from server.settings import read_settings\n"
        "import server.run\n"
        "with metrics_directory():\n"
        "    from server.app import build_server\n"
        "    build_server(read_settings(['--bundle', sys.argv[1]]), load_bundle(Path(sys.argv[1])), dict)\n"
        "print([name for name in ('torch', 'onnxruntime') if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(example_bundle.path)]
    assert subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True).stdout == "[]\n"


def test_the_sender_s_request_id_comes_back_and_stands_in_the_log(server: Server) -> None:
    failed = server.post(request("fail"), **{"X-Request-ID": "order-17"})
    assert (failed.status_code, failed.headers["x-request-id"]) == (500, "order-17")
    assert "order-17" in server.log.read_text()


@pytest.mark.parametrize("unusable", ["", "two words", "x" * 65, 'quote"', "line\tbreak"])
def test_a_request_without_a_usable_id_gets_one(server: Server, unusable: str) -> None:
    ids = {server.post(request(), **{"X-Request-ID": unusable}).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert unusable not in ids


def test_info_tells_the_schema_the_vocabularies_and_the_limits(server: Server, example_bundle: Bundle) -> None:
    found = server.api.info()
    assert found["model"]["version"] == "0123456789ab"
    assert found["schema"]["focus"] == "Worker"
    assert found["categories"]["Site"] == 12
    assert found["limits"]["body_bytes"] == LIMIT
    assert found["limits"]["horizon"] == 4
    assert found["limits"]["streams"]["Time"] == {"entities": 1, "events": 6}
    assert found["example"] == json.loads((example_bundle.path / "example.json").read_text())
    assert found["measured"] is None  # the tests' bundle was never trained


def test_a_key_is_asked_for_everywhere_but_by_probes(example_bundle: Bundle, tmp_path: Path) -> None:
    with started(example_bundle.path, tmp_path / "server.log", EVENTMODEL_API_KEY="s3cret") as locked:
        for path in ("/live", "/ready", "/metrics"):
            assert locked.client.get(path).status_code == 200
        for key in ({}, {"X-API-Key": "S3cret"}, {"X-API-Key": "s3cret "[:5]}, {"X-API-Key": "key"}):
            answer = locked.post(request(), **key)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
            assert locked.client.get("/info", headers=key).status_code == 401
        assert locked.api.predict(request())["focus"] == "ann"
        assert "s3cret" not in locked.log.read_text()
