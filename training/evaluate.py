"""Evaluate checkpoints: how right, how sure, and how much better than counting.

python -m training.evaluate --checkpoint RUN/best [RUN2/best ...] --out DIR

Event-triggered (now is the focus's last event), first target, chronological test part, every
category over its full vocabulary. Several checkpoints are several seeds: each number is then a
mean and a spread. Prints tables; writes metrics.json and report.html into DIR.
"""

import json
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from rich.console import Console

from eventmodel.checkpoint import Checkpoint, load_checkpoint
from eventmodel.codec import Moment
from eventmodel.directory import check_place, write_directory
from eventmodel.engine.backend import DeviceName
from eventmodel.event_log import EventLog
from training.device import device_of
from training.errors import exit_on_user_error
from training.evaluation import Scores, choose, score, thin
from training.evaluation.baselines import score_baselines
from training.evaluation.html_report import render
from training.evaluation.loss_curves import read_loss_curves
from training.evaluation.oracle import Oracle, summarise_gap
from training.evaluation.summary import summarise
from training.evaluation.table import print_summary
from training.evaluation.time_quantiles import BATCH, measure_coverage, summarise_coverage
from training.log_of_checkpoint import check_fits
from training.progress import bars
from training.sampling import Sampler

METRICS = "metrics.json"
REPORT = "report.html"
CHUNK = 2_048
"""Targets between two movements of the progress bar."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure checkpoints on the newest part of a log, beside baselines that count."""

    checkpoint: tuple[Path, ...]
    """Checkpoints of runs, as RUN/best; several are seeds of one model, and give mean and spread."""
    data: Path | None = None
    """Prepared log; by default the one that the first checkpoint was trained on."""
    out: Path | None = None
    """Directory for metrics.json and report.html; by default evaluation-PART beside the first checkpoint."""
    part: Literal["test", "validation"] = "test"
    """Part of the log. Calibration and the baselines' smoothing were fitted on the validation part."""
    samples: int = 0
    """Targets, spread evenly over the part; 0 is all of them."""
    oracle: Path | None = None
    """The .oracle file beside a log of training.simulate: measure on the events that it covers, and report
    how far above the lowest possible loss the model is."""
    quantile_samples: int = 1_000
    """Targets, spread evenly, whose time is compared with its quantiles: 200 events are sampled for each; 0
    leaves it out."""
    device: DeviceName = "auto"
    """Where the model runs."""

    def __post_init__(self) -> None:
        if not self.checkpoint:
            raise ValueError("--checkpoint names no checkpoint; name one or more, as RUN/best")
        if self.samples < 0:
            raise ValueError(f"samples is {self.samples}; the least is 0, which is all of them")
        if self.quantile_samples < 0:
            raise ValueError(f"quantile_samples is {self.quantile_samples}; the least is 0, which is none")


