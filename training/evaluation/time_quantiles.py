"""How well a model's time quantiles hold: how often the next event really comes by them.

The same sampling as behind the field ``quantiles`` of a request, on targets of a log. Ids know
minutes and no seconds, so the real time and the quantiles are compared by the minute. Times come
in lumps (a shift begins at eight), so at level q the share of events *before* the quantile is at
most q and the share *not after* it at least q where the model is right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from eventmodel.codec import MICROSECONDS
from eventmodel.engine import Engine
from eventmodel.engine.times import quantiles
from eventmodel.engine.torch_backend import TorchBackend
from eventmodel.model import EventModel
from training.evaluation.metrics import spread
from training.sampling import Sampler

LEVELS = (0.1, 0.5, 0.9)
BATCH = 64
"""Targets at a time."""
MINUTE = 60 * MICROSECONDS


@dataclass(frozen=True)
class Coverage:
    """What became of the quantiles at ``LEVELS`` of n next events."""

    n: int
    not_after: tuple[float, ...]
    """Per level, the share of events that came at the quantile or before it; at least the level, if all is well."""
    before: tuple[float, ...]
    """Per level, the share of events that came before the quantile; at most the level, if all is well."""
    mean_width_hours: float
    """From the lowest quantile to the highest one."""
    median_width_hours: float


def measure_coverage(
    model: EventModel,
    sampler: Sampler,
    positions: np.ndarray,
    device: torch.device,
    advance: Callable[[], object] = lambda: None,
) -> Coverage:
    """Compare quantiles with what happened; event-triggered, first target.

    Args:
        model: calibrated; it is left in eval mode.
        positions: (n,) the events before the targets, at least one.
        advance: called when ``BATCH`` more targets are done.
    """
    found = np.concatenate(_quantiles(model, sampler, positions, device, advance))
    real = sampler.log.events.timestamp[sampler.log.focus.rows[positions + 1], None]
    width = (found[:, -1] - found[:, 0]) / (60 * MINUTE)
    return Coverage(
        n=len(positions),
        not_after=tuple((real // MINUTE <= found // MINUTE).mean(0).tolist()),
        before=tuple((real // MINUTE < found // MINUTE).mean(0).tolist()),
        mean_width_hours=float(width.mean()),
        median_width_hours=float(np.median(width)),
    )


def summarise_coverage(runs: Sequence[Coverage]) -> dict[str, Any]:
    """As metrics.json has it: of one or several checkpoints on the same targets."""
    return {
        "n": runs[0].n,
        "levels": {
            str(level): {
                "not_after": spread([run.not_after[i] for run in runs]),
                "before": spread([run.before[i] for run in runs]),
            }
            for i, level in enumerate(LEVELS)
        },
        "mean_width_hours": spread([run.mean_width_hours for run in runs]),
        "median_width_hours": spread([run.median_width_hours for run in runs]),
    }


def _quantiles(
    model: EventModel,
    sampler: Sampler,
    positions: np.ndarray,
    device: torch.device,
    advance: Callable[[], object],
) -> list[np.ndarray]:
    """Batch by batch (B, levels) microseconds."""
    engine = Engine(sampler.log.codec, model.config, model.months, TorchBackend.of_model(model, device))
    result = []
    for start in range(0, len(positions), BATCH):
        nows = sampler.at_last_event(positions[start : start + BATCH])
        batch, _ = sampler.batch(nows, n_targets=1)
        decoding = engine.read(batch)
        everything = np.ones(decoding.log_probs.shape, bool)
        moments = engine.sample_moments(decoding, np.arange(len(decoding)), nows.timestamp, everything)
        result.append(quantiles(moments, LEVELS))
        advance()
    return result
