"""The loss curves of a run, from the TensorBoard files beside its checkpoints."""

import math
from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {"train": "loss/train", "validation": "loss/validation"}


@dataclass(frozen=True)
class LossCurves:
    """Loss summed over categories, by step; empty where the run has no TensorBoard files."""

    points: dict[str, tuple[list[int], list[float]]]
    """``train`` and ``validation``, as far as there are any: steps and losses."""


def read_loss_curves(checkpoint: Path) -> LossCurves:
    """Of the run that a checkpoint belongs to: RUN/best, or RUN/checkpoints/step-N."""
    for run in (checkpoint.parent, checkpoint.parent.parent):
        if (run / "tensorboard").is_dir():
            events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 2_000}).Reload()
            there = events.Tags()["scalars"]
            points = {}
            for name, tag in TAGS.items():
                # a run that diverged ends in a loss that is no number, behind the checkpoints that it left
                curve = [e for e in events.Scalars(tag) if math.isfinite(e.value)] if tag in there else []
                if curve:
                    points[name] = ([e.step for e in curve], [e.value for e in curve])
            return LossCurves(points)
    return LossCurves({})
