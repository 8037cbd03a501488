"""How the server ends: not ready, the last answers, exit 0, and nothing left; also as process 1 of a container."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from running_server import Server, command_line, request, started, wait_for
from server_example import write_example

from eventmodel.bundle import Bundle

N = 24
CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
"""A program that runs another one as process 1 of its own process namespace."""


@contextmanager
def in_flight(server: Server) -> Iterator[list[int]]:
    """24 requests that the server has; their statuses are there when the block ends."""
    statuses: list[int] = []
    with ThreadPoolExecutor(N) as pool:
        answers = [pool.submit(server.post, request("sleep" if i == 0 else "in", minute=i)) for i in range(N)]
        wait_for(lambda: server.received() == N)
        yield statuses
        statuses += [answer.result().status_code for answer in answers]


def descendants(pid: int) -> set[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return {pid, *(d for child in children for d in descendants(child))}


def is_gone(pids: set[int]) -> bool:
    """All but Python's resource tracker, which ends by itself when the others have."""
    return all(command == "" or "resource_tracker" in command for command in map(command_line, pids))


def is_stopping(server: Server) -> bool:
    """It says so, or takes no connections any more."""
    try:
        return server.client.get("/ready").json() == {"status": "stopping"}
    except httpx.TransportError:
        return True


def test_sigterm_turns_ready_off_then_answers_all_then_exits_zero(example_bundle: Bundle, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    flags = ("--shutdown-delay-s", "0.7", "--http-processes", "2")
    with started(example_bundle.path, tmp_path / "server.log", *flags, TMPDIR=str(temporary)) as server:
        pids = descendants(server.process.pid)
        with in_flight(server) as statuses:
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: server.client.get("/ready").json() == {"status": "stopping"}, 0.5)
            late = server.post(request(minute=30))  # balancers send some until they notice
        assert statuses == [200] * N
        assert late.status_code == 200
        assert server.process.wait(10) == 0
        assert is_gone(pids)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{server.port}/live")
        assert "Traceback" not in server.log.read_text()
        assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("delay_s", ["3", "0"])
def test_a_model_process_that_dies_meanwhile_is_replaced_and_what_is_queued_is_answered(
    example_bundle: Bundle, tmp_path: Path, delay_s: str
) -> None:
    flags = ("--shutdown-delay-s", delay_s, "--max-batch-size", "1")
    with started(example_bundle.path, tmp_path / "server.log", *flags) as server:
        with in_flight(server) as statuses:
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: is_stopping(server), 2)
            os.kill(server.model_process(), signal.SIGKILL)
        assert sorted(statuses) == [200] * (N - 1) + [500]  # the one that it was working on
        assert server.process.wait(10) == 0


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*CONTAINER, "true"], check=False).returncode != 0,
    reason="needs unshare and the right to use it",
)
def test_the_same_as_process_1_of_a_container(example_bundle: Bundle, tmp_path: Path) -> None:
    with started(example_bundle.path, tmp_path / "server.log", prefix=CONTAINER) as server:
        (first,) = server.processes()
        assert "NSpid:\t" in (status := Path(f"/proc/{first}/status").read_text())
        assert status.split("NSpid:\t")[1].splitlines()[0].split()[-1] == "1"
        pids = descendants(first)
        with in_flight(server) as statuses:
            os.kill(first, signal.SIGTERM)
        assert statuses == [200] * N
        assert server.process.wait(10) == 0
        assert is_gone(pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_signals_to_all_processes_end_them_in_order_and_without_a_traceback(
    example_bundle: Bundle, tmp_path: Path, number: signal.Signals
) -> None:
    if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("whoever runs the tests, as by nohup, ignores SIGHUP, and so does the server")
    with started(example_bundle.path, tmp_path / "server.log") as server:
        pids = descendants(server.process.pid)
        with in_flight(server) as statuses:
            for pid in pids:  # as a terminal does, or systemd
                os.kill(pid, number)
        assert statuses == [200] * N
        assert server.process.wait(10) == 0
        assert is_gone(pids)
        assert "Traceback" not in server.log.read_text()


def test_sigterm_while_the_model_loads_ends_all_processes(tmp_path: Path) -> None:
    bundle = write_example(tmp_path / "bundle", example=request("hang"))
    log = tmp_path / "server.log"
    with started(bundle.path, log, ready=False) as server:
        wait_for(lambda: len(server.processes()) > 0)
        pids = descendants(server.process.pid)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert is_gone(pids)
        assert "Traceback" not in log.read_text()


def test_a_killed_main_process_leaves_no_orphans(example_bundle: Bundle, tmp_path: Path) -> None:
    with started(example_bundle.path, tmp_path / "server.log") as server:
        pids = descendants(server.process.pid) - {server.process.pid}
        server.process.kill()
        server.process.wait()
        wait_for(lambda: is_gone(pids), 5)
