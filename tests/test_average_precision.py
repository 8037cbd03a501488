"""Average precision, against values worked out by hand."""

import numpy as np
import pytest

from training.scoring.average_precision import average_precision


@pytest.mark.parametrize(
    ("ranked", "expected"),
    [
        ([1, 1, 0, 0], 1),
        ([0, 0, 1, 1], (1 / 3 + 2 / 4) / 2),
        ([1, 0, 1, 0, 1], (1 / 1 + 2 / 3 + 3 / 5) / 3),
        ([0, 1], 1 / 2),
    ],
)
def test_it_is_the_mean_precision_at_the_positives(ranked: list[int], expected: float) -> None:
    score = -np.arange(len(ranked), dtype=float)
    assert average_precision(np.array(ranked, bool), score) == pytest.approx(expected)


def test_equal_scores_come_together_whatever_their_order() -> None:
    # precision is 1 of 1 at the first, then 2 of 4 when the three equal ones come
    score = np.array([3.0, 1, 1, 1, 0])
    for positives in ([1, 1, 0, 0, 0], [1, 0, 0, 1, 0]):
        assert average_precision(np.array(positives, bool), score) == pytest.approx((1 + 2 / 4) / 2)


def test_a_score_that_tells_nothing_has_the_base_rate() -> None:
    assert average_precision(np.arange(10) < 3, np.zeros(10)) == pytest.approx(0.3)


def test_order_of_the_rows_does_not_matter() -> None:
    random = np.random.default_rng(0)
    is_positive, score, order = random.random(50) < 0.2, random.integers(0, 9, 50), random.permutation(50)
    assert average_precision(is_positive, score) == pytest.approx(average_precision(is_positive[order], score[order]))


def test_without_a_positive_there_is_none() -> None:
    assert np.isnan(average_precision(np.zeros(3, bool), np.arange(3)))


def test_scores_of_minus_infinity_are_equal_too() -> None:
    is_positive = np.array([True, False, False, False])
    assert average_precision(is_positive, np.full(4, -np.inf)) == average_precision(is_positive, np.zeros(4)) == 0.25
