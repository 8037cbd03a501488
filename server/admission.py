"""No more requests than can be answered in time: one too many is turned away before its body is read."""

import ctypes
from multiprocessing import get_context

from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import error_response, queue_full


class Room:
    """How many requests all HTTP processes have in hand, in memory that they share; each writes its own number.

    No locks: processes that look at the same moment may take a place too many, one each.

    Args:
        most: requests in hand at once.
        processes: of HTTP.
    """

    def __init__(self, most: int, processes: int) -> None:
        self._most, self._process = most, 0
        self._held = get_context("fork").RawArray(ctypes.c_long, processes)

    def start(self, process: int) -> None:
        """In the HTTP process of this number: it has nothing in hand, whatever a predecessor died with."""
        self._process = process
        self._held[process] = 0

    def take(self) -> bool:
        """Take a place, to be given back, if there is one."""
        if sum(self._held) >= self._most:
            return False
        self._held[self._process] += 1
        return True

    def give_back(self) -> None:
        """The place is free again."""
        self._held[self._process] -= 1


class TurnAway:
    """ASGI middleware that answers 503 at once while there is no room, at next to no cost.

    Args:
        path: of the requests that take room, from before their body is read until they are answered.
        room: that they take.
    """

    def __init__(self, app: ASGIApp, path: str, room: Room) -> None:
        self.app, self.path, self.room = app, path, room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if there is room."""
        if scope["type"] != "http" or scope["path"] != self.path:
            await self.app(scope, receive, send)
        elif self.room.take():
            try:
                await self.app(scope, receive, send)
            finally:
                self.room.give_back()
        else:
            await error_response(queue_full())(scope, receive, send)
