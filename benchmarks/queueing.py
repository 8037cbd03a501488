"""What a server that batches looks like at a load: how busy, in which batches, with how many requests in hand.

python -m benchmarks.queueing --one-ms 5.9 --full-ms 67 --max-batch 32

A simulation, no measurement: requests come at random (Poisson), the model takes all that wait, up to a
full batch, and a batch takes a time that grows in a straight line from one request's to a full one's, both
of which are measured (``benchmarks.engine``). Load 1 is full batches all the time. The thresholds of the
autoscaler and of the alerts are chosen by it.
"""

from dataclasses import dataclass

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

SCRAPE_S = 15.0
WINDOW = 8
"""Scrapes of which the autoscaler sees the worst: two minutes."""


@dataclass(frozen=True)
class QueueingConfig:
    """Simulate one server at rising loads."""

    one_ms: float
    """A batch of one request takes."""
    full_ms: float
    """A full batch takes."""
    max_batch: int = 32
    """Requests of a full batch."""
    loads: tuple[float, ...] = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    """Shares of what full batches would answer."""
    seconds: float = 1200.0
    """Of simulated time, each."""
    seed: int = 0
    """Of the arrivals."""

    def __post_init__(self) -> None:
        if not 0 < self.one_ms <= self.full_ms or self.max_batch < 1:
            raise ValueError("a batch of one takes some time, and a full one no less")
        if not all(0 < load < 1 for load in self.loads):
            raise ValueError("a load is above 0 and below 1: beyond it, requests only queue up")


@dataclass(frozen=True)
class Observed:
    """What a monitoring system would see of the server."""

    rate: float
    """Requests per second."""
    busy: float
    """Share of the time in which the model works."""
    mean_batch: float
    """Requests of a batch."""
    in_hand: float
    """Requests that wait or are in the batch, on average over the scrapes."""
    worst_in_hand: float
    """The most of any WINDOW scrapes in a row, on average."""
    p99_ms: float
    """From a request's arrival to its batch's end."""


def simulate(config: QueueingConfig, load: float) -> Observed:
    """One server at one load."""
    more_s = (config.full_ms - config.one_ms) / max(config.max_batch - 1, 1) / 1000
    rate = load * config.max_batch / config.full_ms * 1000
    random = np.random.default_rng(config.seed)
    arrival = np.cumsum(random.exponential(1 / rate, round(rate * config.seconds)))
    end = np.empty(len(arrival))
    first, now, busy, batches = 0, 0.0, 0.0, 0
    while first < len(arrival):
        now = max(now, float(arrival[first]))
        size = min(int(np.searchsorted(arrival[first : first + config.max_batch], now, side="right")), config.max_batch)
        took = config.one_ms / 1000 + more_s * (size - 1)
        now, busy, batches = now + took, busy + took, batches + 1
        end[first : first + size] = now
        first += size
    scrapes = np.arange(SCRAPE_S, arrival[-1], SCRAPE_S)
    in_hand = np.searchsorted(arrival, scrapes, side="right") - np.searchsorted(end, scrapes, side="right")
    worst = np.lib.stride_tricks.sliding_window_view(in_hand, WINDOW).max(1)
    return Observed(
        rate=rate,
        busy=busy / now,
        mean_batch=len(arrival) / batches,
        in_hand=float(in_hand.mean()),
        worst_in_hand=float(worst.mean()),
        p99_ms=float(np.quantile(end - arrival, 0.99) * 1000),
    )


def main() -> None:
    """Simulate and print a table."""
    config = tyro.cli(QueueingConfig, prog="python -m benchmarks.queueing")
    table = Table("load", "requests/s", "busy", "batch", "in hand", "worst of 2 minutes", "p99 ms")
    for load in config.loads:
        found = simulate(config, load)
        table.add_row(
            f"{load:.2f}",
            f"{found.rate:,.0f}",
            f"{found.busy:.2f}",
            f"{found.mean_batch:.1f}",
            f"{found.in_hand:.1f}",
            f"{found.worst_in_hand:.1f}",
            f"{found.p99_ms:.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
