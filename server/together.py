"""What costs less for many than for each: done for all at once that ask for it within one turn of the event loop."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from server.turns import Turns

A = TypeVar("A")
R = TypeVar("R")


class Together(Generic[A, R]):
    """An asynchronous function of one argument, made of one of several.

    Nobody waits for company: what has come in by the end of a turn is done in the next one. Where it fails,
    it is done for each argument alone, so that only the culprit's caller gets the error.

    Args:
        do: results of some arguments, in their order.
        most: arguments at once.
        weigh: what doing it for an argument takes.
        room: of such weight, at once, so that the event loop gets to its other work; a heavier argument is done alone.
    """

    def __init__(
        self, do: Callable[[Sequence[A]], Sequence[R]], most: int, weigh: Callable[[A], float], room: float
    ) -> None:
        self._do, self._most, self._weigh = do, most, weigh
        self._turns = Turns(room)
        self._waiting: dict[asyncio.Future[R], tuple[A, float]] = {}

    async def __call__(self, argument: A) -> R:
        """The argument's result; raises what doing it alone raises."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._work)
        self._waiting[future] = argument, self._weigh(argument)
        return await future

    def _work(self) -> None:
        for future in [
            future for future in self._waiting if future.done()
        ]:  # cancelled: nobody waits for it any longer
            del self._waiting[future]
        if not self._waiting:
            return
        weights = ((future, weight) for future, (_, weight) in self._waiting.items())
        some = {future: self._waiting.pop(future)[0] for future in self._turns.choose(weights, self._most)}
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._work)
        self._settle(some)

    def _settle(self, some: dict["asyncio.Future[R]", A]) -> None:
        try:
            results = self._do(list(some.values()))
        except Exception as error:
            if len(some) > 1:
                for each in some.items():
                    self._settle(dict([each]))
            else:
                next(iter(some)).set_exception(error)
        else:
            for future, result in zip(some, results, strict=True):
                future.set_result(result)
