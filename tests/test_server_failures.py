"""What happens when a part of the server fails, tried out on the real one: nothing hangs, and it recovers."""

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from running_server import Server, free_port, request, run, started, wait_for
from server_example import write_example

from eventmodel.bundle import Bundle


@pytest.fixture(scope="module")
def server(example_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of small batches, so that much is queued, and of little patience."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    with started(
        example_bundle.path, log, "--max-batch-size", "4", "--stuck-after-s", "3", "--http-processes", "2"
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def _ready(request: pytest.FixtureRequest) -> None:
    """A test begins with a server that has recovered from the one before."""
    if "server" in request.fixturenames:
        wait_for(request.getfixturevalue("server").is_ready)


@contextmanager
def asleep(server: Server) -> Iterator[Future[httpx.Response]]:
    """The model is busy for 1.5 seconds with a request of its own."""
    before = server.received()
    with ThreadPoolExecutor(1) as pool:
        sleeper = pool.submit(server.post, request("sleep"))
        wait_for(lambda: server.received() > before)
        time.sleep(0.1)  # until it is in a batch
        yield sleeper


def test_a_killed_model_process_fails_what_it_worked_on_and_nothing_else(server: Server) -> None:
    with ThreadPoolExecutor(20) as pool, asleep(server) as sleeper:
        queued = [pool.submit(server.post, request(minute=i)) for i in range(20)]
        wait_for(lambda: server.metric("eventmodel_queue_depth_requests") == 21)
        killed_at = time.monotonic()
        os.kill(server.model_process(), signal.SIGKILL)
        failed = sleeper.result()
        assert time.monotonic() - killed_at < 1
        assert (failed.status_code, failed.json()["error"]["code"]) == (500, "model_died")
        assert {answer.result().status_code for answer in queued} == {200}
        assert time.monotonic() - killed_at < 8


def test_a_model_process_that_ends_by_itself_is_replaced(server: Server) -> None:
    assert server.post(request("die")).json()["error"]["code"] == "model_died"
    assert not server.is_ready()
    wait_for(server.is_ready, 8)
    assert server.post(request()).status_code == 200
    assert server.metric('eventmodel_process_restarts_total{process="model"}') >= 1


def test_a_model_that_turns_to_nonsense_answers_nobody_and_is_replaced(server: Server) -> None:
    assert server.post(request("spoil")).status_code == 500
    wait_for(lambda: not server.is_ready(), 1)
    answer = server.post(request())  # waits for the new one
    assert answer.status_code == 200
    assert answer.json()["events"][0]["categories"]["Kind"]["entropy"] > 0
    assert server.is_ready()


def test_a_stuck_model_is_not_ready_and_is_replaced(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(server.post, request("hang"))
        wait_for(lambda: not server.is_ready(), 6)
        assert server.client.get("/live").status_code == 200
        assert stuck.result().json()["error"]["code"] == "model_died"
    wait_for(server.is_ready, 8)


def test_a_frozen_model_process_is_not_ready_and_is_replaced(server: Server) -> None:
    os.kill(server.model_process(), signal.SIGSTOP)
    wait_for(lambda: not server.is_ready(), 6)
    wait_for(server.is_ready, 8)


def test_a_killed_http_process_is_replaced_and_its_clients_notice_at_once(server: Server) -> None:
    before = set(server.http_processes())
    with asleep(server) as sleeper:
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            sleeper.result()
    wait_for(lambda: len(set(server.http_processes()) - before) == 2)
    with httpx.Client(base_url=server.client.base_url, timeout=5) as client:  # the old one's connections are gone
        assert client.get("/ready").status_code == 200
    assert [server.post(request()).status_code for _ in range(4)] == [200] * 4
    assert server.metric("eventmodel_queue_depth_requests") == 0


def test_an_expired_request_gets_504_and_never_reaches_the_model(server: Server) -> None:
    answered = "eventmodel_batch_size_requests_sum"
    before, dropped = server.metric(answered), server.metric('eventmodel_dropped_requests_total{reason="expired"}')
    with asleep(server) as sleeper:
        asked_at = time.monotonic()
        late = server.post(request(), **{"X-Request-Timeout": "0.3"})
        assert 0.25 < time.monotonic() - asked_at < 1
        assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
        assert sleeper.result().status_code == 200
    cancelled = 'eventmodel_dropped_requests_total{reason="cancelled"}'
    wait_for(
        lambda: (
            server.metric('eventmodel_dropped_requests_total{reason="expired"}') + server.metric(cancelled) > dropped
        )
    )
    assert server.metric(answered) - before == 1


def test_the_default_deadline_covers_the_model_and_the_body(example_bundle: Bundle, tmp_path: Path) -> None:
    with started(example_bundle.path, tmp_path / "server.log", "--timeout-s", "0.5") as hasty:
        assert hasty.post(request("sleep")).status_code == 504
        assert hasty.client.get("/live").status_code == 200
        with socket.create_connection(("127.0.0.1", hasty.port), timeout=5) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert connection.recv(65536).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("header", ["soon", "0", "-1", "nan", ""])
def test_a_deadline_that_is_none_gets_400(server: Server, header: str) -> None:
    answer = server.post(request(), **{"X-Request-Timeout": header})
    assert (answer.status_code, answer.json()["error"]["loc"]) == (400, "X-Request-Timeout")


def test_a_request_whose_sender_has_gone_never_reaches_the_model(server: Server) -> None:
    cancelled = 'eventmodel_dropped_requests_total{reason="cancelled"}'
    answered = "eventmodel_batch_size_requests_sum"
    before, dropped = server.metric(answered), server.metric(cancelled)
    with asleep(server):
        impatient = httpx.Client(base_url=server.client.base_url, timeout=0.2)
        with pytest.raises(httpx.ReadTimeout):
            impatient.post("/predict", json=request())
        impatient.close()
    wait_for(lambda: server.metric(cancelled) == dropped + 1)
    assert server.metric(answered) - before == 1
    assert server.metric('eventmodel_requests_total{status="499"}') >= 1


def test_a_model_that_dies_while_loading_ends_the_server(tmp_path: Path) -> None:
    bundle = write_example(tmp_path, example=request("die"))
    done = run("--bundle", str(bundle.path), "--host", "127.0.0.1", "--port", str(free_port()))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: the model process does not start: it ended with exit code 1"


def test_http_processes_that_do_not_start_end_the_server(example_bundle: Bundle) -> None:
    flags = ("--bundle", str(example_bundle.path), "--host", "127.0.0.1", "--port", str(free_port()))
    done = run(*flags, FAKE_HTTP_FAILS="1")
    assert done.returncode == 1
    assert "HTTP process 0 does not start" in done.stderr.splitlines()[-1]
    assert done.stderr.count("another one starts") == 4


def test_a_directory_that_is_too_deep_for_sockets_is_refused_at_once(example_bundle: Bundle, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 70)
    deep.mkdir()
    done = run(
        "--bundle", str(example_bundle.path), "--host", "127.0.0.1", "--port", str(free_port()), TMPDIR=str(deep)
    )
    assert done.returncode == 2
    assert "TMPDIR" in done.stderr


@contextmanager
def asked_all_the_time(server: Server, clients: int) -> Iterator[Counter[str]]:
    """Several clients ask until the block ends; how often what came of it: "ok", or an error's code."""
    codes: Counter[str] = Counter()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answer = server.post(request())
            codes["ok" if answer.is_success else answer.json()["error"]["code"]] += 1

    with ThreadPoolExecutor(clients) as pool:
        try:
            for _ in range(clients):
                pool.submit(ask)
            yield codes
        finally:
            done.set()


@pytest.mark.slow
def test_ten_model_processes_killed_in_a_row_under_load_leave_nothing_behind(
    example_bundle: Bundle, tmp_path: Path
) -> None:
    temporary, batch, clients = tmp_path / "tmp", 4, 8
    temporary.mkdir()
    flags = ("--max-batch-size", str(batch), "--http-processes", "2")
    with started(
        example_bundle.path, tmp_path / "server.log", *flags, TMPDIR=str(temporary), FAKE_ENGINE_BATCH_S="0.02"
    ) as server:

        def held() -> tuple[int, int, int, int]:
            files = list(temporary.rglob("*"))
            pids = (server.process.pid, *server.http_processes())
            maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in pids)
            shared = maps.count("/dev/shm") + maps.count("(deleted)")  # shared memory has no name any longer
            return server.descriptors(), len(server.processes()), shared, len(files)

        def answers() -> None:
            before = codes["ok"]
            wait_for(lambda: codes["ok"] > before + 5 * clients)

        with asked_all_the_time(server, clients) as codes:
            for round_ in range(10):
                answers()
                if round_ == 2:
                    before, size = held(), server.resident()
                os.kill(server.model_process(), signal.SIGKILL)
                wait_for(lambda: not server.is_ready())
                wait_for(server.is_ready, 8)
            answers()
            assert held() == before
            assert server.resident() - size < 5 * 2**20
        assert set(codes) == {"ok", "model_died"}
        assert codes["model_died"] <= 10 * batch  # what was in a batch, and no more
        assert server.metric('eventmodel_process_restarts_total{process="model"}') == 10
        assert server.metric("eventmodel_queue_depth_requests") == 0
    assert list(temporary.iterdir()) == []
