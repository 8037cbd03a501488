"""The same network on ``nn.Transformer`` modules, to compare with: as wide, as deep, as many weights."""

from typing import Any

import torch
from torch import Tensor, nn

from eventmodel.config import ModelConfig
from eventmodel.layers import RMSNorm
from eventmodel.model import EventModel
from eventmodel.predictor import KVCache


def use_stock_modules(model: EventModel) -> None:
    """Replace the stream encoders and the event predictor."""
    config = model.config
    model.streams = nn.ModuleList(
        StockEncoder(config, s.history_length(config.context_length)) for s in model.schema.streams
    )
    model.predictor = StockPredictor(config)  # type: ignore[assignment]


class StockEncoder(nn.Module):
    """In place of ``StreamEncoder``."""

    def __init__(self, config: ModelConfig, max_events: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(config.d_model))
        self.position = nn.Parameter(torch.randn(max_events + 1, config.d_model) * 0.02)
        layer = nn.TransformerEncoderLayer(**_arguments(config))
        self.layers = nn.TransformerEncoder(layer, config.encoder_layers, enable_nested_tensor=False)
        self.norm = RMSNorm(config.d_model)

    def forward(self, events: Tensor, length: Tensor, history: Tensor) -> Tensor:
        """As ``StreamEncoder.forward``."""
        x = torch.cat((self.start.expand(len(events), 1, -1), events), 1)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], x.device)
        y = self.layers(x + self.position[: x.shape[1]], mask, is_causal=True)
        states: Tensor = self.norm(y[history, length])
        return states


class StockPredictor(nn.Module):
    """In place of ``EventPredictor``; NOW is a token like others."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        length = config.focus_events + config.target_length + 1
        self.position = nn.Parameter(torch.randn(length, config.d_model) * 0.02)
        layer = nn.TransformerDecoderLayer(**_arguments(config))
        self.layers = nn.TransformerDecoder(layer, config.decoder_layers)
        self.norm = RMSNorm(config.d_model)

    def forward(self, x: Tensor, is_token: Tensor, memory: Tensor, is_filled: Tensor) -> tuple[Tensor, KVCache]:
        """As ``EventPredictor.forward``."""
        place = torch.arange(x.shape[1], device=x.device)
        is_causal = place <= place[:, None]
        may_read = (is_causal & is_token[:, None]) | (place == place[:, None])  # (B, Q, Q)
        mask = ~may_read.repeat_interleave(self.n_heads, 0)
        y = self.layers(x + self.position[: x.shape[1]], memory, mask, memory_key_padding_mask=~is_filled)
        return self.norm(y), KVCache((), ())


def _arguments(config: ModelConfig) -> dict[str, Any]:
    return {
        "d_model": config.d_model,
        "nhead": config.n_heads,
        "dim_feedforward": 4 * config.d_model,
        "dropout": config.dropout,
        "activation": "gelu",
        "batch_first": True,
        "norm_first": True,
    }
