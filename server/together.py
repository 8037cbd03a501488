"""What costs less for many than for each: done for all at once that ask for it within one turn of the event loop."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Together(Generic[A, R]):
    """An asynchronous function of one argument, made of one of several.

    Nobody waits for company: what has come in by the end of a turn is done in the next one. Where it fails,
    it is done for each argument alone, so that only the culprit's caller gets the error.

    Args:
        do: results of some arguments, in their order.
        most: arguments at once, so that the first one's caller does not wait for all too long.
    """

    def __init__(self, do: Callable[[Sequence[A]], Sequence[R]], most: int) -> None:
        self._do, self._most = do, most
        self._waiting: dict[asyncio.Future[R], A] = {}

    async def __call__(self, argument: A) -> R:
        """The argument's result; raises what doing it alone raises."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._work)
        self._waiting[future] = argument
        return await future

    def _work(self) -> None:
        some = {future: self._waiting.pop(future) for future in list(islice(self._waiting, self._most))}
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._work)
        for future in [future for future in some if future.done()]:  # cancelled: nobody waits for it any longer
            del some[future]
        if some:
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
