"""The few values that an answer lists of each category, for all categories and steps at once."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from eventmodel.schema import MAX_CATEGORIES
from eventmodel.surprise import entropy

_ID_BITS = 24
_LEAST_PROBABLE = 2**32 - 1


class Listed(NamedTuple):
    """S steps, K categories asked for, and at most N values of each."""

    ids: np.ndarray  # (S, K, N) int64, the most probable first, among equals the lower id; 0 fills up
    probability: np.ndarray  # (S, K, N) float32, of those ids
    unknown: np.ndarray  # (S, K) float32
    rest: np.ndarray  # (S, K) float32, of all that is neither listed nor unknown
    entropy: np.ndarray  # (S, K) float32, nats


class _Layout(NamedTuple):
    """Where the categories' ids are in V columns."""

    starts: np.ndarray  # (C,) int64
    sizes: np.ndarray  # (C,) int64
    digits: np.ndarray  # (V,) uint64: category and id, with room for a probability between them


@lru_cache(maxsize=8)
def _layout(sizes: tuple[int, ...]) -> _Layout:
    assert len(sizes) <= MAX_CATEGORIES <= 2 ** (32 - _ID_BITS)
    assert max(sizes) <= 2**_ID_BITS
    category = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
    id_ = np.concatenate([np.arange(size, dtype=np.uint64) for size in sizes])
    starts = np.cumsum([0, *sizes])[:-1]
    return _Layout(starts, np.array(sizes), (category << np.uint64(32 + _ID_BITS)) | id_)


def list_values(
    log_probs: np.ndarray, sizes: tuple[int, ...], categories: tuple[int, ...], top_k: int | None
) -> Listed:
    """The most probable values of some categories; what ``allowed`` rules out is not listed.

    Args:
        log_probs: (S, V) float32 of all categories, one after the other; -inf where ruled out.
        sizes: of each category, id 0 included.
        categories: the indices of those asked for.
        top_k: how many values to list; None lists all that are possible.
    """
    layout = _layout(sizes)
    p = np.exp(log_probs)
    some = np.array(categories, np.int64)
    start, named = layout.starts[some], layout.sizes[some] - 1
    n = int(named.max(initial=0))
    place = np.arange(n if top_k is None else min(n, top_k))
    ids = rank(log_probs, sizes)[:, start[:, None] + np.minimum(place, named[:, None])]
    column = start[:, None] + ids
    step = np.arange(len(p))[:, None, None]
    probability = p[step, column]
    is_listed = (place < named[:, None]) & (probability > 0)
    ids[~is_listed] = 0
    rest = p.copy()
    rest[:, layout.starts] = 0
    rest[step, start[:, None] + ids] = 0  # where none is listed, that is the unknown once more
    return Listed(
        ids=ids,
        probability=probability,
        unknown=p[:, start],
        rest=np.add.reduceat(rest, layout.starts, axis=1, dtype=np.float64)[:, some].astype(np.float32),
        entropy=entropy(log_probs, layout.starts)[:, some].astype(np.float32) + np.float32(0),  # no -0.0
    )


def rank(log_probs: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """The ids of each category by falling probability, equals by rising id, and id 0 last: (S, V).

    One sort of whole numbers does it for all categories: category, probability and id are the digits
    of one. A negative float's bits, read as a whole number, grow as the float falls.
    """
    layout = _layout(sizes)
    # log 1 is 0, or by rounding above: as -0.0 it is the least of the numbers with a sign
    bits = np.minimum(log_probs, np.float32(0)).view(np.uint32) & np.uint32(0x7FFFFFFF)
    digits = bits.astype(np.uint64)
    digits[:, layout.starts] = _LEAST_PROBABLE
    digits <<= np.uint64(_ID_BITS)
    digits |= layout.digits
    digits.sort(axis=1)
    return (digits & np.uint64(2**_ID_BITS - 1)).astype(np.int64)
