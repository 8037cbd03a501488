"""The checkpoint format: a directory of safetensors and JSON that any part of the project can read.

weights.safetensors   the network
meta.json             format version, model config, schema, vocabularies, step, metrics, versions

Training keeps its own state beside these, in files that only it reads.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from eventmodel.codec import Codec
from eventmodel.config import ModelConfig
from eventmodel.header import Format
from eventmodel.model import EventModel
from eventmodel.schema import Schema

FORMAT = Format(
    "a checkpoint",
    name="event model checkpoint",
    version=4,
    file="meta.json",
    instead="name a directory like RUN/best",
    again="use an earlier checkpoint, or the version of this program that wrote it",
)
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and where it comes from."""

    model: EventModel
    codec: Codec
    step: int
    metrics: dict[str, Any]
    training: dict[str, Any]
    """The training configuration."""
    example: dict[str, Any]
    """A real request, for the bundle."""


def write_checkpoint(draft: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint's files into ``draft``, a directory that ``write_directory`` yields."""
    model, codec = checkpoint.model, checkpoint.codec
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, draft / WEIGHTS)
    meta = {
        **FORMAT.header(),
        "model": model.config.to_dict(),
        "schema": codec.schema.model_dump(mode="json"),
        "vocabularies": {name: list(values) for name, values in codec.vocabularies.items()},
        "step": checkpoint.step,
        "metrics": checkpoint.metrics,
        "training": checkpoint.training,
        "example": checkpoint.example,
        "torch": torch.__version__,
    }
    (draft / FORMAT.file).write_text(json.dumps(meta), "utf-8")


def load_model(directory: Path, config: ModelConfig, codec: Codec) -> EventModel:
    """The network with the weights of a checkpoint or a bundle, on the CPU, in eval mode.

    Raises:
        OSError, SafetensorError, RuntimeError: they are not there, damaged, or of another network.
    """
    model = EventModel(config, codec)
    model.load_state_dict(load_file(directory / WEIGHTS))
    return model.eval()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, in eval mode.

    Raises:
        ValueError: not a checkpoint, of another format, or damaged; the message says which.
    """
    path = Path(path)
    if path.name == "best" and not path.exists() and (other := path.with_name("last")).exists():
        raise ValueError(
            f"{path} is not there: {path.parent} has stopped before it was measured for the first time; "
            f"go on with --resume, or take {other}"
        )
    meta = FORMAT.read(path)
    with FORMAT.reading(path):
        codec = Codec(Schema.model_validate(meta["schema"]), meta["vocabularies"])
        config = ModelConfig.from_dict(meta["model"])
        rest = meta["step"], meta["metrics"], meta["training"], meta["example"]
    try:
        model = load_model(path, config, codec)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged: {error}; {FORMAT.again}") from None
    return Checkpoint(model, codec, *rest)
