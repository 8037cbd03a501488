"""What the tests of training share beside fixtures."""

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import training.trainer
from eventmodel.checkpoint import load_checkpoint
from training.config import TrainConfig
from training.evaluation import Evaluation, evaluate


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Of a checkpoint."""
    return load_checkpoint(path).model.state_dict()


def scalars(run: Path, tag: str) -> list[float]:
    """What TensorBoard shows of a run, step by step."""
    accumulator = EventAccumulator(str(run / "tensorboard")).Reload()
    return [event.value for event in accumulator.Scalars(tag)]


def evaluate_ever_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each evaluation on the validation part be worse than the one before."""
    nats = itertools.count(1.0)

    def worse_and_worse(*arguments: Any) -> Evaluation:
        result = evaluate(*arguments)
        return replace(result, nll=[next(nats)] * len(result.nll), chain_nll=[next(nats)] * len(result.nll))

    monkeypatch.setattr(training.trainer, "evaluate", worse_and_worse)


def command(config: TrainConfig, *more: str) -> list[str]:
    """Arguments of ``training.run`` for the data and directory of this configuration and a model as small."""
    shape = ["d_model=20", "n_heads=2", "encoder_layers=1", "decoder_layers=1", "context_length=13", "dropout=0"]
    shape += ["focus_events=6", "target_length=5"]
    flags = [text for pair in shape for text in ("--model." + pair.split("=")[0].replace("_", "-"), pair.split("=")[1])]
    return ["--data", str(config.data), "--out", str(config.out), "--device", "cpu", *flags, *more]


# standalone: at a port that is free, where another run may have taken torchrun's own
TWO_PROCESSES = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TWO_PROCESSES += ["-m", "training.run"]
