"""Training as a whole: equal results along every way."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from rich.console import Console
from tiny_run import TWO_PROCESSES, command, evaluate_ever_worse, scalars, weights

import training.trainer
from eventmodel.batch import Batch, Targets
from eventmodel.checkpoint import load_checkpoint
from eventmodel.event_log import EventLog
from eventmodel.schema import Schema
from training.config import TrainConfig
from training.evaluation import Evaluation, evaluate
from training.monitor import Monitor
from training.prefetch import to_tensors
from training.run import parse_config, train
from training.trainer import Trainer


def test_a_resumed_run_equals_an_uninterrupted_one(config: TrainConfig, tmp_path: Path) -> None:
    train(config)
    parts = replace(config, out=tmp_path / "parts")
    train(replace(parts, steps=6))
    train(replace(parts, resume=True))
    whole, resumed = weights(config.out / "last"), weights(parts.out / "last")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    state = [(path / "last" / "training.json").read_text() for path in (config.out, parts.out)]
    without_clock = [text[text.index('"best_loss"') :] for text in state]
    assert without_clock[0] == without_clock[1]


def test_resuming_a_finished_run_changes_nothing(config: TrainConfig) -> None:
    finished = replace(config, steps=5, eval_every=3)
    train(finished)
    before = {file.name: file.read_bytes() for file in (config.out / "last").iterdir()}
    train(replace(finished, resume=True))
    assert {file.name: file.read_bytes() for file in (config.out / "last").iterdir()} == before


def test_training_never_lists_the_entity_of_every_event(config: TrainConfig) -> None:
    trainer = Trainer(replace(config, steps=2))
    with Monitor(Console(quiet=True), trainer.config, trainer.names, 0) as monitor:
        trainer.run(monitor)
    assert "entity" not in vars(trainer.log.focus)  # where it is kept once it is asked for


def test_eight_batches_of_one_accumulate_to_one_batch_of_eight(config: TrainConfig) -> None:
    trainer = Trainer(replace(config, model=TINY, neighbours=1))
    arrays = trainer.batches(0)
    whole = to_tensors(arrays, trainer.device)

    def gradients(window: list[tuple[Batch, Targets]]) -> list[torch.Tensor]:
        trainer.optimizer.zero_grad()
        trainer._backward(window)
        return [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]

    one_by_one = [to_tensors(trainer.batches(0, slice(i, i + 1)), trainer.device) for i in range(8)]
    assert len({int(targets.is_target.sum()) for _, targets in one_by_one}) > 1  # unequal parts: means would differ
    for a, b in zip(gradients([whole]), gradients(one_by_one), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3)


@pytest.mark.slow  # minutes, most of them the compiler's
@pytest.mark.timeout(1200)
def test_a_compiled_run_equals_an_eager_one_but_for_rounding(config: TrainConfig, tmp_path: Path) -> None:
    eager = replace(config, model=replace(config.model, dropout=0.0), steps=4, eval_every=4)
    compiled = replace(eager, out=tmp_path / "compiled", compile=True)
    train(eager)
    train(compiled)
    expected = weights(eager.out / "last")
    for name, found in weights(compiled.out / "last").items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=2e-4)


def test_a_field_of_double_weight_pulls_twice_as_hard_and_the_others_as_before(config: TrainConfig) -> None:
    def gradient(weights: dict[str, float]) -> torch.Tensor:
        trainer = Trainer(replace(config, model=TINY, loss_weights=weights))
        trainer._backward([to_tensors(trainer.batches(0), trainer.device)])
        bias = trainer.model.heads.bias.grad  # of each category apart
        assert bias is not None
        return bias

    trainer = Trainer(config)
    size = trainer.model.heads.sizes[0]
    plain, weighted = gradient({}), gradient({trainer.log.schema.categories[0].field: 2.0})
    assert plain[:size].abs().max() > 0
    torch.testing.assert_close(weighted[:size], 2 * plain[:size])
    torch.testing.assert_close(weighted[size:], plain[size:])


def test_the_best_checkpoint_has_the_lowest_weighted_loss(config: TrainConfig) -> None:
    config = replace(config, loss_weights={"CostCodeRecordId": 5.0})
    train(config)
    weights = Trainer(config).category_weights.tolist()
    validation = Evaluation(**load_checkpoint(config.out / "best").metrics["validation"])
    best = json.loads((config.out / "last" / "training.json").read_text())["progress"]["best_loss"]
    assert best == pytest.approx(validation.weighted_loss(weights))
    assert best != pytest.approx(validation.loss)


def test_weights_of_fields_are_given_by_name() -> None:
    config = parse_config(["--data", "d", "--out", "o", "--loss-weights", "CostCodeRecordId", "10", "EventType", "2"])
    assert config.loss_weights == {"CostCodeRecordId": 10.0, "EventType": 2.0}


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(config: TrainConfig, weight: float) -> None:
    with pytest.raises(ValueError, match=r"loss_weights has .* for EventType; it must be above 0, and finite"):
        replace(config, loss_weights={"EventType": weight})


def test_samples_share_no_windows_where_the_focus_s_stream_is_the_only_one(
    config: TrainConfig, small_log: EventLog, tmp_path: Path
) -> None:
    document = small_log.schema.model_dump(mode="json")
    document["streams"] = [stream for stream in document["streams"] if stream["name"] == small_log.schema.focus]
    alone = {small_log.schema.focus: small_log.focus}
    replace(small_log, schema=Schema.model_validate(document), streams=alone).save(tmp_path / "focus")
    assert Trainer(config).batches.neighbours == config.neighbours
    assert Trainer(replace(config, data=tmp_path / "focus")).batches.neighbours == 1


def test_training_lowers_the_loss(run_directory: Path) -> None:
    first, *_, last = scalars(run_directory, "loss/validation")
    assert last < first


def test_best_last_and_periodic_checkpoints_are_there(config: TrainConfig) -> None:
    train(config)
    assert load_checkpoint(config.out / "last").step == 12
    assert load_checkpoint(config.out / "best").metrics["test"]["n"] > 0
    assert load_checkpoint(config.out / "checkpoints" / "step-0000004").step == 4
    assert len(list((config.out / "checkpoints").iterdir())) == 5  # best, last, and those of steps 4, 8, 12


def test_the_measured_best_checkpoint_keeps_the_step_it_is_from(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_ever_worse(monkeypatch)
    train(replace(config, steps=4))
    best = load_checkpoint(config.out / "best")
    assert best.metrics["test"]["n"] > 0
    assert best.step == 2


def test_the_learning_rate_is_halved_at_the_evaluation_after_those_tolerated(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[Evaluation] = []

    def unchanged(*arguments: Any) -> Evaluation:
        first.append(evaluate(*arguments))
        return first[0]

    monkeypatch.setattr(training.trainer, "evaluate", unchanged)
    trainer = Trainer(replace(config, patience=3, eval_every=1, steps=8))
    rates = []
    save = trainer.save

    def note(link: str, *arguments: Any) -> bool:
        if link == "last":
            rates.append(trainer.standing.peak_rate / config.learning_rate)
        return save(link, *arguments)

    monkeypatch.setattr(trainer, "save", note)
    with Monitor(Console(quiet=True), trainer.config, trainer.names, 0) as monitor:
        trainer.run(monitor)
    assert rates == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]  # the first one is the best


def test_a_plateau_halves_the_learning_rate(config: TrainConfig) -> None:
    # so low that no loss falls, and above the eps under which ReduceLROnPlateau leaves a rate alone
    stuck = replace(config, learning_rate=1e-7, warmup_steps=0, patience=1, steps=12)
    train(stuck)
    rates = scalars(stuck.out, "optimizer/learning_rate")
    assert rates[-1] < rates[0] / 1.9


def test_two_processes_train_like_one(config: TrainConfig, tmp_path: Path) -> None:
    more = [
        "--batch-size",
        "8",
        "--neighbours",
        "4",
        "--steps",
        "8",
        "--eval-every",
        "4",
        "--eval-samples",
        "40",
        "--log-every",
        "1",
    ]
    alone, both = replace(config, out=tmp_path / "alone"), replace(config, out=tmp_path / "both")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "training.run", *command(alone, *more)], check=True, env=environment)
    subprocess.run([*TWO_PROCESSES, *command(both, *more)], check=True, env=environment)
    np.testing.assert_allclose(scalars(alone.out, "loss/train"), scalars(both.out, "loss/train"), rtol=1e-4)
    one, two = weights(alone.out / "last"), weights(both.out / "last")
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-3, rtol=1e-2)


def test_two_processes_resumed_equal_two_uninterrupted_ones(config: TrainConfig, tmp_path: Path) -> None:
    flags = ["--model.dropout", "0.1", "--batch-size", "8", "--neighbours", "4", "--eval-every", "6"]
    flags += ["--eval-samples", "40", "--test-samples", "40", "--warmup-steps", "3"]
    parts = replace(config, out=tmp_path / "parts")
    for run, *more in [(config, "12"), (parts, "6"), (parts, "12", "--resume")]:
        arguments = command(run, *flags, "--steps", *more)
        subprocess.run([*TWO_PROCESSES, *arguments], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    whole, resumed = weights(config.out / "last"), weights(parts.out / "last")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_each_process_drops_other_values_at_each_step(config: TrainConfig) -> None:
    trainer = Trainer(config)

    def drawn(step: int, rank: int) -> list[float]:
        trainer.rank = rank
        trainer._seed_dropout(step)
        return torch.rand(3).tolist()

    assert len({tuple(drawn(step, rank)) for step in range(3) for rank in range(2)}) == 6
    assert drawn(2, 1) == drawn(2, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bf16_autocast_on_a_gpu_trains_like_fp32(config: TrainConfig, tmp_path: Path) -> None:
    results = {}
    for precision in ("fp32", "bf16"):
        run = replace(config, out=tmp_path / precision, device="cuda", precision=precision)  # type: ignore[arg-type]
        train(run)
        results[precision] = scalars(run.out, "loss/train")[-1]
    assert results["bf16"] == pytest.approx(results["fp32"], rel=0.02)


def test_evaluating_one_by_one_equals_evaluating_at_once(config: TrainConfig) -> None:
    trainer = Trainer(replace(config, neighbours=1))  # neighbours share what they read
    trainer.model.eval()
    batch, targets = to_tensors(trainer.batches(0), trainer.device)
    with torch.no_grad():
        whole = trainer.model.heads.target_log_probs(trainer.model(batch, targets), targets.ids, targets.source_ids)
        for i in range(3):
            part = to_tensors(trainer.batches(0, slice(i, i + 1)), trainer.device)
            alone = trainer.model.heads.target_log_probs(trainer.model(*part), part[1].ids, part[1].source_ids)
            torch.testing.assert_close(alone[0], whole[i], atol=1e-4, rtol=1e-4)
