"""Ten times as many requests as the model can answer: it works on as before, the rest is turned away at once."""

import asyncio
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from running_server import Server, request, started
from server_example import write_example

from benchmarks.serving.load import message, offer

BATCH_S, BATCH, QUEUE = 0.008, 1, 16
CAPACITY = BATCH / BATCH_S
"""Answers per second of an engine that sleeps where others compute: turning away does not compete with it."""


def resident(server: Server) -> int:
    """Memory of all processes, in bytes."""
    pids = [server.process.pid, *server.processes()]
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in pids)


@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_ten_times_the_capacity_is_answered_at_capacity_and_the_rest_turned_away(tmp_path: Path, seconds: int) -> None:
    bundle = write_example(tmp_path / "bundle").path
    flags = ("--max-batch-size", str(BATCH), "--max-queue", str(QUEUE))
    probes: dict[str, list[float]] = {"/live": [], "/ready": [], "/metrics": []}
    done = threading.Event()

    with started(bundle, tmp_path / "server.log", *flags, FAKE_ENGINE_BATCH_S=str(BATCH_S)) as server:

        def probe() -> None:
            while not done.wait(0.1):
                for path, times in probes.items():
                    asked_at = time.monotonic()
                    assert server.client.get(path).status_code == 200
                    times.append(time.monotonic() - asked_at)

        bodies = [message("/predict", json.dumps(request(minute=i)).encode()) for i in range(50)]
        warm = asyncio.run(offer(server.port, bodies, rate=10 * CAPACITY, seconds=1, connections=64))
        assert {sample.status for sample in warm} == {200, 503}
        before = resident(server)
        with_probes = threading.Thread(target=probe)
        with_probes.start()
        samples = asyncio.run(offer(server.port, bodies, rate=10 * CAPACITY, seconds=seconds, connections=64))
        done.set()
        with_probes.join()
        growth = resident(server) - before

    took = max(sample.sent_at + sample.seconds for sample in samples)
    admitted = [sample for sample in samples if sample.status == 200]
    rejected = [sample for sample in samples if sample.status == 503]
    assert len(admitted) + len(rejected) == len(samples) == int(10 * CAPACITY * seconds)
    assert len(admitted) / took >= 0.95 * CAPACITY
    latency = np.array([sample.seconds for sample in admitted])
    assert np.quantile(latency, 0.99) <= QUEUE / CAPACITY + 2 * BATCH_S
    assert np.quantile([sample.seconds for sample in rejected], 0.99) < 0.05
    assert all(b"retry-after: 1" in sample.head for sample in rejected)
    assert growth < 10 * 2**20
    assert all(len(times) > seconds for times in probes.values())
    assert max(max(times) for times in probes.values()) < 1
