"""What a load test measured: per step of the rate, percentiles and failures; and where the server is saturated."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PERCENTILES = (50, 90, 95, 99, 100)
MOST_FAILED = 0.001
SLOWEST_S = 1.0
"""As the objectives of the alerts: a rate is sustained where no more fail, and the 99th percentile is no longer."""


@dataclass
class Step:
    """So many seconds of load."""

    rate: float | None
    """Requests per second that were sent, whatever the answers; None where a number of users each sent the next one
    when it had its answer."""
    users: int = 0
    """How many, in that case."""
    seconds: float = 0.0
    durations: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds of the requests that were answered, by kind. Where a rate is given, they count from when a request was
    due, so that a late one shows."""
    failures: Counter[str] = field(default_factory=Counter)
    """By reason."""

    @property
    def requests(self) -> int:
        """All of them."""
        return len(self.answered) + self.failures.total()

    @property
    def answered(self) -> list[float]:
        """Seconds of every request that was answered."""
        return [second for of_kind in self.durations.values() for second in of_kind]

    @property
    def is_sustained(self) -> bool:
        """Whether the server kept up, within ``MOST_FAILED`` and ``SLOWEST_S``."""
        return (
            bool(self.answered)
            and self.failures.total() <= MOST_FAILED * self.requests
            and float(np.percentile(self.answered, 99)) <= SLOWEST_S
        )

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **({"users": self.users} if self.rate is None else {"rate": self.rate}),
            "seconds": round(self.seconds, 2),
            "requests": self.requests,
            "answered_per_second": round(len(self.answered) / self.seconds, 2) if self.seconds else 0.0,
            "failures": dict(self.failures),
            "is_sustained": self.is_sustained,
            "latency_s": _percentiles(self.answered),
            "by_kind": {
                kind: {"answered": len(seconds), "latency_s": _percentiles(seconds)}
                for kind, seconds in sorted(self.durations.items())
            },
        }


def saturation(steps: Sequence[Step]) -> float | None:
    """The highest rate that was sustained, as were all below it; None where none was."""
    sustained = None
    for step in sorted((step for step in steps if step.rate is not None), key=lambda step: step.rate or 0):
        if not step.is_sustained:
            break
        sustained = step.rate
    return sustained


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    values = np.percentile(seconds, PERCENTILES)
    return {f"p{p}": round(float(value), 4) for p, value in zip(PERCENTILES, values, strict=True)}
