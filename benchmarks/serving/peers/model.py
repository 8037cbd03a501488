"""What all peers have in common: a request's bytes to a query, queries to answers, an answer to bytes."""

from collections.abc import Sequence
from pathlib import Path

import orjson

from eventmodel.bundle import load_bundle
from eventmodel.engine import open_engine
from eventmodel.engine.query import Answer
from eventmodel.request.question import PredictRequest
from eventmodel.request.reader import read_request
from eventmodel.request.rendering import render

MAX_BATCH_SIZE = 32


class Model:
    """One bundle behind ONNX Runtime with one thread, without a cache of states: bodies are sent in turn.

    Args:
        path: of the bundle.
    """

    def __init__(self, path: Path) -> None:
        self.bundle = load_bundle(path)
        self.engine = open_engine(self.bundle, "onnx", "cpu", 1, state_cache_bytes=0)

    def read(self, body: bytes) -> PredictRequest:
        """Check a request and turn it into arrays."""
        return read_request(orjson.loads(body), self.bundle)

    def answer(self, requests: Sequence[PredictRequest]) -> list[Answer]:
        """Answer a batch."""
        return self.engine.answer([request.query for request in requests])

    def write(self, request: PredictRequest, answer: Answer) -> bytes:
        """The answer's JSON."""
        return orjson.dumps(render(self.bundle, request, answer), option=orjson.OPT_SERIALIZE_NUMPY)
