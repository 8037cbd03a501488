"""The loss: sums over categories, means over everything that a step reads."""

import pytest
import torch

from eventmodel.schema import Schema
from training.loss import NonFiniteLossError, category_sums, category_weights, check_finite

NAMES = ["a", "b", "c"]


def test_a_category_s_sum_counts_valid_targets_only() -> None:
    log_probs = torch.tensor([[[-1.0, -2.0], [-3.0, -4.0]], [[-5.0, -6.0], [-100.0, -100.0]]])
    is_target = torch.tensor([[True, True], [True, False]])
    assert category_sums(log_probs, is_target).tolist() == [9.0, 12.0]


def test_parts_of_a_window_add_up_to_the_whole() -> None:
    torch.manual_seed(0)
    log_probs, is_target = -torch.rand(8, 5, 3), torch.rand(8, 5) < 0.6
    parts = sum(category_sums(log_probs[i : i + 1], is_target[i : i + 1]) for i in range(8))
    torch.testing.assert_close(parts, category_sums(log_probs, is_target))


def test_a_category_without_targets_is_not_zero_but_not_a_number() -> None:
    nothing = category_sums(-torch.rand(2, 3, 3), torch.zeros(2, 3, dtype=torch.bool)) / torch.tensor(0)
    assert nothing.isnan().all()


def test_an_invalid_target_s_infinity_does_not_reach_the_loss() -> None:
    log_probs = torch.tensor([[[-1.0], [-torch.inf]]])
    assert category_sums(log_probs, torch.tensor([[True, False]])).item() == 1.0


def test_a_loss_that_is_no_number_names_the_step_and_the_category() -> None:
    with pytest.raises(NonFiniteLossError, match=r"step 12: the loss of b is not finite"):
        check_finite(torch.tensor([1.0, torch.nan, 2.0]), NAMES, step=12)


def test_a_finite_loss_passes() -> None:
    check_finite(torch.ones(3), NAMES, step=1)


def test_a_field_s_weight_is_that_of_all_its_categories(tiny_schema: Schema) -> None:
    weights = category_weights(tiny_schema, {"EventDatetime": 3.0}).tolist()
    assert weights == [3.0 if c.field == "EventDatetime" else 1.0 for c in tiny_schema.categories]
    assert weights.count(3.0) == 4


def test_a_weight_of_something_that_is_not_predicted_names_what_is(tiny_schema: Schema) -> None:
    with pytest.raises(ValueError, match=r"--loss-weights names Colour; the fields that are predicted are Kind, .*"):
        category_weights(tiny_schema, {"Colour": 3.0})
