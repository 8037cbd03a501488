"""What reading requests and rendering answers costs, alone and some at a time, without a server.

python -m benchmarks.serving.together --bundle BUNDLE prints CPU microseconds per request, each the least of some
rounds.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import tyro

from benchmarks.loadtest.bodies import make_bodies
from benchmarks.markdown import heading, row
from eventmodel.bundle import load_bundle
from eventmodel.engine import open_engine
from eventmodel.request.reader import read_requests
from eventmodel.request.rendering import render_all

N_BODIES = 256


@dataclass(frozen=True)
class Config:
    """Measure reading and rendering."""

    bundle: Path
    """A bundle with ONNX files."""
    at_once: tuple[int, ...] = (1, 4, 8, 16, 32)
    """Requests that are read, or answers that are rendered, together."""
    rounds: int = 5
    """How often everything is measured; the least counts."""


def main(config: Config) -> None:
    """Measure, and print a table."""
    bundle = load_bundle(config.bundle)
    bodies = make_bodies(bundle, "rows", N_BODIES)
    requests = read_requests([orjson.loads(body) for body in bodies], bundle)
    answers = open_engine(bundle, "onnx", "cpu").answer([request.query for request in requests[:32]])
    answered = [(request, answers[i % 32]) for i, request in enumerate(requests)]

    def read(some: slice) -> None:
        read_requests([orjson.loads(body) for body in bodies[some]], bundle)

    def render(some: slice) -> None:
        for body in render_all(bundle, answered[some]):
            orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)

    def microseconds(work: Callable[[slice], None], n: int) -> float:
        taken = []
        for _ in range(config.rounds):
            began = time.process_time()
            for at in range(0, N_BODIES, n):
                work(slice(at, at + n))
            taken.append(time.process_time() - began)
        return min(taken) / N_BODIES * 1e6

    gc.freeze()  # as the server does
    print(heading(("at once", "reading", "rendering"), left=()))
    for n in config.at_once:
        print(row((n, f"{microseconds(read, n):.0f}", f"{microseconds(render, n):.0f}")))


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.serving.together"))
