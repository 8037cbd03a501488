"""Transformer blocks on scaled dot-product attention.

Our own, because the stock ``nn.TransformerDecoder`` neither traces nor exports with dynamic
shapes, and ``nn.TransformerEncoder`` changes shapes on its fast path in eval mode.

Shapes: B batch, Q queries, K keys, H heads, D d_model, d head width.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from eventmodel.config import ModelConfig

_EPS = 1e-6
"""Of the norms: keeps a vector of zeros finite."""


class KeyValue(NamedTuple):
    """What attention compares with, and what it takes from there; keys are rotated already."""

    keys: Tensor  # (B, H, K, d)
    values: Tensor  # (B, H, K, d)


class RMSNorm(nn.RMSNorm):
    """Root mean square norm (Zhang and Sennrich 2019, arXiv 1910.07467) with a gain."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., D) to the same shape."""
        if torch.compiler.is_exporting():
            # written so that ONNX Runtime takes it for one operation: the exporter's own seven are not recognised
            return x / (x.pow(2).mean(-1, keepdim=True) + _EPS).sqrt() * self.weight
        # in training only: no exporter takes a function with a gradient of its own, and a compiler makes its own
        is_eager = self.training and not torch.compiler.is_compiling()
        if is_eager and x.device.type == "cpu" and x.dtype == torch.float32:
            normed: Tensor = _CPUTrainedNorm.apply(x, self.weight)  # type: ignore[no-untyped-call]
            return normed
        return super().forward(x)


class _CPUTrainedNorm(torch.autograd.Function):
    """The norm and its gradient in half of the passes over memory: torch has it in one piece on a GPU only."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor) -> Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(_EPS).rsqrt_()
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        return unit * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        unit, scale, weight = ctx.saved_tensors
        along = gradient * unit
        # what is left of the gradient when its part along x is taken away: the norm does not see it
        away = (gradient * weight).addcmul_(unit, (along @ weight)[..., None], value=-1 / unit.shape[-1])
        return away.mul_(scale), along.flatten(0, -2).sum(0)


class Rotary(nn.Module):
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864): rotates pairs by position.

    Of all heads together, before they are split: long rows that a processor reads in one go.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, max_length: int) -> None:
        super().__init__()
        n_heads, head_dim = config.n_heads, config.head_dim
        self.halves = (n_heads, 2, head_dim // 2)
        frequency = 10_000.0 ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        angle = torch.arange(max_length, dtype=torch.float64)[:, None] * frequency  # (max_length, d/2)
        cos, sin = angle.cos().float(), angle.sin().float()
        # a pair (a, b) becomes (a cos - b sin, b cos + a sin); b stands half a head after a
        self.register_buffer("cos", torch.cat((cos, cos), 1).repeat(1, n_heads), persistent=False)  # (max_length, D)
        self.register_buffer("sin", torch.cat((-sin, sin), 1).repeat(1, n_heads), persistent=False)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """Rotate x (B, L, D) by positions (L,) or (B, L)."""
        swapped = x.unflatten(-1, self.halves).flip(-2).flatten(-3)
        return torch.addcmul(x * self.cos[position], swapped, self.sin[position]).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention from q (B, H, Q, d) to k and v (B, H, K, d): (B, H, Q, d).

    Args:
        mask: broadcasts to (B, H, Q, K) bool, True = may attend, at least once in a row; None is causal.
    """
    if not torch.compiler.is_exporting():
        # no dropout of its weights: with it, a CPU has no fused attention, and writes them all down
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    # the exporter's own has ten operations more, half of them on shapes
    if mask is None:
        place = torch.arange(q.shape[2], device=q.device)
        mask = place <= place[:, None]
    score = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5 + torch.where(mask, 0.0, -torch.inf)
    return score.softmax(-1) @ v


