"""Ten times as many requests as the model can answer: it works on as before, the rest is turned away at once."""

import asyncio
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from running_server import request, started

from benchmarks.serving.load import message, offer
from eventmodel.bundle import Bundle

QUEUE = 16


# an engine that sleeps where others compute: turning away does not compete with it for the core
@pytest.mark.parametrize(
    ("batch_s", "batch", "seconds"),
    [
        (0.08, 4, 4),
        pytest.param(*(0.008, 1, 30), marks=pytest.mark.slow),
    ],
)
def test_ten_times_the_capacity_is_answered_at_capacity_and_the_rest_turned_away(
    example_bundle: Bundle, tmp_path: Path, batch_s: float, batch: int, seconds: int
) -> None:
    capacity = batch / batch_s  # answers per second
    flags = ("--max-batch-size", str(batch), "--max-queue", str(QUEUE))
    probes: dict[str, list[float]] = {"/live": [], "/ready": [], "/metrics": []}
    done = threading.Event()

    with started(example_bundle.path, tmp_path / "server.log", *flags, FAKE_ENGINE_BATCH_S=str(batch_s)) as server:

        def probe() -> None:
            while not done.wait(0.5):  # far more often than who asks in operation
                for path, times in probes.items():
                    asked_at = time.monotonic()
                    assert server.client.get(path).status_code == 200
                    times.append(time.monotonic() - asked_at)

        bodies = [message("/predict", json.dumps(request(minute=i)).encode()) for i in range(50)]
        warm = asyncio.run(offer(server.port, bodies, rate=10 * capacity, seconds=1, connections=64))
        assert {sample.status for sample in warm} == {200, 503}
        before = server.resident()
        with_probes = threading.Thread(target=probe)
        with_probes.start()
        samples = asyncio.run(offer(server.port, bodies, rate=10 * capacity, seconds=seconds, connections=64))
        done.set()
        with_probes.join()
        growth = server.resident() - before

    admitted = [sample for sample in samples if sample.status == 200]
    rejected = [sample for sample in samples if sample.status == 503]
    assert len(admitted) + len(rejected) == len(samples) == int(10 * capacity * seconds)
    ends = [sample.sent_at + sample.seconds for sample in admitted]
    assert sum(1 <= end < seconds for end in ends) >= 0.95 * capacity * (seconds - 1)  # without the start
    latency = np.array([sample.seconds for sample in admitted])
    assert np.quantile(latency, 0.99) <= QUEUE / capacity + 2 * batch_s
    assert np.quantile([sample.seconds for sample in rejected], 0.99) < 0.05
    assert all(b"retry-after: 1" in sample.head for sample in rejected)
    assert growth < 10 * 2**20
    assert all(len(times) > seconds for times in probes.values())
    assert max(max(times) for times in probes.values()) < 1
