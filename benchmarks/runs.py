"""Trainings that a benchmark needs: each is done once, and an interrupted one goes on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from eventmodel.checkpoint import FORMAT
from training.config import TrainConfig
from training.run import train

DECIDE_NOTHING = {"out", "resume", "log_every", "checkpoint_every"}
"""Fields that results do not depend on."""


def metrics_of_test_part(config: TrainConfig) -> dict[str, Any]:
    """Train unless it is done, and return the evaluation of the test part.

    Raises:
        ValueError: what lies in ``config.out`` was trained with another configuration.
    """
    best, last = config.out / "best", config.out / "last"
    for checkpoint in (best, last):
        if checkpoint.exists():
            check_configuration(checkpoint, config)
    if not best.exists() or "test" not in recorded(best)["metrics"]:
        train(replace(config, resume=last.exists()))
    return recorded(best)["metrics"]["test"]


def recorded(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, be it of an earlier format: figures stay what they were."""
    return json.loads((checkpoint / FORMAT.file).read_text("utf-8"))


def check_configuration(checkpoint: Path, config: TrainConfig) -> None:
    """See to it that a checkpoint is of this configuration.

    Unlike a resumed run, a result may not differ in where and how long it was trained: it stands in a
    table under that heading.

    Raises:
        ValueError: it is of another one, and the message says in what; or it does not say.
    """
    try:
        saved, now = recorded(checkpoint)["training"], config.to_dict()
    except (OSError, ValueError, KeyError):
        raise ValueError(f"{checkpoint} does not say how it was trained; name a new --out") from None
    if changed := [name for name in now if name not in DECIDE_NOTHING and saved.get(name) != now[name]]:
        difference = ", ".join(f"{name} {saved.get(name)}, not {now[name]}" for name in changed)
        raise ValueError(f"{checkpoint} was trained with {difference}; name a new --out")
