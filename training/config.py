"""How a model is trained."""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from eventmodel.config import ModelConfig
from eventmodel.engine.backend import DeviceName


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run, next to the prepared log."""

    data: Path
    """Prepared log, from python -m training.prepare."""
    out: Path
    """Run directory: checkpoints and TensorBoard logs."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Shape of the network."""
    steps: int = 20_000
    """Optimizer steps."""
    max_minutes: float = 0.0
    """Stop after this much training time, evaluations on the way included (the last one and the test
    table come on top); 0 is no limit."""
    batch_size: int = 256
    """Samples of one forward and backward pass, over all processes."""
    neighbours: int = 8
    """Samples of a batch whose focus events follow one another in the log and that share windows of histories;
    fewer where that many do not divide batch_size, 1 where there is no stream but the focus's."""
    accumulation: int = 1
    """Passes per optimizer step."""
    learning_rate: float = 1e-3
    """Peak rate of AdamW, reached after the warm-up; ReduceLROnPlateau lowers it."""
    warmup_steps: int = 200
    """Steps over which the rate rises from 0."""
    decay_share: float = 0.0
    """Last share of the steps (or of max_minutes) over which the rate falls to 0."""
    weight_decay: float = 0.01
    """AdamW's decoupled decay."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm where they exceed it."""
    loss_weights: dict[str, float] = field(default_factory=dict)
    """How much the loss of a field counts, where it matters more to you, or less, than the others, which count 1."""
    entity_masking: float = 0.2
    """Share of ids hidden from a sample's input, consistently within the sample."""
    entity_dropout: float = 0.1
    """Share of context entities (all but the focus) left out of a sample."""
    history_cut: float = 0.1
    """Share of histories cut to a random shorter length, as a client with less data would send."""
    patience: int = 3
    """Evaluations without improvement that are tolerated: at the next one the learning rate is halved."""
    eval_every: int = 500
    """Steps between evaluations on the validation part."""
    eval_samples: int = 4_096
    """Validation events that an evaluation reads."""
    test_samples: int = 40_000
    """Test events that the final table reads."""
    log_every: int = 20
    """Steps between TensorBoard entries."""
    checkpoint_every: int = 5_000
    """Steps between periodic checkpoints, which are kept; best and last are written at evaluations."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16 is autocast with fp32 weights; auto takes it on a GPU and fp32 on a CPU."""
    compile: bool = False
    """Let torch.compile make the steps shorter; it takes minutes at the start, and a C++ compiler on a CPU."""
    device: DeviceName = "auto"
    """Where to train."""
    seed: int = 0
    """Decides the initial weights, every batch and what dropout drops."""
    resume: bool = False
    """Go on from OUT/last, exactly where it stopped."""

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "neighbours",
            "accumulation",
            "eval_every",
            "eval_samples",
            "test_samples",
            "log_every",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; the least is 1")
        for name in ("entity_masking", "entity_dropout", "history_cut", "decay_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share, from 0 to 1")
        for name in ("patience", "max_minutes", "warmup_steps"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in ("learning_rate", "max_grad_norm"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name, weight in self.loss_weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"loss_weights has {weight} for {name}; it must be above 0, and finite")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


PresetName = Literal["quickstart", "workforce", "base", "large"]
PRESETS: dict[PresetName, dict[str, Any]] = {
    "quickstart": {
        "model": ModelConfig(
            d_model=64, n_heads=2, encoder_layers=2, decoder_layers=2, context_length=64, target_length=16, dropout=0.0
        ),
        # small steps: for a few minutes of training, their number matters more than their size
        "batch_size": 32,
        "learning_rate": 4e-3,
        "warmup_steps": 50,
        "decay_share": 0.4,
        "max_minutes": 2.6,
        "test_samples": 10_000,
    },
    # a log in which all that matters is the focus's own newest events, and exactly: little is spent on
    # long histories, more on the decoder and on many targets of each sample; few ids are hidden
    "workforce": {
        "model": ModelConfig(
            d_model=80, n_heads=4, encoder_layers=1, decoder_layers=3, context_length=16, target_length=32, dropout=0.0
        ),
        "batch_size": 16,
        "neighbours": 1,  # of such short histories there is little to share
        "learning_rate": 4e-3,
        "warmup_steps": 100,
        "decay_share": 0.6,
        "max_minutes": 60.0,
        "entity_masking": 0.05,
        "entity_dropout": 0.3,
        "history_cut": 0.02,
        "eval_every": 1500,
        "eval_samples": 2048,
        "steps": 100_000,
    },
    "base": {"model": ModelConfig()},
    "large": {
        "model": ModelConfig(d_model=1024, n_heads=16, encoder_layers=6, decoder_layers=6),
        # 256 samples at once would keep some 90 GB for the backward pass, in bf16
        "batch_size": 64,
        "accumulation": 4,
        "learning_rate": 2e-4,
        "steps": 100_000,
    },
}
"""Sizes to start from; any field can be given beside the preset."""


def changed_fields(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Fields in which a resumed run differs from the saved one, but for those that may differ."""
    may_differ = {"data", "out", "resume", "device", "compile", "steps", "max_minutes"}
    may_differ |= {"log_every", "checkpoint_every", "test_samples"}  # they decide nothing of the training
    return [f.name for f in fields(TrainConfig) if f.name not in may_differ and saved.get(f.name) != now[f.name]]
