"""The decoder: states and the focus's newest events to one hidden vector per position.

Shapes: B samples, Q sequence positions, S slots, D d_model.
"""

import torch
from torch import Tensor, nn

from eventmodel.config import ModelConfig
from eventmodel.layers import Block


class EventPredictor(nn.Module):
    """Decoder with causal self-attention, and cross-attention to the memory of states."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        max_length = config.focus_events + config.target_length + 1
        self.blocks = nn.ModuleList(Block(config, max_length, cross=True) for _ in range(config.decoder_layers))
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)

    def forward(self, x: Tensor, is_token: Tensor, memory: Tensor, is_filled: Tensor) -> Tensor:
        """Hidden vectors (B, Q, D).

        Args:
            x: (B, Q, D), the sequence.
            is_token: (B, Q) bool; False = left padding.
            memory: (B, S, D).
            is_filled: (B, S) bool; False = an empty slot.
        """
        position = torch.arange(x.shape[1], device=x.device)
        causal = position <= position[:, None]  # (Q, Q)
        itself = position == position[:, None]  # padding sees itself: a row without keys gives NaN
        mask = (causal & is_token[:, None, :]) | itself
        for block in self.blocks:
            x = block(x, mask[:, None], memory, is_filled)
        return self.norm(x)
