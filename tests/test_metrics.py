"""From arrays to numbers."""

import numpy as np
import pytest

from training.evaluation.metrics import (
    BINS,
    accuracy,
    expected_calibration_error,
    reliability,
    skill,
    slice_masks,
    spread,
)


def test_a_perfect_forecaster_loses_nothing_and_ranks_first() -> None:
    found = accuracy(np.zeros((7, 2)), np.ones((7, 2), np.int64))
    assert {name: values.tolist() for name, values in found.items()} == {
        "nll": [0, 0],
        "perplexity": [1, 1],
        "top1": [1, 1],
        "top5": [1, 1],
        "mrr": [1, 1],
    }


def test_an_even_choice_among_k_has_a_perplexity_of_k() -> None:
    found = accuracy(np.log(np.full((3, 1), 1 / 13)), np.ones((3, 1), np.int64))
    assert found["perplexity"] == pytest.approx(13)


def test_ranks_give_top_1_top_5_and_the_reciprocal() -> None:
    found = accuracy(np.zeros((4, 1)), np.array([[1], [2], [5], [6]]))
    assert found["top1"] == 0.25
    assert found["top5"] == 0.75
    assert found["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 5 + 1 / 6) / 4)


def test_a_mean_over_the_masked_targets_alone() -> None:
    where = np.array([[True], [False], [True]])
    assert accuracy(np.array([[-1.0], [-50.0], [-2.0]]), np.ones((3, 1)), where)["nll"] == 1.5


def test_a_mean_over_no_target_is_not_a_number() -> None:
    found = accuracy(np.zeros((2, 1)), np.ones((2, 1)), np.zeros((2, 1), bool))
    assert all(np.isnan(values).all() for values in found.values())


def test_slices_partition_the_targets() -> None:
    random = np.random.default_rng(0)
    label, last = random.integers(0, 3, (2, 40, 5))
    masks = slice_masks(label, last)
    assert (masks["known"] ^ masks["unknown"]).all()
    assert ((masks["repeated"] ^ masks["new"]) == masks["known"]).all()


def test_a_target_is_unknown_at_id_0_and_else_repeated_where_it_equals_the_last_value() -> None:
    masks = slice_masks(np.array([[0, 0, 2, 2]]), np.array([[0, 1, 2, 1]]))
    assert masks["unknown"].tolist() == [[True, True, False, False]]
    assert masks["repeated"].tolist() == [[False, False, True, False]]


def test_slices_average_to_the_whole() -> None:
    random = np.random.default_rng(0)
    log_prob, rank = -random.random((50, 2)), random.integers(1, 9, (50, 2))
    label, last = random.integers(0, 3, (2, 50, 2))
    masks = slice_masks(label, last)
    whole = accuracy(log_prob, rank)
    for slices in (("known", "unknown"), ("unknown", "repeated", "new")):
        parts = [accuracy(log_prob, rank, masks[name]) for name in slices]
        shares = [masks[name].mean(0) for name in slices]
        for key in ("nll", "top1", "top5", "mrr"):
            np.testing.assert_allclose(sum(s * p[key] for s, p in zip(shares, parts, strict=True)), whole[key])


def test_skill_is_the_share_of_the_best_baseline_s_loss_that_is_saved() -> None:
    assert skill(np.array([1.5, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])).tolist() == [0.25, 0, -0.5]


def test_there_is_no_skill_where_a_baseline_is_certain() -> None:
    assert np.isnan(skill(np.array([0.001]), np.array([0.0])))


def test_reliability_counts_every_target_once() -> None:
    random = np.random.default_rng(0)
    found = reliability(random.random((300, 3)), random.random((300, 3)) < 0.5)
    assert found.targets.shape == (3, BINS)
    assert found.targets.sum(1).tolist() == [300] * 3


def test_a_forecaster_that_is_right_as_often_as_it_says_has_no_calibration_error() -> None:
    confidence = np.full((1000, 1), 0.7, np.float32)
    is_right = (np.arange(1000) % 10 < 7)[:, None]
    assert expected_calibration_error(confidence, is_right) == pytest.approx(0, abs=1e-6)


def test_a_forecaster_that_is_sure_and_right_half_the_time_is_half_off() -> None:
    is_right = (np.arange(1000) % 2 == 0)[:, None]
    assert expected_calibration_error(np.ones((1000, 1), np.float32), is_right) == pytest.approx(0.5)


def test_errors_of_opposite_sign_in_different_bins_do_not_cancel() -> None:
    confidence = np.repeat([0.3, 0.7], 500)[:, None]
    is_right = np.repeat([True, False], 500)[:, None]
    assert expected_calibration_error(confidence, is_right) == pytest.approx(0.7)


def test_several_runs_give_a_mean_and_a_sample_deviation() -> None:
    assert spread([1.0, 2.0, 3.0]) == {"mean": 2.0, "sd": 1.0, "runs": [1.0, 2.0, 3.0]}


def test_a_single_run_has_no_deviation() -> None:
    assert spread([1.5]) == {"mean": 1.5, "sd": None, "runs": [1.5]}


def test_what_is_not_a_number_is_null() -> None:
    assert spread([1.0, float("nan")]) == {"mean": None, "sd": None, "runs": [1.0, None]}
