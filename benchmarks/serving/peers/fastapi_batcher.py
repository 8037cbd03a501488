"""FastAPI with a micro-batcher of forty lines: python -m benchmarks.serving.peers.fastapi_batcher BUNDLE PORT."""

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response

from benchmarks.serving.peers.model import MAX_BATCH_SIZE, Model
from eventmodel.engine.query import Answer
from eventmodel.request.question import PredictRequest

model = Model(Path(sys.argv[1]))
waiting: asyncio.Queue[tuple[PredictRequest, asyncio.Future[Answer]]] = asyncio.Queue()


async def answer_batches() -> None:
    """What has queued up while the model worked is the next batch."""
    loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1)
    while True:
        batch = [await waiting.get()]
        while len(batch) < MAX_BATCH_SIZE and not waiting.empty():
            batch.append(waiting.get_nowait())
        answers = await loop.run_in_executor(thread, model.answer, [request for request, _ in batch])
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Runs the batcher beside the server."""
    task = asyncio.create_task(answer_batches())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
async def predict(http: Request) -> Response:
    """One request's way."""
    request = model.read(await http.body())
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    waiting.put_nowait((request, future))
    return Response(model.write(request, await future), media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
