"""A benchmark's trainings: done once, and never shown for others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY

from benchmarks import runs
from benchmarks.runs import metrics_of_test_part
from training.config import TrainConfig


@pytest.fixture
def done(run_directory: Path, log_directory: Path) -> TrainConfig:
    """The configuration of ``run_directory``."""
    return TrainConfig(
        data=log_directory, out=run_directory, model=TINY, steps=30, batch_size=16, eval_every=15, device="cpu"
    )


def test_a_run_that_is_done_is_not_trained_again(done: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "train", lambda _: pytest.fail("trained again"))
    assert metrics_of_test_part(done)["n"] > 0


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        ({"seed": 99}, "seed 0, not 99"),
        ({"steps": 31}, "steps 30, not 31"),
        ({"max_minutes": 2.0}, r"max_minutes 0\.0, not 2\.0"),
        ({"data": Path("/nowhere")}, "data .*, not /nowhere"),
        ({"test_samples": 7}, "test_samples 40000, not 7"),
        ({"model": replace(TINY, plain=True)}, "model .*'plain': True"),
    ],
)
def test_a_run_of_another_configuration_is_refused(done: TrainConfig, other: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"was trained with {complaint}.*; name a new --out"):
        metrics_of_test_part(replace(done, **other))


def test_an_interrupted_run_of_another_configuration_is_refused(done: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "last").symlink_to(done.out / "last")
    with pytest.raises(ValueError, match="last was trained with steps 30, not 60"):
        metrics_of_test_part(replace(done, out=tmp_path, steps=60))