def evaluate(config: EvaluateConfig, console: Console) -> dict[str, Any]:
    """Measure, and write metrics.json and report.html.

    Args:
        console: for progress.

    Returns:
        What metrics.json holds; ``training/evaluation/summary.py`` documents it.

    Raises:
        ValueError: a checkpoint or the log cannot be read, or they do not belong together.
        OSError: the directory cannot be written.
    """
    checkpoints = [load_checkpoint(path) for path in config.checkpoint]
    data = config.data or Path(checkpoints[0].training["data"])
    if config.data is None and not data.exists():
        raise ValueError(f"{config.checkpoint[0]} was trained on {data}, which is not there; name its log with --data")
    out = config.out or config.checkpoint[0].parent / f"evaluation-{config.part}"
    log = EventLog.load(data)
    for path, checkpoint in zip(config.checkpoint, checkpoints, strict=True):
        check_fits(checkpoint, path, log, data)
    oracle = Oracle.read(config.oracle, log) if config.oracle else None
    positions = _positions(config, log, checkpoints[0], oracle)
    device = device_of(config.device)
    check_place(out, replaces=METRICS)  # before minutes of measuring

    timed = thin(positions, config.quantile_samples)
    with _progress(console) as task:
        runs, coverage = [], []
        for path, checkpoint in zip(config.checkpoint, checkpoints, strict=True):
            sampler = Sampler(log, checkpoint.model.config, *log.part("all"))
            model = checkpoint.model.to(device)
            chunks = [positions[start : start + CHUNK] for start in range(0, len(positions), CHUNK)]
            advance = task(str(path), len(chunks))
            scored = []
            for chunk in chunks:
                scored.append(score(model, sampler, chunk, device))
                advance()
            runs.append(_joined(scored))
            if len(timed):
                advance = task("times", -(-len(timed) // BATCH))
                coverage.append(measure_coverage(model, sampler, timed, device, advance=advance))
        baselines = score_baselines(log, positions, advance=task("baselines", len(log.schema.categories)))

    summary = {"provenance": _provenance(config, data, log, positions, checkpoints)}
    summary |= summarise(log, positions, runs, baselines)
    if oracle is not None:
        summary["oracle"] = summarise_gap(log, oracle.nll[:, oracle.find(log, positions)], runs)
    if coverage:
        summary["coverage"] = summarise_coverage(coverage)
    curves = [read_loss_curves(path) for path in config.checkpoint]
    with console.status("writing the report"), write_directory(out, replaces=METRICS) as draft:
        (draft / METRICS).write_text(json.dumps(summary, allow_nan=False, indent=1), "utf-8")
        (draft / REPORT).write_text(render(summary, curves), "utf-8")
    console.print(f"{out / METRICS}\n{out / REPORT}", soft_wrap=True, highlight=False, markup=False)
    return summary


def _positions(config: EvaluateConfig, log: EventLog, checkpoint: Checkpoint, oracle: Oracle | None) -> np.ndarray:
    """The events before the targets, in the order of time."""
    sampler = Sampler(log, checkpoint.model.config, *log.part(config.part))
    if len(sampler) == 0:
        raise ValueError(
            f"the {config.part} part holds no event with a predecessor of the same {log.schema.focus}; "
            "prepare a longer log"
        )
    positions = choose(sampler, len(sampler))
    if oracle is not None:
        positions = positions[oracle.find(log, positions) >= 0]
        if len(positions) == 0:
            raise ValueError(
                f"{config.oracle} covers no event of the {config.part} part; an oracle covers the test part"
            )
    return thin(positions, config.samples or len(positions))


def _joined(parts: Sequence[Scores]) -> Scores:
    """Scores of consecutive targets as one."""
    label = np.concatenate([part.label for part in parts])
    rest = fields(Scores)[1:]
    return Scores(label, *(np.concatenate([getattr(part, field.name) for part in parts], axis=1) for field in rest))


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int], Callable[[], None]]]:
    """Yield a function that adds a task of so many steps and returns what moves it by one."""
    with bars(console) as progress:

        def task(name: str, steps: int) -> Callable[[], None]:
            number = progress.add_task(name, total=steps)
            return lambda: progress.advance(number)

        yield task


def _provenance(
    config: EvaluateConfig, data: Path, log: EventLog, positions: np.ndarray, checkpoints: Sequence[Checkpoint]
) -> dict[str, Any]:
    """Where the numbers come from."""
    targets = log.focus.rows[positions + 1]
    timestamp = log.events.timestamp[targets]  # a log that is split by entity is not in the order of time
    first, last = (
        Moment(int(timestamp[i]), int(log.events.utc_offset[targets[i]])).wall.isoformat(timespec="seconds")
        for i in (timestamp.argmin(), timestamp.argmax())
    )
    return {
        "command": shlex.join(["python", "-m", "training.evaluate", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "schema": log.schema.name,
        "focus": log.schema.focus,
        "data": str(data),
        "part": config.part,
        "targets": len(positions),
        "first_target": first,
        "last_target": last,
        "oracle": str(config.oracle) if config.oracle else None,
        "protocol": f"now is the last event of the focus ({log.schema.focus}); the target is the one after it",
        "checkpoints": [
            {
                "path": str(path),
                "step": checkpoint.step,
                "seed": checkpoint.training["seed"],
                "weights": sum(weight.numel() for weight in checkpoint.model.parameters()),
                "training": checkpoint.training,
            }
            for path, checkpoint in zip(config.checkpoint, checkpoints, strict=True)
        ],
        "versions": {
            "event-predictor": metadata.version("event-predictor"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "machine": platform.machine(),
    }


def main() -> None:
    """Read the command line, measure, print."""
    with exit_on_user_error():
        config = tyro.cli(EvaluateConfig, prog="python -m training.evaluate")
        summary = evaluate(config, Console(stderr=True))
        wide = Console(width=None if sys.stdout.isatty() else 100)
        print_summary(summary, wide)


if __name__ == "__main__":
    main()
