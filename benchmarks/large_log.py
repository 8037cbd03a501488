"""A log larger than memory: what preparing it and training on it take, by its size.

python -m benchmarks.large_log --out DIR

Simulates independent populations of the workforce schema (``training/simulate.py`` says how each is
drawn), one CSV file each; together they are a log of that many companies, whose events interleave
in time and whose ids start with the number of the company. One file, and then all of them, are
prepared and trained on for a few steps, each in a process of its own. Memory that grows with the
log shows as the difference between the two. Files that are there already are not simulated again;
their names say of what size they are.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import tyro

from benchmarks.markdown import heading, row
from benchmarks.process_memory import MEBIBYTE, process_memory
from eventmodel.event_log import EventLog
from training.errors import exit_on_user_error
from training.simulation.population import Population
from training.simulation.records import log_frame
from training.simulation.simulator import simulate

NAMES = ("ActorRecordId", "RecipientRecordId", "ApprovedByManagerUserRecordId", "LocationRecordId", "CostCodeRecordId")
"""Fields whose values are a population's own."""
EXTRAPOLATED = 100_000_000


@dataclass(frozen=True)
class LargeLogConfig:
    """Prepare and train on a log larger than memory, and say what it takes."""

    out: Path
    """Directory for the files, the logs and the runs: about 300 bytes per event."""
    populations: int = 8
    """Files."""
    employees: int = 2000
    """Of each population."""
    sites: int = 30
    """Of each population."""
    days: int = 420
    """Length of the log."""
    steps: int = 20
    """Training steps, of the quickstart preset."""


@dataclass(frozen=True)
class Measured:
    """What a process took."""

    seconds: float
    peak: int
    """Largest resident set in bytes, pages of mapped files included: the system takes those back when it needs them."""
    peak_own: int
    """The same without pages of files."""


def main() -> None:
    """Simulate, prepare, train, print."""
    config = tyro.cli(LargeLogConfig, prog="python -m benchmarks.large_log")
    with exit_on_user_error():
        files = [write_population(config, number) for number in range(config.populations)]
        columns = ("log", "step", "seconds", "peak memory", "without mapped pages", "on disk")
        print(heading(columns, left=(0, 1)), flush=True)
        small = measure(config, "one", files[:1])
        large = measure(config, "all", files)
        print(f"\nAt {EXTRAPOLATED:,} events, by the line through these two:")
        for step in ("prepare", "train"):
            (n, one), (m, all_) = ((size, of[step]) for size, of in (small, large))
            slope = (all_.peak_own - one.peak_own) / (m - n)
            peak = all_.peak_own + slope * (EXTRAPOLATED - m)
            print(f"{step}: {slope:.1f} bytes per event, {peak / MEBIBYTE:,.0f} MiB without mapped pages")


def write_population(config: LargeLogConfig, number: int) -> Path:
    """One population's events as a file."""
    config.out.mkdir(parents=True, exist_ok=True)
    size = f"{config.employees}-employees-{config.sites}-sites-{config.days}-days"
    path = config.out / f"events-{size}-{number:02d}.csv"
    if not path.exists():
        began = time.monotonic()
        rng = np.random.default_rng(number)
        people = Population.draw(rng, config.employees, config.sites, config.days)
        frame = log_frame(people, simulate(rng, people, config.days, anomaly_rate=0.0))
        frame = frame.with_columns((f"P{number:02d}-" + pl.col(name)).alias(name) for name in NAMES)
        draft = path.with_suffix(".writing")
        frame.write_csv(draft, datetime_format="%Y-%m-%dT%H:%M:%S")
        draft.rename(path)
        print(f"{path}: {frame.height:,} events in {time.monotonic() - began:.0f} s", flush=True)
    return path


def measure(config: LargeLogConfig, name: str, files: Sequence[Path]) -> tuple[int, dict[str, Measured]]:
    """Prepare the files and train on the log.

    Returns:
        Number of events, and what each step took.
    """
    log, run = config.out / f"log-{name}", config.out / f"run-{name}"
    shutil.rmtree(run, ignore_errors=True)
    steps = str(config.steps)
    few = ["--device", "cpu", "--steps", steps, "--eval-every", steps, "--eval-samples", "512", "--test-samples", "512"]
    commands = {
        "prepare": ["training.prepare", "--schema", "workforce", "--input", *map(str, files), "--out", str(log)],
        "train": ["training.run", "--data", str(log), "--out", str(run), "--preset", "quickstart", *few],
    }
    found = {}
    for step, command in commands.items():
        found[step] = run_measured([sys.executable, "-m", *command], config.out / f"{step}-{name}.txt")
        n = len(EventLog.load(log).events.timestamp)
        size = sum(file.stat().st_size for file in (log.iterdir() if step == "prepare" else run.rglob("*")))
        peak, own, disk = (f"{amount / MEBIBYTE:,.0f} MiB" for amount in (found[step].peak, found[step].peak_own, size))
        cells = (f"{n:,} events", step, f"{found[step].seconds:,.0f}", peak, own)
        print(row((*cells, f"{disk} ({size / n:.0f} bytes per event)")), flush=True)
    return n, found


def run_measured(command: Sequence[str], output: Path) -> Measured:
    """Run a program to its end.

    Raises:
        ValueError: it failed; the message names what it wrote.
    """
    began, peak, own = time.monotonic(), 0, 0
    with output.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, process_memory(process.pid, "VmHWM"))  # not getrusage's, which begins with the parent's
            own = max(own, process_memory(process.pid, "RssAnon"))
            time.sleep(0.05)
    if process.returncode:
        raise ValueError(f"{' '.join(command[2:5])} failed; see {output}")
    return Measured(time.monotonic() - began, peak, own)


if __name__ == "__main__":
    main()
