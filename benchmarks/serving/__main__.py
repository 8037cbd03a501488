"""The server beside what people would pick instead, on one core: python -m benchmarks.serving --environments DIR.

All serve the same bundle with the same engine (ONNX Runtime, one thread), reader and renderer; servers
are pinned to one core, the load (wrk) to another one. Rounds are interleaved, figures are medians.
Needs wrk and taskset, which Debian packages.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.loadtest.bodies import N_EVENTS, make_bodies
from benchmarks.serving.environments import make_environment
from benchmarks.serving.servers import Contender, Server, ours, peer, start
from benchmarks.serving.untrained import make_bundle
from benchmarks.serving.wrk import run_wrk, write_script
from eventmodel.bundle import load_bundle

CONNECTIONS = 64
N_BODIES = 512


@dataclass(frozen=True)
class Config:
    """Measure the server, and peers beside it."""

    environments: Path
    """Directory for the peers' environments, made where they are missing."""
    bundle: Path | None = None
    """A bundle with ONNX files; by default an untrained one of preset base is made: weights do not matter here."""
    events: int = N_EVENTS
    """Of each of a request's histories."""
    rounds: int = 3
    """How often everything is measured, in turns."""
    seconds: int = 6
    """Of one measurement."""
    server_core: int = 0
    """Core that the servers run on."""
    load_core: int = 1
    """Core that the load comes from."""


def main(config: Config) -> dict[str, dict[str, float]]:
    """Measure, print a table, and return the medians by server and figure."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        path = config.bundle or make_bundle(scratch)
        bundle = load_bundle(path)
        scripts = {}
        for form in ("rows", "objects"):
            (scratch / form).mkdir()
            scripts[form] = write_script(scratch / form, make_bodies(bundle, form, N_BODIES, events=config.events))
        body = make_bodies(bundle, "rows", 1, events=config.events)[0]
        servers: list[Server] = []
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        try:
            for i, contender in enumerate(contenders(config.environments)):
                log = scratch / f"{i}.log"
                servers.append(start(contender, path, 8700 + i, config.server_core, body, log))
                with servers[-1].awake():
                    pass
            for _ in range(config.rounds):
                for batch, seconds in ((1, 0.5), (32, 1)):
                    found["raw forward"][f"batch {batch}"].append(raw(path, batch, config, seconds))
                for server in servers:
                    measure(server, scripts, config, found[server.contender.name])
        finally:
            for server in servers:
                server.stop()
    medians = {name: {k: statistics.median(v) for k, v in figures.items()} for name, figures in found.items()}
    print_table(medians, len(body))
    return medians


def contenders(environments: Path) -> Sequence[Contender]:
    """Ours with and without a model, and the peers."""
    environments.mkdir(parents=True, exist_ok=True)
    litserve = make_environment(environments / "litserve", "litserve==0.2.19")
    fastapi = make_environment(environments / "fastapi", "fastapi==0.165.0")
    mosec = make_environment(environments / "mosec", "mosec==0.9.8")
    return (
        ours("--backend", "onnx", "--device", "cpu", "--state-cache-mib", "0"),
        peer("FastAPI micro-batcher", fastapi, "fastapi_batcher"),
        peer("mosec", mosec, "mosec_worker", "/inference"),
        peer("LitServe stock", litserve, "stock_litserve"),
        ours(module="benchmarks.serving.instant", name="this server, no model"),
    )


def measure(server: Server, scripts: dict[str, Path], config: Config, found: dict[str, list[float]]) -> None:
    """One round of one server."""
    loads = (
        ("64 rows", "rows", CONNECTIONS, config.seconds),
        ("64 objects", "objects", CONNECTIONS, config.seconds // 2),
        ("1 rows", "rows", 1, config.seconds // 2),
    )
    with server.awake():
        run_wrk(scripts["rows"], server.url, CONNECTIONS, 1, config.load_core)
        for name, form, connections, seconds in loads:
            before = server.cpu_s()
            load = run_wrk(scripts[form], server.url, connections, seconds, config.load_core)
            found[f"{name}: req/s"].append(load.per_second)
            found[f"{name}: CPU ms"].append((server.cpu_s() - before) / max(load.requests, 1) * 1000)
            found[f"{name}: p50 ms"].append(load.p50_ms)
            found[f"{name}: p99 ms"].append(load.p99_ms)
            found[f"{name}: errors"].append(load.errors)
        before = server.cpu_s()
        time.sleep(config.seconds / 2)
        found["idle: % of a core"].append((server.cpu_s() - before) / (config.seconds / 2) * 100)


def raw(bundle: Path, batch: int, config: Config, seconds: float) -> float:
    """Queries per second of the engine alone, in a process of its own on the servers' core."""
    module = [sys.executable, "-m", "benchmarks.serving.raw", str(bundle), str(batch), str(seconds), str(config.events)]
    command = ["taskset", "-c", str(config.server_core), *module]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return float(done.stdout)


def print_table(medians: dict[str, dict[str, float]], body_bytes: int) -> None:
    """Medians, and what is made of them."""
    console = Console(width=180)
    ceiling, forward = max(medians["raw forward"].values()), 1000 / medians["raw forward"]["batch 1"]
    console.print(
        f"body in rows: {body_bytes} bytes; raw forward: {medians['raw forward']}, one alone {forward:.2f} ms"
    )
    columns = ("req/s", "of ceiling", "CPU ms", "p99 ms", "objects req/s", "1 client p50 ms", "over raw", "idle %")
    table = Table("server", *columns)
    for name, figures in medians.items():
        if name != "raw forward":
            table.add_row(
                name,
                f"{figures['64 rows: req/s']:.0f}",
                f"{figures['64 rows: req/s'] / ceiling:.2f}",
                f"{figures['64 rows: CPU ms']:.2f}",
                f"{figures['64 rows: p99 ms']:.0f}",
                f"{figures['64 objects: req/s']:.0f}",
                f"{figures['1 rows: p50 ms']:.2f}",
                f"{figures['1 rows: p50 ms'] - forward:+.2f}",
                f"{figures['idle: % of a core']:.2f}",
            )
    console.print(table)


if __name__ == "__main__":
    print(json.dumps(main(tyro.cli(Config))))
