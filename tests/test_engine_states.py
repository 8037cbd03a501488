"""Histories to states: in buckets of about one length, and each only once."""

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmodel.codec import Events
from eventmodel.context import StreamRows
from eventmodel.engine.buckets import MAX_TOKENS, length_buckets
from eventmodel.engine.state_cache import StateCache, digest
from eventmodel.engine.states import StateEncoder

D = 3
lengths = st.lists(st.integers(0, 200), min_size=1, max_size=300).map(np.array)


@given(lengths)
def test_every_history_is_in_one_bucket(length: np.ndarray) -> None:
    assert sorted(np.concatenate(list(length_buckets(length))).tolist()) == list(range(len(length)))


@given(lengths)
def test_a_fifth_of_a_bucket_is_padding_at_most(length: np.ndarray) -> None:
    for bucket in length_buckets(length):
        tokens = length[bucket] + 1
        assert tokens.sum() >= 0.8 * tokens.max() * len(bucket)


@given(lengths)
def test_a_bucket_is_bounded(length: np.ndarray) -> None:
    assert all((length[bucket] + 1).max() * len(bucket) <= MAX_TOKENS for bucket in length_buckets(length))


class CountingBackend:
    """Its state of a history is a number of its events, whatever the batch; it counts what it encodes."""

    def __init__(self) -> None:
        self.encoded: list[tuple[str, int]] = []

    def run(self, graph: str, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        ids, gap, weekday, length = inputs
        self.encoded += [(graph, int(n)) for n in length]
        value = (ids.sum((1, 2)) + 0.5 * gap.sum(1) + 0.25 * weekday.sum(1) + 1000 * (graph == "encode_B")).astype(
            np.float32
        )
        return [np.repeat(value[:, None], D, 1)]

    def native(self, array: np.ndarray) -> np.ndarray:
        return array

    def host(self, array: np.ndarray) -> np.ndarray:
        return array

    def zeros(self, shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
        return np.zeros(shape, like.dtype)


def histories(*ids: Sequence[int]) -> StreamRows:
    """One history per argument, of events with these ids."""
    every = np.array([i for one in ids for i in one], np.int32)
    n = len(every)
    events = Events(every[:, None].repeat(2, 1), np.arange(n) * 10**6, np.zeros(n, np.int32))
    width = max(map(len, ids))
    end = np.cumsum([len(one) for one in ids])
    rows = np.array(
        [
            [*range(stop - len(one), stop), *[-1] * (width - len(one))]
            for stop, one in zip(end.tolist(), ids, strict=True)
        ]
    )
    return StreamRows(events, rows.reshape(len(ids), width), np.zeros((1, 1), np.int64), np.zeros(len(ids), np.int32))


def encoder(cache_bytes: int = 2**20) -> tuple[StateEncoder, CountingBackend]:
    backend = CountingBackend()
    return StateEncoder(backend, D, cache_bytes), backend


MIXED = histories([1, 2, 3], [], [4], [1, 2, 3, 4, 5, 6, 7, 8], [9, 9])


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_states_stand_in_the_order_of_the_histories(cache_bytes: int) -> None:
    states, _ = encoder(cache_bytes)
    both = [("A", MIXED), ("B", histories([5], [6, 6, 6]))]
    alone = [
        encoder()[0].encode([(name, rows._replace(rows=rows.rows[i : i + 1]))])[0]
        for name, rows in both
        for i in range(len(rows.rows))
    ]
    for _ in range(2):
        assert np.array_equal(states.encode(both), alone)


def test_what_was_encoded_is_not_encoded_again() -> None:
    states, backend = encoder()
    first = states.encode([("A", MIXED)])
    assert len(backend.encoded) == 5
    assert np.array_equal(states.encode([("A", MIXED)]), first)
    assert len(backend.encoded) == 5
    assert (states.statistics.hits, states.statistics.misses) == (5, 5)


def test_equal_histories_of_one_batch_are_encoded_once() -> None:
    states, backend = encoder(cache_bytes=0)
    rows = MIXED._replace(rows=MIXED.rows[[0, 3, 0, 0]])
    assert len(states.encode([("A", rows)])) == 4
    assert len(backend.encoded) == 2


def test_the_same_events_of_another_kind_have_another_state() -> None:
    states, _ = encoder()
    a, b = states.encode([("A", MIXED), ("B", MIXED)]).reshape(2, 5, D)
    assert (a != b).all()


def test_without_bytes_nothing_is_kept() -> None:
    states, backend = encoder(cache_bytes=0)
    for _ in range(2):
        states.encode([("A", MIXED)])
    assert len(backend.encoded) == 10


def test_padding_is_counted() -> None:
    states, _ = encoder()
    states.encode([("A", histories([1] * 9, [2] * 8, []))])
    assert (states.statistics.tokens, states.statistics.padding) == (10 + 9 + 1, 1 + 1)  # no batch is without a column


def test_the_least_recently_used_state_makes_room() -> None:
    cache = StateCache(CountingBackend(), D, max_bytes=2 * (4 * D + 256))
    assert cache.capacity == 2
    a, b, c = (bytes([i]) for i in range(3))
    cache.put([a, b], np.array([[1.0] * D, [2.0] * D], np.float32))
    cache.find([a])
    cache.put([c], np.array([[3.0] * D], np.float32))
    slots = cache.find([a, b, c])
    assert slots[1] == -1
    assert cache.get(slots[[0, 2]])[:, 0].tolist() == [1, 3]


def test_more_states_than_fit_are_answered_all_the_same() -> None:
    states, _ = encoder(cache_bytes=2 * (4 * D + 256))
    expected = encoder()[0].encode([("A", MIXED)])
    for _ in range(3):
        assert np.array_equal(states.encode([("A", MIXED)]), expected)


def test_a_full_cache_keeps_to_its_bytes() -> None:
    limit, d_model = 2_000_000, 64
    tracemalloc.start()
    cache = StateCache(CountingBackend(), d_model, limit)
    for start in range(0, 3 * cache.capacity, 1000):
        keys = [
            digest("A", Events(np.full((1, 1), i), np.zeros(1), np.zeros(1)), 0, 1) for i in range(start, start + 1000)
        ]
        cache.put(keys, np.zeros((1000, d_model), np.float32))
        del keys
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cache) == cache.capacity
    assert 0.7 * limit < used <= limit