class SelfAttention(nn.Module):
    """Multi-head self-attention with rotary positions."""

    def __init__(self, config: ModelConfig, rotary: Rotary) -> None:
        super().__init__()
        self.n_heads, self.head_dim = config.n_heads, config.head_dim
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)
        self.rotary = rotary

    def forward(self, x: Tensor, position: Tensor, mask: Tensor | None) -> tuple[Tensor, KeyValue]:
        """Attend within x (B, L, D).

        Args:
            position: (L,) int64.
            mask: (B, 1, L, L) bool, True = may attend; None is causal.

        Returns:
            (B, L, D), and what later positions will attend to.
        """
        q, k, v = self._qkv(x, position)  # (B, H, L, d)
        return self._merge(attend(q, k, v, mask)), KeyValue(k, v)

    def step(self, x: Tensor, position: Tensor, past: KeyValue, mask: Tensor) -> tuple[Tensor, KeyValue]:
        """Attend from one new position to the past and to itself.

        The past may have room for more positions than there are: a buffer of one shape is passed
        from step to step, read and never copied.

        Args:
            x: (B, 1, D).
            position: (1,) int64, of x.
            mask: (B, K) bool, True = a past position that may be attended to.

        Returns:
            (B, 1, D), and the new position's own key and value (B, H, 1, d).
        """
        q, k, v = self._qkv(x, position)  # (B, H, 1, d)
        earlier = (q @ past.keys.transpose(-1, -2)).masked_fill(~mask[:, None, None], -torch.inf)  # (B, H, 1, K)
        itself = (q * k).sum(-1, keepdim=True)
        weight = (torch.cat((earlier, itself), -1) * self.head_dim**-0.5).softmax(-1, torch.float32).to(v.dtype)
        y = weight[..., :-1] @ past.values + weight[..., -1:] * v
        return self._merge(y), KeyValue(k, v)

    def last(self, x: Tensor, index: Tensor) -> Tensor:
        """What causal attention gives at one position of each row, without computing the others.

        Args:
            x: (B, L, D).
            index: (B,) int64, the position.

        Returns:
            (B, 1, D).
        """
        d_model = x.shape[2]
        at = index[:, None, None].expand(-1, 1, d_model)
        q_weight, kv_weight = self.qkv.weight.split((d_model, 2 * d_model))
        position = torch.arange(x.shape[1], device=x.device)
        q = self._heads(self.rotary(F.linear(x.gather(1, at), q_weight), index[:, None]))  # (B, H, 1, d)
        k, v = F.linear(x, kv_weight).chunk(2, dim=-1)
        k, v = self._heads(self.rotary(k, position)), self._heads(v)
        mask = position <= index[:, None]
        return self._merge(attend(q, k, v, mask[:, None, None]))

    def _qkv(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self._heads(self.rotary(q, position)), self._heads(self.rotary(k, position)), self._heads(v)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, self.head_dim)).transpose(1, 2)

    def _merge(self, x: Tensor) -> Tensor:
        return self.out(x.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Multi-head attention to a memory without an order."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.head_dim = config.n_heads, config.head_dim
        self.q = nn.Linear(config.d_model, config.d_model, bias=False)
        self.kv = nn.Linear(config.d_model, 2 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def read(self, memory: Tensor) -> KeyValue:
        """Keys and values of a memory (B, K, D); computed once, however often it is attended to."""
        return KeyValue(*(self._heads(t) for t in self.kv(memory).chunk(2, dim=-1)))

    def forward(self, x: Tensor, memory: KeyValue, mask: Tensor) -> Tensor:
        """Attend from x (B, Q, D) to the memory; mask (B, K) bool, True = may attend."""
        y = attend(self._heads(self.q(x)), *memory, mask[:, None, None])
        return self.out(y.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, self.head_dim)).transpose(1, 2)


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202): products of what it reads, as adding two angles needs.

    As many weights as two linear maps around an activation, four times as wide inside.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        inner = max(8 * d_model // 3 // 16, 1) * 16
        self.up = nn.Linear(d_model, 2 * inner, bias=False)
        self.down = nn.Linear(inner, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., D) to the same shape."""
        if torch.compiler.is_exporting():
            # two products: what comes out of one would be copied to be split
            gate, value = (F.linear(x, weight) for weight in self.up.weight.chunk(2))
        else:
            gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class Block(nn.Module):
    """Pre-norm block: self-attention, then feed-forward.

    Args:
        rotary: may be shared by several blocks.
    """

    def __init__(self, config: ModelConfig, rotary: Rotary) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model)
        self.attention = SelfAttention(config, rotary)
        self.feed_forward_norm = RMSNorm(config.d_model)
        self.feed_forward = FeedForward(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, L, D) to the same shape, causally."""
        position = torch.arange(x.shape[1], device=x.device)
        x = x + self.dropout(self.attention(self.attention_norm(x), position, None)[0])
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def last(self, x: Tensor, index: Tensor) -> Tensor:
        """The output at position ``index`` (B,) of each row: (B, D)."""
        at = x.gather(1, index[:, None, None].expand(-1, 1, x.shape[2]))
        at = at + self.dropout(self.attention.last(self.attention_norm(x), index))
        at = at + self.dropout(self.feed_forward(self.feed_forward_norm(at)))
        return at[:, 0]


class DecoderBlock(Block):
    """A block with cross-attention to a memory between the two."""

    def __init__(self, config: ModelConfig, rotary: Rotary) -> None:
        super().__init__(config, rotary)
        self.cross_norm = RMSNorm(config.d_model)
        self.cross = CrossAttention(config)

    def read(
        self, x: Tensor, position: Tensor, mask: Tensor, memory: KeyValue, is_filled: Tensor
    ) -> tuple[Tensor, KeyValue]:
        """All of x (B, L, D) at once; positions and masks as in the attention modules."""
        y, own = self.attention(self.attention_norm(x), position, mask)
        return self._after(x, y, memory, is_filled), own

    def step(
        self, x: Tensor, position: Tensor, past: KeyValue, mask: Tensor, memory: KeyValue, is_filled: Tensor
    ) -> tuple[Tensor, KeyValue]:
        """One new position (B, 1, D); arguments as in the attention modules."""
        y, own = self.attention.step(self.attention_norm(x), position, past, mask)
        return self._after(x, y, memory, is_filled), own

    def _after(self, x: Tensor, attended: Tensor, memory: KeyValue, is_filled: Tensor) -> Tensor:
        x = x + self.dropout(attended)
        x = x + self.dropout(self.cross(self.cross_norm(x), memory, is_filled))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
