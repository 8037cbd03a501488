"""What a run shows of itself: scalars, tables and lines."""

import io
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from tiny_run import scalars

import training.final_table
import training.run
import training.trainer
from eventmodel.checkpoint import load_checkpoint
from eventmodel.event_log import EventLog
from eventmodel.schema import Schema
from training.config import TrainConfig
from training.evaluation import Evaluation, choose, evaluate
from training.final_table import final_table
from training.run import train
from training.sampling import Sampler
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
    monkeypatch.setattr(training.final_table, "COUNTABLE_EVENTS", 100)
    train(replace(config, steps=2))
    table = capsys.readouterr().out
    assert "Markov" not in table
    assert "python -m training.evaluate has them" in table


def test_the_norm_before_clipping_is_logged(config: TrainConfig) -> None:
    train(replace(config, max_grad_norm=1e-6))
    assert all(value == 1 for value in scalars(config.out, "optimizer/clip_rate"))
    assert all(value > 1e-3 for value in scalars(config.out, "optimizer/gradient_norm"))


def test_the_last_table_shows_names_and_figures_whole_at_the_width_of_a_terminal(
    small_log: EventLog, run_directory: Path
) -> None:
    model = load_checkpoint(run_directory / "best").model
    sampler = Sampler(small_log, model.config, *small_log.part("test"))
    positions = choose(sampler, 50)
    result = evaluate(model, sampler, positions, torch.device("cpu"))
    names = {"LocationRecordId": "Dose [/d]", "EventType": "n" * 59}
    schema = small_log.schema.model_dump(mode="json")
    text = json.dumps(schema)
    for old, new in names.items():
        text = text.replace(f'"{old}"', json.dumps(new))
    vocabularies = {names.get(name, name): values for name, values in small_log.vocabularies.items()}
    log = replace(small_log, schema=Schema.model_validate_json(text), vocabularies=vocabularies)
    shown = io.StringIO()
    final_table(Console(file=shown, width=80), log, positions, result)
    assert "Dose [/d]" in shown.getvalue()
    assert "…" not in shown.getvalue()
    assert "n" * 20 in shown.getvalue()
    assert "Time_Reference_Minute" in shown.getvalue()
    figures = next(line for line in shown.getvalue().splitlines() if "Time_Reference_Minute" in line).split()[1:]
    assert len(figures) == 5
    assert all(len(figure.split(".")[1]) in (2, 3) for figure in figures)  # none is cut


def test_a_table_that_cannot_be_shown_costs_no_result(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no such style")

    monkeypatch.setattr(training.run, "final_table", broken)
    with pytest.raises(ValueError, match="no such style"):
        train(replace(config, steps=2))
    metrics = load_checkpoint(config.out / "best").metrics
    assert {"temperature", "test"} <= metrics.keys()
