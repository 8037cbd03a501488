"""What a run needs beside the weights to go on as if it had never stopped."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim import AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau

STATE = "training.json"
TENSORS = "training.safetensors"


@dataclass
class Standing:
    """Where a run is."""

    step: int = 0
    """Optimizer steps done; batches, and what dropout drops, are functions of it."""
    elapsed_s: float = 0.0
    """Training time so far, over all resumptions."""
    best_loss: float = float("inf")
    """Lowest validation loss so far."""
    peak_rate: float = 0.0
    """Learning rate before warm-up and final decay: what ReduceLROnPlateau acts on."""
    parts: tuple[int, ...] = ()
    """Where the log's parts end, which say what a batch is and what a loss is of; empty where a run did not note it."""


def write_state(draft: Path, standing: Standing, optimizer: AdamW, scheduler: ReduceLROnPlateau) -> None:
    """Write optimizer, scheduler and where the run is into a checkpoint's directory."""
    state = optimizer.state_dict()
    tensors = {
        f"optimizer.{index}.{name}": value.detach().cpu().contiguous()
        for index, values in state["state"].items()
        for name, value in values.items()
    }
    save_file(tensors, draft / TENSORS)
    document = {"progress": asdict(standing), "groups": state["param_groups"], "scheduler": scheduler.state_dict()}
    (draft / STATE).write_text(json.dumps(document), "utf-8")


def read_state(path: Path, optimizer: AdamW, scheduler: ReduceLROnPlateau) -> Standing:
    """Restore what ``write_state`` wrote.

    Raises:
        ValueError: the directory holds a model but no training state, or a damaged one.
    """
    try:
        document = json.loads((path / STATE).read_text("utf-8"))
        tensors = load_file(path / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{path} holds no training state ({error}); resume from RUN/last") from None
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        _, index, name = key.split(".", 2)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": document["groups"]})
    scheduler.load_state_dict(document["scheduler"])
    progress = document["progress"]
    return Standing(**progress | {"parts": tuple(progress.get("parts", ()))})
