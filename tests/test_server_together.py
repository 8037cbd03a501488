"""Doing at once, for all that ask within one turn of the event loop, what costs less for many than for each."""

import asyncio
from collections.abc import Sequence

import pytest

from server.together import Together


class Doubling:
    """Doubles numbers, fails on a negative one, and notes how many it is given at a time."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.sizes.append(len(numbers))
        if min(numbers) < 0:
            raise ValueError(f"{min(numbers)} is negative")
        return [2 * number for number in numbers]


def results(doubling: Doubling, *numbers: int, most: int = 100, room: int = 1000) -> list[object]:
    """Of calls that come in together; errors as their text."""

    async def ask() -> list[int | BaseException]:
        together = Together(doubling, most, abs, room)
        return await asyncio.gather(*(together(number) for number in numbers), return_exceptions=True)

    return [str(result) if isinstance(result, BaseException) else result for result in asyncio.run(ask())]


def test_each_caller_gets_its_own_result() -> None:
    assert results(Doubling(), 1, 2, 3) == [2, 4, 6]


def test_what_comes_in_together_is_done_at_once() -> None:
    doubling = Doubling()
    results(doubling, *range(5))
    assert doubling.sizes == [5]


def test_no_more_are_done_at_once_than_the_limit() -> None:
    doubling = Doubling()
    assert results(doubling, *range(5), most=2) == [0, 2, 4, 6, 8]
    assert doubling.sizes == [2, 2, 1]


def test_no_more_is_done_at_once_than_there_is_room_for() -> None:
    doubling = Doubling()
    assert results(doubling, 3, 4, 3, 2, room=7) == [6, 8, 6, 4]
    assert doubling.sizes == [2, 2]


def test_what_is_heavier_than_a_turn_is_done_alone_and_the_others_in_between() -> None:
    doubling = Doubling()
    results(doubling, 9, 9, 9, 1, 1, room=7)
    assert doubling.sizes == [1, 2, 1, 1]


def test_only_the_culprit_of_a_failure_gets_the_error() -> None:
    assert results(Doubling(), 1, -2, 3) == [2, "-2 is negative", 6]


def test_what_comes_in_later_is_not_waited_for() -> None:
    doubling = Doubling()

    async def ask() -> list[int]:
        together = Together(doubling, 100, abs, 1000)
        return [await together(1), await together(2)]

    assert asyncio.run(ask()) == [2, 4]
    assert doubling.sizes == [1, 1]


def test_a_caller_that_gives_up_is_left_out() -> None:
    doubling = Doubling()

    async def ask() -> int:
        together = Together(doubling, 100, abs, 1000)
        impatient = asyncio.create_task(together(1))
        patient = asyncio.create_task(together(2))
        await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        return await patient

    assert asyncio.run(ask()) == 4
    assert doubling.sizes == [1]
