"""The servers that are measured: started once, frozen while another one is measured."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Contender(NamedTuple):
    """What is started, and where it answers."""

    name: str
    python: Path
    module: str
    arguments: tuple[str, ...]
    """``{bundle}`` and ``{port}`` stand for theirs."""
    path: str = "/predict"


class Server:
    """A running contender with all of its processes."""

    def __init__(self, contender: Contender, process: subprocess.Popen[bytes], port: int) -> None:
        self.contender, self._process = contender, process
        self.url = f"http://127.0.0.1:{port}{contender.path}"

    def pids(self) -> list[int]:
        """Of the whole tree."""

        def below(pid: int) -> Iterator[int]:
            yield pid
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                for child in children.read_text().split():
                    yield from below(int(child))

        return list(dict.fromkeys(below(self._process.pid)))

    def cpu_s(self) -> float:
        """CPU seconds that its processes have used."""
        return sum(_cpu_s(pid) for pid in self.pids())

    @contextmanager
    def awake(self) -> Iterator[None]:
        """It runs inside of the block and nowhere else."""
        for pid in reversed(self.pids()):
            os.kill(pid, signal.SIGCONT)
        yield
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def stop(self) -> None:
        """All of its processes: some leave orphans when they are asked to stop."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self._process.wait()


def start(contender: Contender, bundle: Path, port: int, core: int, body: bytes, log: Path) -> Server:
    """Start a server on one core and wait until it has answered a request.

    Raises:
        RuntimeError: it does not within 2 minutes.
    """
    arguments = [argument.format(bundle=bundle, port=port) for argument in contender.arguments]
    command = ["taskset", "-c", str(core), str(contender.python), "-m", contender.module, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    server = Server(contender, process, port)
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            request = urllib.request.Request(server.url, body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                if b'"events"' in answer.read():
                    return server
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    server.stop()
    raise RuntimeError(f"{contender.name} does not answer: {log.read_text()[-1000:]}")


def ours(*flags: str, module: str = "server.run", name: str = "this server") -> Contender:
    """Our own, as a contender."""
    limits = ("--stuck-after-s", "1000000")  # it is frozen for long
    arguments = ("--bundle", "{bundle}", "--port", "{port}", "--host", "127.0.0.1", "--log-level", "warning")
    return Contender(name, Path(sys.executable), module, (*arguments, *limits, *flags))


def peer(name: str, python: Path, module: str, path: str = "/predict") -> Contender:
    """One of ``benchmarks.serving.peers``."""
    return Contender(name, python, f"benchmarks.serving.peers.{module}", ("{bundle}", "{port}"), path)


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(fields[11]) + int(fields[12])) / _TICKS
