"""Which events belong to which entity of a stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

INDEX_COLUMNS = ("rows", "start", "vocabulary_id", "keys", "name_end", "name_text")


@dataclass(frozen=True)
class StreamIndex:
    """Which rows of the table belong to which entity of a keyed stream.

    Entities are numbered in the order of their first event. All entities have a number, also
    those that the vocabulary does not know.
    """

    rows: np.ndarray  # (M,) int64: rows of entity 0 in order, then of entity 1, ...
    start: np.ndarray  # (E + 1,) int64: where each entity's rows start
    vocabulary_id: np.ndarray  # (E,) int32: the entity in the vocabulary of its category, 0 if none
    keys: np.ndarray  # (n, K) int32: the entities of each event, -1 where a key is blank
    name_end: np.ndarray  # (E,) int64: where each entity's name ends in
    name_text: np.ndarray  # (T,) uint8: the names, one after the other, in UTF-8 that passes surrogates

    def name(self, entity: int) -> str:
        """What the input calls an entity."""
        begin = self.name_end[entity - 1] if entity else 0
        return self.name_text[begin : self.name_end[entity]].tobytes().decode("utf-8", "surrogatepass")

    @cached_property
    def entity(self) -> np.ndarray:
        """(M,) int64: the entity at each position of ``rows``. As large as the log: ``entity_at`` tells of a few."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    def entity_at(self, position: np.ndarray) -> np.ndarray:
        """The entities at some positions of ``rows``."""
        return np.searchsorted(self.start, position, side="right") - 1  # every entity has an event

    def newest(self, entity: np.ndarray, last_row: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Each entity's newest events up to a row, ``width`` of them at most.

        Returns:
            The position after the newest one, and how many there are.
        """
        end = self.end(entity, last_row)
        return end, np.minimum(end - self.start[entity], width)

    def end(self, entity: np.ndarray, last_row: np.ndarray) -> np.ndarray:
        """Position after the entity's newest event that is not after row ``last_row``."""
        low, high = self.start[entity], self.start[entity + 1]  # rows increase within an entity
        while (is_open := low < high).any():
            middle = (low + high) // 2
            is_before = is_open & (self.rows[np.minimum(middle, len(self.rows) - 1)] <= last_row)
            low = np.where(is_before, middle + 1, low)
            high = np.where(is_open & ~is_before, middle, high)
        return low


def entity_names(names: Sequence[Sequence[str | None]]) -> list[str]:
    """The entities that events name, by their number in the index.

    Args:
        names: per key field, the entity named by each event; None where blank.
    """
    distinct = dict.fromkeys(chain.from_iterable(zip(*names, strict=True)))
    return [name for name in distinct if name is not None]


def index_stream(names: Sequence[Sequence[str | None]], vocabulary: Sequence[str] | None) -> StreamIndex:
    """Build the index of a keyed stream.

    Args:
        names: as ``entity_names`` takes them.
        vocabulary: the values of the category that embeds the entity, if there is one.
    """
    named = entity_names(names)
    number: dict[str | None, int] = {None: -1} | {name: entity for entity, name in enumerate(named)}
    n = len(names[0])
    keys = np.stack([np.fromiter(map(number.__getitem__, column), np.int32, n) for column in names], axis=1)
    entity, row = entities_of(keys)
    start = np.append(0, np.bincount(entity, minlength=len(named)).cumsum())
    known = {name: id_ for id_, name in enumerate(vocabulary or (), start=1)}
    ids = np.fromiter((known.get(name, 0) for name in named), np.int32, len(named))
    return StreamIndex(row[np.argsort(entity, kind="stable")], start, ids, keys, *text_of_names(named))


def text_of_names(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Where each name ends (E,), and all of them (T,), as a ``StreamIndex`` holds them."""
    texts = [name.encode("utf-8", "surrogatepass") for name in names]
    return np.cumsum([0, *map(len, texts)])[1:], np.frombuffer(b"".join(texts), np.uint8)


def entities_of(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which entity each event (n, K) belongs to; to one that it names twice, it belongs once.

    Returns:
        Entities, and the rows of their events; rows increase.
    """
    if keys.shape[1] > 1:
        keys = np.sort(keys, axis=1)
        is_again = np.zeros_like(keys, bool)
        is_again[:, 1:] = keys[:, 1:] == keys[:, :-1]
        keys = np.where(is_again, -1, keys)
    row, column = np.nonzero(keys >= 0)
    return keys[row, column], row
