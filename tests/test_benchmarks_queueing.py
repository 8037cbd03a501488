"""The simulated server: what queueing theory says of it where theory knows."""

import pytest

from benchmarks.queueing import QueueingConfig, simulate

LONG = 20_000.0


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_without_batches_it_is_the_queue_of_pollaczek_and_khinchine(load: float) -> None:
    found = simulate(QueueingConfig(one_ms=100, full_ms=100, max_batch=1, seconds=LONG), load)
    assert (found.busy, found.mean_batch) == (pytest.approx(load, rel=0.02), 1)
    assert found.in_hand == pytest.approx(load + load**2 / (2 * (1 - load)), rel=0.1)


def test_a_server_that_batches_is_busy_long_before_it_is_at_its_limit() -> None:
    found = simulate(QueueingConfig(one_ms=6, full_ms=67, max_batch=32), 0.5)
    assert found.busy > 0.85
    assert found.mean_batch < 4


def test_more_requests_in_hand_mean_more_load() -> None:
    config = QueueingConfig(one_ms=6, full_ms=67, max_batch=32)
    in_hand = [simulate(config, load).worst_in_hand for load in (0.3, 0.5, 0.7, 0.9)]
    assert in_hand == sorted(in_hand)


def test_a_load_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="below 1"):
        QueueingConfig(one_ms=1, full_ms=1, loads=(1.0,))
