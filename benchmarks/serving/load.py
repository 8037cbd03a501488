"""Requests at a given rate, however fast the answers come: what an overloaded server sees.

A client that waits for an answer before it sends the next request slows down with the server, and
hides how long others would have waited; this one does not. HTTP/1.1 over kept connections, 127.0.0.1.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Sample(NamedTuple):
    """One request."""

    sent_at: float
    """Seconds since the start."""
    seconds: float
    """Until its answer was complete."""
    status: int
    """0 where the connection broke."""
    head: bytes
    """Status line and headers of the answer."""


def message(path: str, body: bytes) -> bytes:
    """A request as it goes over the wire."""
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)


async def offer(port: int, messages: Sequence[bytes], rate: float, seconds: float, connections: int) -> list[Sample]:
    """Send messages in turn, evenly spaced.

    Args:
        rate: messages per second.
        connections: that are open; a message that finds none free is sent when one is, and its time counts from
            when it was due.

    Returns:
        One sample per message.
    """
    loop = asyncio.get_running_loop()
    samples: list[Sample] = []
    free: deque[_Connection] = deque()
    clients = [_Connection(samples, free) for _ in range(connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    started = time.monotonic()
    for client in clients:
        client.started = started
    n, total = 0, int(rate * seconds)
    while n < total:
        due = min(int((time.monotonic() - started) * rate) + 1, total)
        while n < due and free:
            connection = free.popleft()
            if connection.is_open:
                connection.send(messages[n % len(messages)], started + n / rate)
                n += 1
        if not any(client.is_open for client in clients):
            raise ConnectionError("the server closed all connections")
        await asyncio.sleep(0.001)
    while len(samples) < total and any(client.is_open for client in clients):
        await asyncio.sleep(0.01)
    for client in clients:
        client.close()
    return samples


class _Connection(asyncio.Protocol):
    def __init__(self, samples: list[Sample], free: "deque[_Connection]") -> None:
        self._samples, self._free = samples, free
        self.started = self._due = 0.0
        self._received = bytearray()
        self.is_open, self._is_busy = False, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.is_open = True
        self._free.append(self)

    def send(self, message: bytes, due: float) -> None:
        self._due, self._is_busy = due, True
        self._transport.write(message)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end])
        length = _LENGTH.search(head)
        if length is None or len(self._received) < end + 4 + int(length[1]):
            return
        self._received.clear()
        self._finish(int(head[9:12]), head)
        self._free.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._is_busy:
            self._finish(0, b"")

    def close(self) -> None:
        if self.is_open:
            self._transport.close()

    def _finish(self, status: int, head: bytes) -> None:
        self._is_busy = False
        self._samples.append(Sample(self._due - self.started, time.monotonic() - self._due, status, head))
