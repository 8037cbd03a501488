"""Surprise and what was to be expected."""

import numpy as np
import pytest

from eventmodel.surprise import entropy, unusualness


def test_entropy_is_per_category() -> None:
    log_probs = np.log([[0.5, 0.5, 0.25, 0.25, 0.25, 0.25], [1, 1e-30, 0.7, 0.1, 0.1, 0.1]])
    expected = [[np.log(2), np.log(4)], [0, -0.7 * np.log(0.7) - 0.3 * np.log(0.1)]]
    np.testing.assert_allclose(entropy(log_probs, np.array([0, 2])), expected, atol=1e-12)


def test_an_impossible_value_adds_nothing_to_the_entropy() -> None:
    assert entropy(np.array([[0.0, -np.inf]]), np.array([0])).tolist() == [[0.0]]


def test_a_guess_among_many_is_as_usual() -> None:
    assert unusualness(np.log(60), np.log(60), 0.0) == 0


def test_an_exception_to_what_was_all_but_certain_is_unusual() -> None:
    p = np.array([0.999, 0.001])
    surprise = -np.log(p)
    expected = (p * surprise).sum()
    variance = (p * (surprise - expected) ** 2).sum()
    assert unusualness(surprise[1], expected, variance) == pytest.approx(18, abs=1)
    assert abs(unusualness(surprise[0], expected, variance)) < 0.1


def test_a_trifle_where_nothing_was_in_doubt_is_not_unusual() -> None:
    assert unusualness(0.02, 0.001, 1e-5) < 0.1
