"""The loss: cross-entropy, summed over categories."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from eventmodel.schema import Schema


def category_weights(schema: Schema, by_field: Mapping[str, float]) -> Tensor:
    """How much each category's loss counts: (C,), 1 where its field is not named.

    Raises:
        ValueError: a name that is no field with a category.
    """
    fields = [category.field for category in schema.categories]
    if unknown := set(by_field) - set(fields):
        raise ValueError(
            f"--loss-weights names {', '.join(sorted(unknown))}; the fields that are predicted are "
            f"{', '.join(dict.fromkeys(fields))}"
        )
    return torch.tensor([by_field.get(field, 1.0) for field in fields])


def category_sums(log_probs: Tensor, is_target: Tensor) -> Tensor:
    """Negative log-likelihood of each category, summed over the valid targets.

    Args:
        log_probs: (B, T, C) fp32, of the targets.
        is_target: (B, T) bool.

    Returns:
        (C,). Divided by the number of valid targets it is the category's mean; that number is
        counted over everything that one optimizer step reads, because a mean of the parts'
        means would weigh targets unequally.
    """
    return -torch.where(is_target[..., None], log_probs, 0.0).sum((0, 1))


class NonFiniteLossError(RuntimeError):
    """The loss is no number any more."""


def check_finite(means: Tensor, names: list[str], step: int) -> None:
    """Stop a run whose loss is NaN or infinite.

    Raises:
        NonFiniteLossError: names the step and the categories.
    """
    if not torch.isfinite(means).all():
        bad = [name for name, mean in zip(names, means.tolist(), strict=True) if not math.isfinite(mean)]
        raise _diverged(step, f"the loss of {', '.join(bad)}")


def check_weights(model: nn.Module, step: int) -> None:
    """The same by its weights, which may be ahead of the loss that was looked at last.

    Raises:
        NonFiniteLossError: names the step and a weight.
    """
    if bad := next((name for name, weight in model.named_parameters() if not weight.isfinite().all()), None):
        raise _diverged(step, bad)


def _diverged(step: int, what: str) -> NonFiniteLossError:
    return NonFiniteLossError(
        f"step {step}: {what} is not finite; the last checkpoint is intact. "
        "Lower --learning-rate, or use --precision fp32"
    )
