"""How fast a model trains, where the time goes, and beside what.

python -m benchmarks.training

A log of random events is made, no network is needed. All loops of a case take turns, so that their
ratios hold on a shared machine too:

- this: the training loop's own batches, network and optimizer step;
- compiled: the same under torch.compile;
- stock modules: the same batches, and a network of nn.Transformer modules;
- naive data: the same network, on a DataLoader whose samples Python makes event by event;
- naive loop: that, one sample at a time, with every category's loss read at every step.

On a CPU, times are processor time.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch
import tyro

from benchmarks.machine import machine_name
from benchmarks.markdown import heading, row
from benchmarks.process_memory import MEBIBYTE
from benchmarks.training.cases import WIDE_LENGTH, Case, CaseName, Contender, Loop, case_of, widened
from benchmarks.training.measure import (
    COMPILED_STEPS,
    STAGES,
    Measured,
    first_steps,
    flops_of_step,
    measure,
    peak_flops,
)
from benchmarks.training.random_log import random_log
from eventmodel.engine.backend import DeviceName
from eventmodel.event_log import EventLog
from eventmodel.schema import load_schema
from training.device import device_of
from training.errors import exit_on_user_error

DATA_SHEET = {"H100 80GB HBM3": 989.4e12, "H200": 989.4e12, "H100 PCIe": 756e12}
"""Dense bf16 operations per second that the maker promises, by a part of the device's name."""


@dataclass(frozen=True)
class Config:
    """Measure training."""

    cases: tuple[CaseName, ...] = (
        "quickstart",
        "base",
        "large",
        "original",
    )
    """Presets, and the original system's scale: 105 histories of 1,000 events in one sample."""
    loops: tuple[Loop, ...] = ("this", "stock modules", "naive data", "naive loop")
    """What takes turns; "this" is the one that the others are compared with."""
    seconds: float = 20.0
    """Of one case, after the first steps."""
    events: int = 200_000
    """Of the log."""
    device: DeviceName = "auto"
    """Where to train."""

    def __post_init__(self) -> None:
        if "this" not in self.loops:
            raise ValueError("--loops must have 'this', which the others are compared with")


def main(config: Config) -> None:
    """Make the log, measure case by case, print."""
    device = device_of(config.device)
    is_gpu = device.type == "cuda"
    log = random_log(load_schema("workforce"), config.events, names=max(2 * config.events // (3 * WIDE_LENGTH), 8))
    name = machine_name(device)
    peak = peak_flops(device)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {name}, torch {torch.__version__}, {'bf16' if is_gpu else 'fp32'}")
    print(f"a product of matrices reaches {peak / 1e12:.3g} TFLOP/s")
    promised = [flops for part, flops in DATA_SHEET.items() if is_gpu and part in name]
    if promised:
        peak = promised[0]
        print(f"the data sheet promises {peak / 1e12:.0f}: utilisation is of that")
    for case in (case_of(name, is_gpu) for name in config.cases):
        report(case, config.loops, *run_case(case, config.loops, log, device, config.seconds), peak)


def run_case(
    case: Case, loops: Sequence[Loop], log: EventLog, device: torch.device, seconds: float
) -> tuple[list[Measured], float]:
    """All loops of a case in turns.

    Returns:
        What each one took, and the floating-point operations of a step.
    """
    read = replace(log, schema=widened(log.schema)) if case.is_wide else log
    contenders, found = [], []
    for loop in loops:
        contenders.append(Contender(loop, case, read, device))
        found.append(first_steps(contenders[-1]))
    flops = flops_of_step(contenders[loops.index("this")])
    measure(contenders, found, seconds)
    del contenders
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return found, flops


def report(case: Case, loops: Sequence[Loop], found: Sequence[Measured], flops: float, peak: float) -> None:
    """A table of one case."""
    ours = found[loops.index("this")].step_s
    n_samples = case.batch_size * case.accumulation
    print(f"\n{case.name}: {case.batch_size} samples x {case.accumulation}, {flops / 1e9:,.1f} GFLOP per step\n")
    stages = (f"{stage}, ms" for stage in STAGES)
    print(heading(("loop", "steps", *stages, "samples/s", "events/s", "MiB", "utilisation, %", "slower by")))
    for loop, of_loop in zip(loops, found, strict=True):
        stages = (f"{seconds * 1000:,.1f}" for seconds in of_loop.stage_s)
        step_s, n_steps = of_loop.step_s, len(of_loop.stages)
        utilisation = f"{100 * flops / step_s / peak:.1f}" if loop in ("this", "compiled") else ""
        speed = f"{n_samples / step_s:,.4g}", f"{of_loop.n_events / n_steps / step_s:,.0f}"
        rest = f"{of_loop.peak_memory / MEBIBYTE:,.0f}", utilisation, f"{step_s / ours:.2f}"
        print(row((loop, n_steps, *stages, *speed, *rest)), flush=True)
    if "compiled" in loops:
        seconds = found[loops.index("compiled")].first_steps_s
        print(f"\ncompiled: {seconds:,.0f} s until the first {COMPILED_STEPS} steps were done")


if __name__ == "__main__":
    with exit_on_user_error():
        main(tyro.cli(Config, prog="python -m benchmarks.training", description=__doc__))
