"""The real server in processes of its own, with a fake engine, as the server's tests start it."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from server_example import event

from server.client import Client

ROOT = Path(__file__).parents[1]
PROGRAM = [sys.executable, str(Path(__file__).with_name("server_example.py"))]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    log: Path
    port: int
    client: httpx.Client
    """For what a test says byte by byte."""
    api: Client
    """For what users say."""

    def post(self, body: object, **headers: str) -> httpx.Response:
        return self.client.post("/predict", content=json.dumps(body), headers=headers)

    def post_all(self, bodies: Sequence[object]) -> list[httpx.Response]:
        """All at the same time; the answers in the order of the bodies."""
        with ThreadPoolExecutor(len(bodies)) as pool:
            return list(pool.map(self.post, bodies))

    def metrics(self) -> dict[str, float]:
        """Value by sample, as in ``eventmodel_requests_total{status="200"}``."""
        lines = self.client.get("/metrics").text.splitlines()
        return {name: float(value) for name, value in (x.rsplit(" ", 1) for x in lines if not x.startswith("#"))}

    def metric(self, name: str) -> float:
        """0 where it was not counted yet."""
        return self.metrics().get(name, 0)

    def received(self) -> float:
        """How many requests were checked and queued for the model so far."""
        return self.metric("eventmodel_request_events_count")

    def is_ready(self) -> bool:
        return self.api.is_ready()

    def processes(self) -> dict[int, str]:
        """What the server has started: command line by process id."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child): command_line(int(child)) for child in children}

    def model_process(self) -> int:
        """The one that was spawned; HTTP processes are forked and look like the main one."""
        return next(pid for pid, command in self.processes().items() if "spawn_main" in command)

    def resident(self) -> int:
        """Memory of all processes, in bytes."""
        pids = [self.process.pid, *self.processes()]
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in pids)

    def descriptors(self) -> int:
        """Open files and sockets of all processes but the model's, which comes and goes."""
        pids = (self.process.pid, *self.http_processes())
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)

    def http_processes(self) -> list[int]:
        return [pid for pid, command in self.processes().items() if "server_example" in command]


def command_line(pid: int) -> str:
    """Empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(
    bundle: Path, log: Path, *flags: str, prefix: Sequence[str] = (), ready: bool = True, **environment: str
) -> Iterator[Server]:
    """A server.

    Args:
        flags: settings.
        prefix: a program that runs the server.
        ready: wait until it answers.
        environment: further variables.
    """
    port = free_port()
    base = ["--bundle", str(bundle), "--host", "127.0.0.1", "--port", str(port), "--shutdown-delay-s", "0"]
    command = [*prefix, *PROGRAM, *base, *flags]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=ENVIRONMENT | environment)
    try:
        wait_for(lambda: not ready or "Application startup complete" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        url = f"http://127.0.0.1:{port}"
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        key = environment.get("EVENTMODEL_API_KEY")
        with httpx.Client(base_url=url, timeout=20, limits=limits) as client, Client(url, api_key=key) as api:
            yield Server(process, log, port, client, api)
    finally:
        process.terminate()
        process.wait(20)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def request(kind: str = "in", minute: int = 0) -> dict[str, Any]:
    return {"streams": {"Worker": [{"id": "ann", "events": [event(minute, Kind=kind)]}]}}


def run(*flags: str, within: Sequence[str] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    """A server that ends by itself; ``within`` is a program that runs it."""
    command = [*within, *PROGRAM, *flags]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT | environment, timeout=60)
