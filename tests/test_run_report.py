"""What a run shows of itself: scalars, tables and lines."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tiny_run import scalars

import training.report
import training.trainer
from training.config import TrainConfig
from training.evaluation import Evaluation, evaluate
from training.run import train
from training.trainer import Trainer


def test_every_category_s_average_is_shown_and_none_is_zero(config: TrainConfig) -> None:
    train(config)
    trainer = Trainer(config)
    for part in ("train_category", "validation_category"):
        for name in trainer.names:
            values = scalars(config.out, f"{part}/{name}")
            assert values
            assert all(np.isfinite(v) and v > 0 for v in values), (part, name)
    total = scalars(config.out, "loss/train")
    each = [scalars(config.out, f"train_category/{name}") for name in trainer.names]
    np.testing.assert_allclose(total, np.sum(each, 0), rtol=1e-5)


def test_tensorboard_shows_rate_gradient_clipping_and_speed(config: TrainConfig) -> None:
    train(config)
    for tag in ("optimizer/learning_rate", "optimizer/gradient_norm", "optimizer/clip_rate"):
        assert len(scalars(config.out, tag)) == 6
    for tag in ("time/data_s", "time/compute_s", "time/target_events_per_s", "loss/validation"):
        assert scalars(config.out, tag)


def test_an_evaluation_before_the_first_log_shows_no_training_loss(
    config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    train(replace(config, steps=2, log_every=100))
    shown = capsys.readouterr().err
    assert "validation loss" in shown
    assert "train loss" not in shown


def test_the_reported_speed_is_that_of_the_steps_alone(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*arguments: Any) -> Evaluation:
        time.sleep(1)
        return evaluate(*arguments)

    monkeypatch.setattr(training.trainer, "evaluate", slow)
    began = time.monotonic()
    train(replace(config, log_every=1))
    steps_s = time.monotonic() - began - 6
    data, compute = (scalars(config.out, f"time/{part}_s") for part in ("data", "compute"))
    assert min(compute) > 0
    assert sum(data) + sum(compute) < steps_s


def test_the_table_of_a_log_too_long_to_count_has_no_baselines(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training.report, "COUNTABLE_EVENTS", 100)
    train(replace(config, steps=2))
    table = capsys.readouterr().out
    assert "Markov" not in table
    assert "python -m training.evaluate has them" in table


def test_the_norm_before_clipping_is_logged(config: TrainConfig) -> None:
    train(replace(config, max_grad_norm=1e-6))
    assert all(value == 1 for value in scalars(config.out, "optimizer/clip_rate"))
    assert all(value > 1e-3 for value in scalars(config.out, "optimizer/gradient_norm"))
