"""Messages between the HTTP processes and the model process: zmq PUSH/PULL over sockets in a private directory.

In place of LitServe's queues, which live in a manager process and are pickled twice on each way. Sockets
are opened where they are first used, so that none crosses a fork. What may queue up is bounded by
``server.admission``, not here.
"""

import asyncio
import pickle
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import zmq
from litserve.transport.base import MessageTransport
from litserve.utils import LitAPIStatus, LoopResponseType

from eventmodel.engine.query import Answer, Query
from eventmodel.request.errors import RequestError

_RECONNECT_MS = 20


class Item(NamedTuple):
    """A request on its way to the model."""

    consumer: int
    """The HTTP process that waits for the answer."""
    uid: int
    queued_at: float
    """``time.monotonic()``, a clock that all processes share."""
    deadline: float
    """On the same clock: nobody waits for the answer any longer."""
    request_id: str
    """For the log."""
    work: int
    """It bounds batches."""
    query: Query


class Reply(NamedTuple):
    """What the model makes of a request."""

    answer: Answer | RequestError
    answered_at: float
    """On the clock of ``Item``."""


class Cancel(NamedTuple):
    """Nobody waits for this request any longer."""

    uid: int


class RequestQueue:
    """From the HTTP processes to the model process. Each model process has an address of its own.

    Args:
        directory: private to this server's user: what arrives is unpickled.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket: zmq.Socket[bytes] | None = None

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return RequestQueue, (self._directory,)

    def connect(self, generation: int) -> None:
        """Send to this model process from now on; forget what no other one has taken."""
        self.close()
        self._socket = _socket(zmq.PUSH)
        self._socket.connect(self._address(generation))

    def put(self, messages: Sequence[Item | Cancel]) -> None:
        """Send them as one: so much is the same in all that each costs less; never waits."""
        assert self._socket is not None
        self._socket.send(pickle.dumps(messages, pickle.HIGHEST_PROTOCOL), zmq.NOBLOCK)

    def listen(self, generation: int) -> None:
        """Receive, in the model process; the addresses of those before it go."""
        for earlier in self._directory.glob("requests-*"):
            earlier.unlink()
        self._socket = _socket(zmq.PULL)
        self._socket.bind(self._address(generation))

    def get(self) -> list[Item | Cancel]:
        """What was put together; waits for it."""
        assert self._socket is not None
        messages: list[Item | Cancel] = pickle.loads(self._socket.recv())
        return messages

    def close(self) -> None:
        """Close the socket at once; what it still holds is dropped."""
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None

    def _address(self, generation: int) -> str:
        return f"ipc://{self._directory}/requests-{generation}"


class AnswerTransport(MessageTransport):
    """From the model process back to the HTTP process that asked.

    Args:
        directory: as that of ``RequestQueue``.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._outgoing: dict[int, zmq.Socket[bytes]] = {}
        self._incoming: zmq.Socket[bytes] | None = None
        self._arrived: deque[tuple[int, Reply]] = deque()
        self._has_arrived = asyncio.Event()

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return AnswerTransport, (self._directory,)

    def send(self, item: Sequence[tuple[int, Reply]], consumer_id: int) -> None:
        """Send replies by uid, all of them as one."""
        socket = self._outgoing.get(consumer_id)
        if socket is None:
            socket = self._outgoing[consumer_id] = _socket(zmq.PUSH)
            socket.connect(self._address(consumer_id))
        socket.send(pickle.dumps(item, pickle.HIGHEST_PROTOCOL), zmq.NOBLOCK)

    async def areceive(self, consumer_id: int, timeout: float | None = None) -> Any:
        """The next answer, as LitServe's receiving task wants it."""
        if self._incoming is None:
            self._listen(consumer_id)
        while not self._arrived:
            self._has_arrived.clear()
            await self._has_arrived.wait()
        uid, content = self._arrived.popleft()
        return uid, (content, LitAPIStatus.OK, LoopResponseType.REGULAR, 0)

    def _listen(self, consumer_id: int) -> None:
        self._incoming = _socket(zmq.PULL)
        self._incoming.bind(self._address(consumer_id))
        # zmq's descriptor signals that something has changed, once: so all that has arrived is taken each time
        asyncio.get_running_loop().add_reader(self._incoming.FD, self._take)
        self._take()

    def _take(self) -> None:
        assert self._incoming is not None
        try:
            while True:
                self._arrived += pickle.loads(self._incoming.recv(zmq.NOBLOCK))
        except zmq.Again:
            if self._arrived:
                self._has_arrived.set()

    def close(self, **_: object) -> None:
        """Nothing to do: the sockets go with their processes, the directory with the server."""

    def _address(self, consumer_id: int) -> str:
        return f"ipc://{self._directory}/answers-{consumer_id}"


def _socket(kind: int) -> "zmq.Socket[bytes]":
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    socket.set_hwm(0)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    return socket
