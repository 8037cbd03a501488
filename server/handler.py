"""One request's way to the model and back, in the HTTP process."""

import asyncio
import itertools
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import orjson
from litserve.server import RegularRequestHandler
from litserve.utils import ResponseBufferItem
from starlette.requests import Request
from starlette.responses import Response

from eventmodel.bundle import Bundle
from eventmodel.engine.query import Answer, Query
from eventmodel.request.errors import RequestError
from eventmodel.request.question import PredictRequest
from eventmodel.request.reader import read_requests
from eventmodel.request.rendering import Answered, count_values, render_all
from server.body import Document, read_document
from server.drift import count_unknown
from server.errors import client_gone, model_died
from server.metrics import HISTORY_EVENTS, IN_STAGE, QUEUE_DEPTH
from server.model_status import ModelStatus
from server.together import Together
from server.transport import Cancel, Item, Reply, RequestQueue
from server.waiting import work_of

_AT_ONCE = 16
"""Requests that are read, or answers that are rendered, at once: beyond that, little is saved."""
_BYTES_AT_ONCE = 1_000_000
"""Of bodies that are read at once, and of each that is not read alone: 10 to 20 ms."""
_VALUES_AT_ONCE = 20_000
"""That answers rendered at once list, and each that is not rendered alone: as long."""
MAX_VALUES = 250_000
"""That one answer lists: a quarter of a second, in which the process does nothing else."""
_LOOK_S = 0.1
"""How often an HTTP process looks whether the model process is still the same one."""


@dataclass
class Pending(ResponseBufferItem):
    """A request that the model has and that is not answered, as LitServe's receiving task finds it."""

    item: Item = field(kw_only=True)
    """What was sent, to be sent again if the model process dies before it begins."""

    def end(self, answer: Answer | RequestError | None) -> None:
        """Wake the waiting request: with an answer, an error, or None where nobody listens any longer."""
        if not self.event.is_set():
            self.response = (None if answer is None else Reply(answer, time.monotonic()), None)
            self.event.set()


class ModelClient:
    """What one HTTP process has asked the model, and what it does when the model process dies.

    Args:
        pending: LitServe's buffer, by uid; answers arrive in it.
        status: tells which model process there is.
        width: values of all vocabularies together.
    """

    def __init__(self, queue: RequestQueue, pending: dict[int, Pending], status: ModelStatus, width: int) -> None:
        self._queue, self._pending, self._status, self._width = queue, pending, status, width
        self._outbox: list[Item | Cancel] = []
        self._uids: Iterator[int] = iter(())
        self._generation = 0

    def start(self) -> None:
        """Open the way to the model, in the HTTP process itself: nothing of it survives a fork."""
        # at random, as no two processes may use the same ones; nor a process that replaces another
        self._uids = itertools.count(secrets.randbits(62))
        self._connect()

    async def ask(self, query: Query, http: Request, consumer: int) -> Answer:
        """The model's answer.

        Args:
            http: where the query came from; its body is read.
            consumer: the number of this HTTP process.

        Raises:
            RequestError: the model failed on this request, or the sender has gone.
            asyncio.CancelledError: it took too long; the model is told.
        """
        uid, scope, now = next(self._uids), http.scope, time.monotonic()
        IN_STAGE["parse"].observe(now - scope["started"])
        item = Item(consumer, uid, now, scope["deadline"], scope["request_id"], work_of(query, self._width), query)
        pending = self._pending[uid] = Pending(asyncio.Event(), item=item)
        gone = asyncio.create_task(_end_when_gone(http, pending))
        QUEUE_DEPTH.inc()
        try:
            self._post(item)
            await pending.event.wait()
        finally:
            gone.cancel()
            QUEUE_DEPTH.dec()
            del self._pending[uid]
            if pending.response is None or pending.response[0] is None:
                self._post(Cancel(uid))
        assert pending.response is not None
        reply = pending.response[0]
        if reply is None:
            raise client_gone()
        answer, scope["answered"] = reply
        if isinstance(answer, RequestError):
            raise answer
        return answer

    async def follow(self) -> None:
        """For as long as the process runs: see to what a dead model process leaves behind.

        What it was working on has failed, at once; the rest goes to its successor.
        """
        while True:
            if self._generation != self._status.generation:
                self._connect()
                lost = self._status.lost
                self._outbox.clear()  # whatever is in it and still wanted is pending
                for uid, pending in self._pending.items():
                    if uid in lost:
                        pending.end(model_died())
                    elif pending.item is not None and not pending.event.is_set():
                        self._post(pending.item)
            await asyncio.sleep(_LOOK_S)

    def _post(self, message: Item | Cancel) -> None:
        """Send at the end of this turn of the event loop, together with what others send."""
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._send)
        self._outbox.append(message)

    def _send(self) -> None:
        if self._outbox:
            self._queue.put(self._outbox)
            self._outbox.clear()

    def _connect(self) -> None:
        self._generation = self._status.generation
        self._queue.connect(self._generation)


async def _end_when_gone(http: Request, pending: Pending) -> None:
    """The body is read, so what comes next is that the sender has gone."""
    while (await http.receive())["type"] != "http.disconnect":
        pass
    pending.end(None)


def _read(bundle: Bundle, documents: Sequence[Document]) -> list[PredictRequest]:
    return read_requests([document.content for document in documents], bundle)


def _check_size(n: int) -> None:
    if n > MAX_VALUES:
        message = f"the answer would list {n} values, more than {MAX_VALUES}"
        hint = "Ask for fewer events, categories, or values of each."
        raise RequestError("answer_too_large", "top_k", message, hint)


def _bodies(bundle: Bundle, answered: Sequence[Answered]) -> list[bytes]:
    return [orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY) for body in render_all(bundle, answered)]


class PredictHandler(RegularRequestHandler):
    """In place of LitServe's handler, which waits for ever.

    Args:
        lit_api, server: as LitServe has it.
        client: the way to the model.
        bundle: by which requests are read and answers are rendered, here: the model process has other things to do.
        max_body_bytes: of a request.
    """

    def __init__(
        self, lit_api: object, server: object, client: ModelClient, bundle: Bundle, max_body_bytes: int
    ) -> None:
        super().__init__(lit_api, server)
        self.client, self.bundle, self.max_body_bytes = client, bundle, max_body_bytes
        self._read = Together[Document, PredictRequest](
            partial(_read, bundle), _AT_ONCE, lambda document: document.size, _BYTES_AT_ONCE
        )
        self._render = Together[Answered, bytes](
            partial(_bodies, bundle), _AT_ONCE, lambda answered: count_values(bundle, answered[0]), _VALUES_AT_ONCE
        )

    async def handle_request(self, request: Request, request_type: object) -> Response:
        """Read, ask and render.

        Raises:
            RequestError: the request cannot be read, or not be answered.
        """
        read = await self._read(await read_document(request, self.max_body_bytes))
        _check_size(count_values(self.bundle, read))
        HISTORY_EVENTS.observe(read.n_events)
        count_unknown(self.bundle.codec, read.unknown)
        answer = await self.client.ask(read.query, request, self.server.app.response_queue_id)
        return Response(await self._render((read, answer)), media_type="application/json")
