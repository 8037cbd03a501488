"""What the server's tests share: a small bundle, a request for it, and an engine that needs no network.

Run as a program, it is the real server with that engine: ``python server_example.py --bundle ... --port ...``.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from eventmodel.bundle import Bundle, load_bundle, write_bundle
from eventmodel.config import ModelConfig
from eventmodel.engine.query import Answer, Query
from eventmodel.engine.states import Statistics
from eventmodel.request.reader import read_request
from eventmodel.schema import Schema
from eventmodel.surprise import entropy
from server.engine import Engine
from server.run import serve
from server.settings import read_settings

KINDS = ["in", "out", "break", "fail", "sleep", "die", "hang", "spoil"]
"""From "fail" on they make the fake engine raise, take 1.5 seconds, end its process, never return, and
give what is no number from now on."""

SCHEMA: dict[str, Any] = {
    "name": "tiny",
    "fields": [
        {"name": "Kind", "kind": "enum", "values": KINDS},
        {"name": "Worker", "kind": "id", "vocabulary": "people"},
        {"name": "Helper", "kind": "id", "vocabulary": "people"},
        {"name": "Site", "kind": "id"},
        {"name": "Hours", "kind": "number", "edges": [0, 4, 8.5]},
        {"name": "Case", "kind": "key"},
        {"name": "PlannedDatetime", "kind": "datetime"},
        {"name": "EventDatetime", "kind": "datetime"},
    ],
    "order_by": "EventDatetime",
    "streams": [
        {"name": "Worker", "keys": ["Worker", "Helper"], "max_entities": 3, "max_events": 7},
        {"name": "Case", "keys": ["Case"], "max_entities": 2, "max_events": 5},
        {"name": "Time", "max_events": 11},
    ],
    "focus": "Worker",
}
ZONED = SCHEMA | {"time_zone": "Europe/Berlin"}


def event(minute: int, worker: str = "ann", **fields: object) -> dict[str, object]:
    return {"Kind": "in", "Worker": worker, "Site": "s1", "EventDatetime": f"2026-01-29T08:{minute:02d}:00"} | fields


def example() -> dict[str, Any]:
    """A request that names everything."""
    return {
        "streams": {
            "Worker": [
                {"id": "ann", "events": [event(0), event(5, "bob", Helper="ann"), event(5, Hours=3)]},
                {"id": "bob", "events": [event(1, "bob"), event(5, "bob", Helper="ann")]},
            ],
            "Case": [{"id": "17", "events": [event(2, Case=17)]}],
            "Time": [{"events": [event(5), event(9, "eve", Kind="out")]}],
        },
        "focus": "ann",
        "now": "2026-01-29T08:10:00",
        "horizon": 2,
        "top_k": 3,
        "categories": ["Kind", "Site", "Time_Event_Hour"],
        "allowed": {"Site": ["s1", "s2", "s3"], "Time_Event_Hour": [8, "9"]},
        "quantiles": [0.1, 0.5, 0.9],
        "observed": event(20, Kind="out"),
    }


def write_example(path: Path, schema: dict[str, Any] = SCHEMA, **changes: Any) -> Bundle:
    """Write a bundle without artefacts and read it back."""
    parts: dict[str, Any] = {
        "path": path,
        "name": "tiny",
        "version": "0123456789ab",
        "schema": Schema.model_validate(schema),
        "vocabularies": {"people": ["ann", "bob", "cid"], "Site": [f"s{i}" for i in range(1, 12)]},
        "config": ModelConfig(context_length=6, target_length=4),
        "months": tuple(range(1, 13)),
        "metrics": {},
        "versions": {},
        "parity": {"onnx": 0.0},
        "example": example(),
    }
    bundle = Bundle(**parts | changes)
    path.mkdir(parents=True, exist_ok=True)
    write_bundle(bundle, path)
    return load_bundle(path)


def two_queries(bundle: Bundle) -> list[Query]:
    """Two requests: six events in one, one in the other."""
    small = {"streams": {"Worker": [{"id": "ann", "events": [event(0, Helper="", Site="unheard of")]}]}}
    return [read_request(document, bundle).query for document in (example(), small)]


class FakeEngine:
    """Distributions drawn from a hash of the query: equal queries, equal answers, whatever the batch.

    It claims to have encoded one history of every query, and to have known another.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.sizes = bundle.codec.sizes
        self.start = np.concatenate([[0], np.cumsum(self.sizes)])
        self.batch_s = float(os.environ.get("FAKE_ENGINE_BATCH_S", 0))
        self.is_spoilt = False
        self.statistics = Statistics()

    def answer(self, queries: list[Query], on_step: Callable[[], None] = lambda: None) -> list[Answer]:
        end = time.monotonic() + self.batch_s
        started = time.perf_counter()
        answers = [self._answer(query) for query in queries]
        statistics, n = self.statistics, len(queries)
        self.statistics = Statistics(
            hits=statistics.hits + n,
            misses=statistics.misses + n,
            tokens=statistics.tokens + 3 * n,
            padding=statistics.padding + n,
            seconds=statistics.seconds + time.perf_counter() - started,
        )
        time.sleep(max(end - time.monotonic(), 0))
        return answers

    def _answer(self, query: Query) -> Answer:
        kinds = {KINDS[k - 1] for k in query.histories.events.ids[:, 0] if k}
        if "fail" in kinds:
            raise FloatingPointError("the engine fails on purpose")
        if "sleep" in kinds:
            time.sleep(1.5)
        if "die" in kinds:
            os._exit(1)
        if "hang" in kinds:
            time.sleep(1000)
        self.is_spoilt |= "spoil" in kinds
        if self.is_spoilt:
            raise FloatingPointError("nothing is a number any longer")
        events = query.histories.events
        content = events.ids.tobytes() + events.timestamp.tobytes()
        seed = hashlib.sha256(content + query.now.to_bytes(8, "big", signed=True)).digest()
        logits = np.random.default_rng(list(seed)).normal(size=(query.horizon, self.start[-1])).astype(np.float32)
        if query.allowed is not None:
            logits[:, ~query.allowed] = -np.inf
        log_probs = _log_softmax_of(logits, self.start)
        ids = np.stack([p.argmax(1) for p in np.split(log_probs, self.start[1:-1], axis=1)], axis=1).astype(np.int32)
        timestamp = query.now + 60_000_000 * np.arange(1, query.horizon + 1)
        observed = expected = None
        if query.observed is not None:
            observed = np.tile(log_probs[0, self.start[:-1] + query.observed], (2, 1))
            expected = entropy(_log_softmax_of(logits[:1], self.start), self.start[:-1])[0]
        when = timestamp[:, None] + (3_600_000_000 * np.array(query.quantiles)).astype(np.int64)
        n = query.sampling.num_samples if query.sampling else 1
        ids, timestamp = np.stack([ids] * n), np.stack([timestamp] * n)
        log_prob = np.full((n, query.horizon), -3.0, np.float32)
        return Answer(log_probs, ids, timestamp, log_prob, observed, expected, when if query.quantiles else None)


def _log_softmax_of(logits: np.ndarray, start: np.ndarray) -> np.ndarray:
    return np.concatenate([_log_softmax(part) for part in np.split(logits, start[1:-1], axis=1)], axis=1)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def open_fake_engine(bundle: Bundle) -> Engine:
    # here and not above: the metrics must not be imported before their directory is there
    from server.counted_engine import CountedEngine

    return CountedEngine(FakeEngine(bundle))


def _fail(*_: object) -> None:
    raise OSError("an HTTP process fails on purpose")


if __name__ == "__main__":
    if "FAKE_HTTP_FAILS" in os.environ:
        from unittest.mock import patch

        patch("server.handler.ModelClient.start", _fail).start()
    sys.exit(serve(read_settings(), open_fake_engine))
