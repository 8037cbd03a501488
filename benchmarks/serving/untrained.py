"""A bundle to measure speed with: preset base, ONNX, with weights as they were drawn."""

import subprocess
import sys
from pathlib import Path


def make_bundle(directory: Path) -> Path:
    """Simulate a log, prepare it, train for one step and export; minutes, most of them the export.

    Raises:
        subprocess.CalledProcessError: one of them failed.
    """
    log, run, bundle = directory / "log", directory / "run", directory / "bundle"
    events = directory / "events.parquet"
    short = ("--steps", "1", "--batch-size", "8", "--eval-samples", "16", "--test-samples", "16", "--eval-every", "1")
    for module, *arguments in (
        ("training.simulate", "--employees", "500", "--sites", "12", "--days", "120", "--seed", "0", "--out", events),
        ("training.prepare", "--schema", "workforce", "--input", events, "--out", log),
        ("training.run", "--data", log, "--out", run, "--preset", "base", *short),
        ("export.run", "--checkpoint", run / "best", "--out", bundle, "--formats", "onnx"),
    ):
        subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True, stdout=sys.stderr)
    return bundle
