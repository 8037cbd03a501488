"""Accuracy on the flights log: several seeds of a preset, beside the baselines that count.

python -m benchmarks.flights --data LOG --out DIR --preset quickstart --seeds 0 1 2

Event-triggered (now is the aircraft's last event), first target, chronological last tenth.
Prints a Markdown table; a seed that has been trained already is not trained again, and one of another
preset or log is refused.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.machine import machine_name
from benchmarks.markdown import heading, row
from benchmarks.runs import metrics_of_test_part
from eventmodel.event_log import EventLog
from training.config import PRESETS, PresetName, TrainConfig
from training.device import device_of
from training.errors import exit_on_user_error
from training.evaluation import choose
from training.evaluation.baselines import score_baselines
from training.evaluation.metrics import spread
from training.evaluation.table import shown
from training.sampling import Sampler


@dataclass(frozen=True)
class FlightsConfig:
    """Train several seeds and tabulate what they reach on the test part."""

    data: Path
    """The prepared flights log."""
    out: Path
    """Directory for the runs, one per seed."""
    preset: PresetName = "quickstart"
    """What to train."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("--seeds names no seed; name one or more")


def main() -> None:
    """Run and print."""
    with exit_on_user_error():
        run(tyro.cli(FlightsConfig, prog="python -m benchmarks.flights"))


def run(config: FlightsConfig) -> None:
    """Train what is not trained, and print the table.

    Raises:
        ValueError: the log cannot be read or trained on.
    """
    settings: dict[str, Any] = PRESETS[config.preset] | {"test_samples": 1_000_000}
    base = TrainConfig(data=config.data, out=config.out, **settings)
    runs = [metrics_of_test_part(replace(base, out=config.out / f"seed-{s}", seed=s)) for s in config.seeds]
    log = EventLog.load(config.data)
    sampler = Sampler(log, base.model, *log.part("test"))
    positions = choose(sampler, base.test_samples)
    baselines = {name: (found.rank == 1).mean(0) for name, found in score_baselines(log, positions).items()}
    top1, nll = (np.array([run[name] for run in runs]) for name in ("top1", "nll"))
    print(
        f"{config.preset}, seeds {list(config.seeds)}, {len(positions):,} test events, "
        f"torch {torch.__version__}, {machine_name(device_of(base.device))}\n"
    )
    print(heading(("category", "model, mean ± sd", "nll", *baselines)))
    for c, category in enumerate(log.schema.categories):
        model = shown(spread(top1[:, c]), 2, 100)
        others = (f"{column[c] * 100:.2f}" for column in baselines.values())
        print(row((category.name, model, f"{nll[:, c].mean():.3f}", *others)))
    joint = spread([sum(run["chain_nll"]) for run in runs])
    print(f"\nnats per event: marginals {nll.sum(1).mean():.3f}, joint {shown(joint, 3)}")


if __name__ == "__main__":
    main()
