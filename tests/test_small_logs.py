"""Logs in which hardly anything happens train, or are refused with the reason."""

from pathlib import Path

import polars as pl
import pytest
from conftest import TINY

from eventmodel.checkpoint import load_checkpoint
from eventmodel.schema import Schema
from training.config import TrainConfig
from training.preparation import prepare
from training.run import train

N = 60
TIMES = [f"2026-01-01T{7 * i // 60:02d}:{7 * i % 60:02d}:00" for i in range(N)]


def train_on(schema: Schema, directory: Path, **columns: list[str]) -> dict:
    """Metrics of a short training."""
    n = len(columns["Worker"])
    prepare(pl.DataFrame({"EventDatetime": TIMES[:n]} | columns), schema)[0].save(directory / "log")
    train(
        TrainConfig(directory / "log", directory / "run", model=TINY, steps=4, batch_size=4, eval_every=2, device="cpu")
    )
    return load_checkpoint(directory / "run" / "best").metrics


def test_a_log_of_one_event_is_refused(tiny_schema: Schema) -> None:
    with pytest.raises(ValueError, match="too small to split: 1 event at 1 distinct time"):
        prepare(pl.DataFrame({"Worker": ["ann"], "EventDatetime": TIMES[:1]}), tiny_schema)


def test_a_log_of_one_entity_trains(tiny_schema: Schema, tmp_path: Path) -> None:
    metrics = train_on(tiny_schema, tmp_path, Worker=["ann"] * N, Kind=["in", "out"] * (N // 2))
    assert metrics["test"]["n"] == 6


def test_a_validation_part_of_values_that_training_never_showed_is_trained_against(
    tiny_schema: Schema, tmp_path: Path
) -> None:
    old, new = N * 8 // 10, N - N * 8 // 10
    site = [c.name for c in tiny_schema.categories].index("Site")
    metrics = train_on(tiny_schema, tmp_path, Worker=["ann"] * old + ["bob"] * new, Site=["x"] * old + ["y"] * new)
    assert 0 < metrics["validation"]["nll"][site] < 50  # of unknown, which is a value like any other


def test_without_an_event_to_predict_in_the_test_part_there_is_no_table(tiny_schema: Schema, tmp_path: Path) -> None:
    metrics = train_on(tiny_schema, tmp_path, Worker=["ann"] * 54 + [f"w{i}" for i in range(6)])
    assert "test" not in metrics


@pytest.mark.parametrize(
    ("workers", "reason"),
    [
        (["ann", "ann", "ann"], "the training part holds no entity with two events"),
        ([f"w{i}" for i in range(N)], "the validation part holds no event with a predecessor of the same Worker"),
    ],
)
def test_a_log_in_which_nothing_follows_is_refused(
    tiny_schema: Schema, tmp_path: Path, workers: list[str], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        train_on(tiny_schema, tmp_path, Worker=workers)
