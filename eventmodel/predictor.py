"""The decoder: states and the focus's newest events to one hidden vector per place of the sequence.

NOW is the focus's newest event once more, with what is known of now. It has that event's position
and stands in for it: it does not read it, and no later event reads NOW. So what is learned at the
many places after NOW holds at NOW, the one that serving asks for. Without focus events (P = 0) there
is nothing to stand in for, and NOW is the first of the sequence.

Shapes: B samples, Q sequence positions, S memory tokens, H heads, D d_model, d head width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eventmodel.config import ModelConfig
from eventmodel.layers import DecoderBlock, KeyValue, RMSNorm, Rotary


class KVCache(NamedTuple):
    """Keys and values of what the decoder has read, per block: all that one more position needs of it."""

    past: tuple[KeyValue, ...]  # (B, H, Q, d) each
    memory: tuple[KeyValue, ...]  # (B, H, S, d) each


class EventPredictor(nn.Module):
    """Decoder with causal self-attention, and cross-attention to the memory of states."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.focus_events = config.focus_events
        rotary = Rotary(config, config.focus_events + config.target_length + 1)
        self.blocks = nn.ModuleList(DecoderBlock(config, rotary) for _ in range(config.decoder_layers))
        self.norm = RMSNorm(config.d_model)

    def forward(self, x: Tensor, is_token: Tensor, memory: Tensor, is_filled: Tensor) -> tuple[Tensor, KVCache]:
        """Hidden vectors (B, Q, D) of a whole sequence.

        Args:
            x: (B, Q, D), the sequence.
            is_token: (B, Q) bool; False = left padding.
            memory: (B, S, D).
            is_filled: (B, S) bool; False = an empty slot.
        """
        place = torch.arange(x.shape[1], device=x.device)
        position = self._position(place)
        may_read = place <= place[:, None]  # (Q, Q)
        if p := self.focus_events:
            is_now, is_newest = place == p, place == p - 1
            may_read = may_read & ~is_now & ~(is_now[:, None] & is_newest)
        itself = place == place[:, None]  # also of padding: a row without keys gives NaN
        mask = ((may_read & is_token[:, None, :]) | itself)[:, None]
        past, memories = [], []
        for block in self.blocks:
            assert isinstance(block, DecoderBlock)
            memories.append(block.cross.read(memory))
            x, own = block.read(x, position, mask, memories[-1], is_filled)
            past.append(own)
        return self.norm(x), KVCache(tuple(past), tuple(memories))

    def step(
        self, x: Tensor, place: Tensor, cache: KVCache, is_token: Tensor, is_filled: Tensor
    ) -> tuple[Tensor, Sequence[KeyValue]]:
        """The hidden vector (B, 1, D) of one event more, and what it adds to each block's past.

        Args:
            x: (B, 1, D).
            place: (1,) int64, in the sequence.
            cache: of the places before; there may be room for more of them than there are.
            is_token: (B, Q) bool, of the past; False = padding, or room.
            is_filled: (B, S) bool.
        """
        position = self._position(place)
        if p := self.focus_events:
            is_token = is_token & (torch.arange(is_token.shape[1], device=x.device) != p)
        added = []
        for block, past, memory in zip(self.blocks, cache.past, cache.memory, strict=True):
            assert isinstance(block, DecoderBlock)
            x, own = block.step(x, position, past, is_token, memory, is_filled)
            added.append(own)
        return self.norm(x), added

    def _position(self, place: Tensor) -> Tensor:
        """NOW has the newest event's position, and the events after it go on from there."""
        return place - (place >= self.focus_events).long() if self.focus_events else place
