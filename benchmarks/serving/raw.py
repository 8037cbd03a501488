"""Queries per second of the engine without a server: python -m benchmarks.serving.raw BUNDLE BATCH SECONDS EVENTS."""

import sys
import time
from itertools import cycle, islice
from pathlib import Path

from benchmarks.loadtest.bodies import make_bodies
from benchmarks.serving.peers.model import Model


def main(bundle: Path, batch: int, seconds: float, events: int) -> float:
    """Answer batches of different queries, one after the other, for that long."""
    model = Model(bundle)
    requests = [model.read(body) for body in make_bodies(model.bundle, "rows", 128, events=events)]
    queue = cycle(requests)
    model.answer(list(islice(queue, batch)))
    started, n = time.perf_counter(), 0
    while time.perf_counter() - started < seconds or not n:
        model.answer(list(islice(queue, batch)))
        n += batch
    return n / (time.perf_counter() - started)


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
