"""Trainings that a benchmark needs: each is done once, and an interrupted one goes on."""

import json
from dataclasses import replace
from typing import Any

from training.config import TrainConfig
from training.run import train


def metrics_of_test_part(config: TrainConfig) -> dict[str, Any]:
    """Train unless it is done, and return the evaluation of the test part."""
    meta = config.out / "best" / "meta.json"
    if not meta.is_file() or "test" not in json.loads(meta.read_text())["metrics"]:
        train(replace(config, resume=(config.out / "last").exists()))
    metrics: dict[str, Any] = json.loads(meta.read_text())["metrics"]["test"]
    return metrics
