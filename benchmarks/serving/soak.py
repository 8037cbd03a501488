"""Load at a share of capacity for long: python -m benchmarks.serving.soak --bundle BUNDLE.

Prints, minute by minute, p50 and p99 of the answers' times, the memory of all processes and what failed; then
the memory's slope. The engine sleeps where another one computes, so that the capacity is known.
"""

import asyncio
import json
import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from benchmarks.loadtest.bodies import make_bodies
from benchmarks.process_memory import MEBIBYTE, process_memory
from benchmarks.serving.instant import BATCH_S
from benchmarks.serving.load import message, offer
from benchmarks.serving.servers import ours, start
from eventmodel.bundle import load_bundle


@dataclass(frozen=True)
class Config:
    """Load the server for long."""

    bundle: Path
    """Any bundle: the engine does not read its weights."""
    minutes: int = 30
    """How long."""
    share: float = 0.8
    """Of the capacity."""
    batch_s: float = 0.008
    """What a batch of one request takes."""

    def __post_init__(self) -> None:
        if self.minutes < 2:
            raise ValueError(f"--minutes is {self.minutes}; the memory's slope takes 2 or more")


def main(config: Config) -> None:
    """Load it and print what it was like."""
    os.environ[BATCH_S] = str(config.batch_s)
    bodies = make_bodies(load_bundle(config.bundle), "rows", 64)
    messages = [message("/predict", body) for body in bodies]
    contender = ours("--max-batch-size", "1", module="benchmarks.serving.instant")
    with tempfile.TemporaryDirectory() as scratch:
        server = start(contender, config.bundle, 8799, 0, bodies[0], Path(scratch) / "log")
        try:
            sizes = []
            for minute in range(config.minutes):
                rate = config.share / config.batch_s
                samples = asyncio.run(offer(8799, messages, rate=rate, seconds=60, connections=64))
                took_ms = [sample.seconds * 1000 for sample in samples if sample.status == 200]
                sizes.append(sum(process_memory(pid, "VmRSS") for pid in server.pids()) / MEBIBYTE)
                p50, p99 = np.quantile(took_ms, [0.5, 0.99])
                figures = {"minute": minute, "p50_ms": p50, "p99_ms": p99, "memory_mib": sizes[-1]}
                print(json.dumps(figures | Counter(str(sample.status) for sample in samples)), flush=True)
        finally:
            server.stop()
    later = sizes[len(sizes) // 3 :]
    print(f"memory: {np.polyfit(range(len(later)), later, 1)[0]:+.3f} MiB per minute in the last two thirds")


if __name__ == "__main__":
    main(tyro.cli(Config))
