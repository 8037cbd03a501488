"""The shape of the network."""

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the network's shape, next to schema and vocabularies."""

    d_model: int = 128
    """Width of every hidden state."""
    n_heads: int = 4
    """Attention heads; divides d_model."""
    encoder_layers: int = 3
    """Blocks of each stream encoder."""
    decoder_layers: int = 5
    """Blocks of the event predictor."""
    context_length: int = 200
    """Events per history that a stream encoder reads; a stream's max_events may lower it."""
    focus_events: int = 16
    """P: newest events of the focus that the decoder reads; 0 is the original design."""
    target_length: int = 32
    """T: future events trained at once, and the longest horizon."""
    dropout: float = 0.1
    """Share of hidden values, and of the categories of the events read, that are dropped in training."""
    plain: bool = False
    """The original design, to compare with: independent heads that copy nothing, and focus_events 0."""

    def __post_init__(self) -> None:
        if self.plain:
            object.__setattr__(self, "focus_events", 0)  # part of what plain means, and so of what is saved
        for field in fields(self):
            value = getattr(self, field.name)
            least = {"focus_events": 0, "dropout": 0.0, "plain": False}.get(field.name, 1)
            if not value >= least:  # nan neither
                raise ValueError(f"{field.name} is {value}; the least is {least}")
        if self.d_model % self.n_heads or self.d_model // self.n_heads % 2:
            raise ValueError(
                f"d_model {self.d_model} does not split into {self.n_heads} heads of an even width; "
                "choose n_heads so that d_model / n_heads is even"
            )
        if self.dropout >= 1:
            raise ValueError(f"dropout is {self.dropout}; it is a share below 1")

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """Rebuild a saved configuration.

        Raises:
            ValueError: a name that this version does not know, or one that is missing.
        """
        known = {field.name for field in fields(cls)}
        if known != set(values):
            raise ValueError(f"model config does not fit: unknown {set(values) - known}, missing {known - set(values)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
