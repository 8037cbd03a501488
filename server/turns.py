"""Who is next, where some ask for much more than others."""

from collections.abc import Iterable
from typing import TypeVar

K = TypeVar("K")


class Turns:
    """Chooses what is done at once: what has waited longest, as much as a turn has room for.

    What is larger than a turn has one of its own, and no two such turns follow one another while anything
    else waits: nobody waits for all the large ones that came before.

    Args:
        room: of a turn, in the unit of the weights.
    """

    def __init__(self, room: float) -> None:
        self._room = room
        self._was_large = False

    def choose(self, waiting: Iterable[tuple[K, float]], most: int) -> list[K]:
        """The keys of the next turn.

        Args:
            waiting: at least one, with its weight, in the order of arrival.
            most: keys of one turn.
        """
        chosen: list[K] = []
        oldest, left = None, self._room
        for key, weight in waiting:
            if oldest is None:
                oldest = key
                if weight > self._room and not self._was_large:
                    break
            if weight <= left:
                chosen.append(key)
                left -= weight
            if len(chosen) == most:
                break
        self._was_large = not chosen
        assert oldest is not None
        return chosen or [oldest]
