"""The decoder: states and the focus's newest events to one hidden vector per position.

Shapes: B samples, Q sequence positions, S memory tokens, H heads, D d_model, d head width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eventmodel.config import ModelConfig
from eventmodel.layers import DecoderBlock, KeyValue


class Read(NamedTuple):
    """What the decoder has read: all that one more position needs of it, per block."""

    past: tuple[KeyValue, ...]  # (B, H, Q, d) each
    memory: tuple[KeyValue, ...]  # (B, H, S, d) each


class EventPredictor(nn.Module):
    """Decoder with causal self-attention, and cross-attention to the memory of states."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        max_length = config.focus_events + config.target_length + 1
        self.blocks = nn.ModuleList(DecoderBlock(config, max_length) for _ in range(config.decoder_layers))
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)

    def forward(self, x: Tensor, is_token: Tensor, memory: Tensor, is_filled: Tensor) -> tuple[Tensor, Read]:
        """Hidden vectors (B, Q, D) of a whole sequence.

        Args:
            x: (B, Q, D), the sequence.
            is_token: (B, Q) bool; False = left padding.
            memory: (B, S, D).
            is_filled: (B, S) bool; False = an empty slot.
        """
        position = torch.arange(x.shape[1], device=x.device)
        causal = position <= position[:, None]  # (Q, Q)
        itself = position == position[:, None]  # padding sees itself: a row without keys gives NaN
        mask = ((causal & is_token[:, None, :]) | itself)[:, None]
        past, memories = [], []
        for block in self.blocks:
            assert isinstance(block, DecoderBlock)
            memories.append(block.cross.read(memory))
            x, own = block.read(x, mask, memories[-1], is_filled)
            past.append(own)
        return self.norm(x), Read(tuple(past), tuple(memories))

    def step(
        self, x: Tensor, position: Tensor, read: Read, is_token: Tensor, is_filled: Tensor
    ) -> tuple[Tensor, Sequence[KeyValue]]:
        """The hidden vector (B, 1, D) of one position more, and what it adds to each block's past.

        Args:
            x: (B, 1, D).
            position: (1,) int64, its place in the sequence.
            read: of the positions before; there may be room for more of them than there are.
            is_token: (B, Q) bool, of the past; False = padding, or room.
            is_filled: (B, S) bool.
        """
        added = []
        for block, past, memory in zip(self.blocks, read.past, read.memory, strict=True):
            assert isinstance(block, DecoderBlock)
            x, own = block.step(x, position, past, is_token, memory, is_filled)
            added.append(own)
        return self.norm(x), added
