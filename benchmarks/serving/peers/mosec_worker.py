"""mosec, HTTP in Rust before a Python worker: python -m benchmarks.serving.peers.mosec_worker BUNDLE PORT."""

import os
import sys
from pathlib import Path

import mosec

from benchmarks.serving.peers.model import MAX_BATCH_SIZE, Model
from eventmodel.engine.query import Answer
from eventmodel.request.question import PredictRequest

BUNDLE = "PEER_BUNDLE"


class Predict(mosec.Worker):
    """Reads, answers and writes in one process: mosec's own does nothing but HTTP and batching."""

    resp_mime_type = "application/json"

    def __init__(self) -> None:
        self.model = Model(Path(os.environ[BUNDLE]))

    def deserialize(self, data: bytes) -> PredictRequest:
        """A body to arrays."""
        return self.model.read(data)

    def forward(self, data: list[PredictRequest]) -> list[tuple[PredictRequest, Answer]]:
        """Answer a batch."""
        return list(zip(data, self.model.answer(data), strict=True))

    def serialize(self, data: tuple[PredictRequest, Answer]) -> bytes:
        """An answer to its JSON."""
        return self.model.write(*data)


if __name__ == "__main__":
    os.environ.setdefault(BUNDLE, sys.argv[1])
    sys.argv[1:] = ["--port", sys.argv[2], "--address", "127.0.0.1", "--timeout", "60000", "--log-level", "warning"]
    server = mosec.Server()
    server.append_worker(Predict, max_batch_size=MAX_BATCH_SIZE, max_wait_time=5, timeout=60, start_method="spawn")
    server.run()
