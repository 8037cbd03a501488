"""The LitServe API: parsing in the HTTP process, prediction in the model process."""

# No `from __future__ import annotations` here: LitServe hands the annotation of `decode_request`
# to FastAPI as an object, and text in its place turns every request into a 422.

from typing import Annotated

import litserve
import orjson
from fastapi import Depends, Request
from starlette.responses import Response

from eventmodel.bundle import Bundle
from eventmodel.engine.query import Answer
from eventmodel.request.reader import PredictRequest, read_request
from eventmodel.request.rendering import render
from server.body import read_document
from server.engine import OpenEngine
from server.loop import QueueLoop
from server.metrics import HISTORY_EVENTS, UNKNOWN_VALUES

PATH = "/predict"


async def receive(request: Request) -> PredictRequest:
    """FastAPI dependency, so that it runs in the HTTP process and only small arrays cross to the model's."""
    state = request.app.state
    parsed = read_request(await read_document(request, state.max_body_bytes), state.bundle)
    HISTORY_EVENTS.observe(parsed.n_events)
    UNKNOWN_VALUES.inc(parsed.unknown_values)
    return parsed


class PredictAPI(litserve.LitAPI):
    """Answers batches of requests with an engine.

    Args:
        bundle: what is served.
        open_engine: called once, in the model process.
        max_batch_size: requests that are answered together at most.
    """

    def __init__(self, bundle: Bundle, open_engine: OpenEngine, max_batch_size: int) -> None:
        super().__init__(api_path=PATH, max_batch_size=max_batch_size, loop=QueueLoop())
        self.bundle, self.open_engine = bundle, open_engine

    def setup(self, device: str) -> None:
        """Open the engine and answer the bundle's example, which warms it up and shows that it works.

        Args:
            device: LitServe's idea of a device; the engine has its own.
        """
        self.engine = self.open_engine(self.bundle)
        example = read_request(self.bundle.example, self.bundle)
        self.engine.answer([example.query])

    def decode_request(self, request: Annotated[PredictRequest, Depends(receive)]) -> PredictRequest:
        """Nothing is left to do: the dependency has parsed the request."""
        return request

    def predict(self, requests: list[PredictRequest]) -> list[tuple[PredictRequest, Answer]]:
        """Answer a batch, each request with its own answer."""
        answers = self.engine.answer([request.query for request in requests])
        return list(zip(requests, answers, strict=True))

    def encode_response(self, output: tuple[PredictRequest, Answer]) -> Response:
        """The answer as JSON, in bytes: what LitServe need not encode again."""
        request, answer = output
        body = orjson.dumps(render(self.bundle, request, answer), option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(body, media_type="application/json")
