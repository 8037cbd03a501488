"""The loss: cross-entropy, summed over categories."""

import torch
from torch import Tensor


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
        bad = [name for name, mean in zip(names, means.tolist(), strict=True) if not torch.isfinite(torch.tensor(mean))]
        raise NonFiniteLossError(
            f"step {step}: the loss of {', '.join(bad)} is not finite; the last checkpoint is intact. "
            "Lower --learning-rate, or use --precision fp32"
        )
