"""LitServe as its documentation has it: python -m benchmarks.serving.peers.stock_litserve BUNDLE PORT."""

import sys
from pathlib import Path
from typing import Any

import litserve
from fastapi import Request

from benchmarks.serving.peers.model import MAX_BATCH_SIZE, Model
from eventmodel.engine.query import Answer
from eventmodel.request.question import PredictRequest
from eventmodel.request.reader import read_request
from eventmodel.request.rendering import plain, render


class API(litserve.LitAPI):
    """Decode, predict a batch, encode."""

    def setup(self, device: str) -> None:
        """Load the model, in the worker."""
        self.model = Model(Path(sys.argv[1]))

    def decode_request(self, request: Request) -> PredictRequest:
        """LitServe has parsed the JSON."""
        return read_request(request, self.model.bundle)

    def batch(self, inputs: list[PredictRequest]) -> list[PredictRequest]:
        """A list does; what is stacked by default must have one shape."""
        return inputs

    def predict(self, requests: list[PredictRequest]) -> list[tuple[PredictRequest, Answer]]:
        """Answer a batch."""
        return list(zip(requests, self.model.answer(requests), strict=True))

    def unbatch(self, output: list[tuple[PredictRequest, Answer]]) -> list[tuple[PredictRequest, Answer]]:
        """A list it is."""
        return output

    def encode_response(self, output: tuple[PredictRequest, Answer]) -> dict[str, Any]:
        """LitServe writes the JSON."""
        return plain(render(self.model.bundle, *output))


if __name__ == "__main__":
    api = API(max_batch_size=MAX_BATCH_SIZE, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", timeout=60)
    quiet = {"generate_client_file": False, "log_level": "warning", "access_log": False}
    server.run(host="127.0.0.1", port=int(sys.argv[2]), **quiet)
