"""Samples of the chain and their quantiles."""

from collections.abc import Sequence

import numpy as np
import pytest

from eventmodel.engine.decoding import ChainStep
from eventmodel.engine.query import SAMPLES
from eventmodel.engine.times import NUMBERS_AT_A_TIME, quantiles, sample_events

SIZES = (3, 7)


class TableDecoding:
    """A chain of two categories with known probabilities; the second goes by the first."""

    key_size = 20

    def __init__(self) -> None:
        random = np.random.default_rng(5)
        self.first = random.dirichlet(np.ones(SIZES[0]))
        self.second = random.dirichlet(np.ones(SIZES[1]), SIZES[0])
        self.rows: list[int] = []

    def chain(self, rows: np.ndarray, noise: np.ndarray, allowed: np.ndarray) -> ChainStep:
        self.rows.append(len(noise))
        assert noise.dtype == np.float32
        assert len(rows) == len(noise) == len(allowed)
        log_p = np.where(allowed[:, : SIZES[0]], np.log(self.first), -np.inf)
        first = (log_p + noise[:, : SIZES[0]]).argmax(1)
        log_p = np.where(allowed[:, SIZES[0] :], np.log(self.second[first]), -np.inf)
        second = (log_p + noise[:, SIZES[0] :]).argmax(1)
        return ChainStep(np.stack((first, second), 1), np.zeros((len(noise), 2), np.float32))


def sample(decoding: TableDecoding, seeds: Sequence[tuple[int, ...]], allowed: np.ndarray | None = None) -> np.ndarray:
    n = len(seeds)
    allowed = np.ones((n, sum(SIZES)), bool) if allowed is None else allowed
    return sample_events(decoding, np.arange(n), allowed, seeds)  # type: ignore[arg-type]


def test_a_sample_s_frequencies_are_the_chain_s_probabilities() -> None:
    backend = TableDecoding()
    events = sample(backend, [(i,) for i in range(100)]).reshape(-1, 2)
    expected = len(events) * (backend.first[:, None] * backend.second).ravel()
    found = np.bincount(events[:, 0] * SIZES[1] + events[:, 1], minlength=len(expected))
    chi_square = ((found - expected) ** 2 / expected).sum()
    assert chi_square < 20 + 4 * np.sqrt(2 * 20)  # 20 degrees of freedom, four standard deviations


def test_a_sample_depends_on_its_own_seed_alone() -> None:
    backend = TableDecoding()
    together = sample(backend, [(1, 0), (2, 0), (1, 1)])
    assert np.array_equal(together[1], sample(backend, [(2, 0)])[0])
    assert not np.array_equal(together[0], together[2])


def test_what_is_not_allowed_is_never_sampled() -> None:
    allowed = np.ones((1, sum(SIZES)), bool)
    allowed[0, [0, 3, 4]] = False
    events = sample(TableDecoding(), [(0,)], allowed)[0]
    assert set(events[:, 0]) == {1, 2}
    assert events[:, 1].min() == 2


def test_chunks_bound_what_passes_through_the_chain_together(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TableDecoding()
    whole = sample(backend, [(0,), (1,)])
    monkeypatch.setattr("eventmodel.engine.times.NUMBERS_AT_A_TIME", 30 * 70)  # 10 ids and 5 keys of width 4
    assert np.array_equal(whole, sample(backend, [(0,), (1,)]))
    assert backend.rows == [2 * SAMPLES, *[70] * 5, 50]
    assert 30 * 32 * SAMPLES < NUMBERS_AT_A_TIME  # a small model passes a full batch at once


@pytest.mark.parametrize(("level", "expected"), [(0.1, 10), (0.5, 50), (0.501, 60), (0.9, 90), (0.999, 100)])
def test_a_quantile_is_the_first_moment_that_enough_do_not_exceed(level: float, expected: int) -> None:
    moments = np.random.default_rng(0).permutation(np.arange(10, 110, 10))
    assert quantiles(moments, (level,)).tolist() == [expected]


def test_quantiles_are_those_of_numpy() -> None:
    moments = np.random.default_rng(0).integers(0, 100, (3, SAMPLES))
    levels = np.arange(1, 64) / 64  # numpy reads 0.07 of 200 as one more than 14
    expected = np.quantile(moments, levels, axis=1, method="inverted_cdf").T
    assert np.array_equal(quantiles(moments, levels.tolist()), expected)
