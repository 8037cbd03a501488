"""Training as a whole: equal results along every way, and nothing lost on the way."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

import training.report
import training.run
import training.run_directory
import training.trainer
from eventmodel.batch import Batch, StreamBatch, Targets
from eventmodel.checkpoint import Checkpoint, load_checkpoint
from eventmodel.event_log import EventLog
from eventmodel.schema import Schema
from training.config import TrainConfig
from training.evaluation import Evaluation, evaluate
from training.loss import NonFiniteLossError
from training.prefetch import prefetch, to_tensors
from training.report import Monitor
from training.run import parse_config, train
from training.trainer import Interrupted, Trainer


@pytest.fixture
def config(log_directory: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        data=log_directory,
        out=tmp_path / "run",
        model=replace(TINY, dropout=0.1),
        steps=12,
        batch_size=8,
        neighbours=4,
        eval_every=2,
        eval_samples=40,
        warmup_steps=3,
        log_every=2,
        checkpoint_every=4,
        patience=0,
        device="cpu",
    )


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).model.state_dict()


def fill_disk(monkeypatch: pytest.MonkeyPatch, is_refused: Callable[[Checkpoint], bool]) -> None:
    """Let there be no room for some checkpoints."""
    write = training.run_directory.write_checkpoint

    def write_if_there_is_room(draft: Path, checkpoint: Checkpoint) -> None:
        if is_refused(checkpoint):
            raise OSError(28, "No space left on device")
        write(draft, checkpoint)

    monkeypatch.setattr(training.run_directory, "write_checkpoint", write_if_there_is_room)


def scalars(run: Path, tag: str) -> list[float]:
    accumulator = EventAccumulator(str(run / "tensorboard")).Reload()
    return [event.value for event in accumulator.Scalars(tag)]


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


def test_training_lowers_the_loss(run_directory: Path) -> None:
    first, *_, last = scalars(run_directory, "loss/validation")
    assert last < first


def test_best_last_and_periodic_checkpoints_are_there(config: TrainConfig) -> None:
    train(config)
    assert load_checkpoint(config.out / "last").step == 12
    assert load_checkpoint(config.out / "best").metrics["test"]["n"] > 0
    assert load_checkpoint(config.out / "checkpoints" / "step-0000004").step == 4
    assert len(list((config.out / "checkpoints").iterdir())) == 5  # best, last, and those of steps 4, 8, 12


def test_a_checkpoint_that_cannot_be_written_is_reported_and_the_old_one_stays(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(config)
    trainer.save("last", {})

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    trainer.progress.step = 1
    monkeypatch.setattr(training.trainer, "write_state", full_disk)
    trainer.save("last", {})
    assert "No space left on device" in capsys.readouterr().err
    assert load_checkpoint(config.out / "last").step == 0
    assert [p.name for p in (config.out / "checkpoints").iterdir()] == ["last-0000000"]


def evaluate_ever_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each evaluation on the validation part be worse than the one before."""
    nats = itertools.count(1.0)

    def worse_and_worse(*arguments: Any) -> Evaluation:
        result = evaluate(*arguments)
        return replace(result, nll=[next(nats)] * len(result.nll), chain_nll=[next(nats)] * len(result.nll))

    monkeypatch.setattr(training.trainer, "evaluate", worse_and_worse)


def test_a_full_disk_in_the_middle_of_a_run_is_reported_and_the_best_of_what_can_be_written_is_kept(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate_ever_worse(monkeypatch)
    fill_disk(monkeypatch, lambda checkpoint: checkpoint.step == 2)
    train(replace(config, steps=6))
    assert "No space left on device; the previous one is intact, and the run goes on" in capsys.readouterr().err
    assert load_checkpoint(config.out / "best").step == 4


@pytest.mark.parametrize("eval_every", [2, 3])  # the last step is evaluated in the loop, and after it
def test_a_disk_that_is_full_at_the_end_fails_the_program_which_resumes_when_there_is_room(
    eval_every: int, config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(config, "--steps", "4", "--eval-every", str(eval_every), "--batch-size", "8")
    resume = [*arguments, "--resume"]

    def run(arguments: list[str], is_refused: Callable[[Checkpoint], bool]) -> int:
        with monkeypatch.context() as disk:
            fill_disk(disk, is_refused)
            disk.setattr(sys, "argv", ["run", *arguments])
            return training.run.main()

    fix = "No space left on device. Free some space, then go on with the same command and --resume"
    assert run(arguments, lambda checkpoint: checkpoint.step == 4) == 2
    assert fix in capsys.readouterr().err.replace("\n", " ")
    assert run(resume, lambda checkpoint: "test" in checkpoint.metrics) == 2
    assert fix in capsys.readouterr().err.replace("\n", " ")
    assert run(resume, lambda _: False) == 0
    assert "temperature" in load_checkpoint(config.out / "best").metrics


@pytest.mark.parametrize(("saved", "fix"), [(True, "and --resume"), (False, "train again: no step is saved")])
def test_a_signal_on_a_full_disk_never_says_that_everything_is_saved(
    saved: bool, fix: str, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(config)
    if saved:
        trainer.save("last", {})
    fill_disk(monkeypatch, lambda _: True)
    trainer.stop_signal = signal.SIGINT
    with (
        Monitor(Console(quiet=True), config, trainer.names, 0) as monitor,
        pytest.raises(OSError, match=f"No space left on device. Free some space, then .*{fix}"),
    ):
        trainer.run(monitor)


def test_a_full_disk_while_weights_are_written_is_reported(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full_disk(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    trainer = Trainer(config)
    monkeypatch.setattr(training.run_directory, "write_checkpoint", full_disk)
    trainer.save("last", {})
    assert "No space left on device" in capsys.readouterr().err


def test_a_disk_too_full_for_tensorboard_is_reported_and_the_run_goes_on(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", full_disk)
    train(config)
    assert capsys.readouterr().err.count("TensorBoard's log cannot be written") == 1
    assert load_checkpoint(config.out / "last").step == 12


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 2.00 TiB"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_out_of_memory_says_which_setting_to_lower(
    config: TrainConfig, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_room(*_: object) -> None:
        raise error

    monkeypatch.setattr(Trainer, "run", no_room)
    monkeypatch.setattr(sys, "argv", ["run", *command(config)])
    assert training.run.main() == 2
    said = capsys.readouterr().err
    assert str(error) in said
    assert "Lower --batch-size" in said


def test_another_fault_of_torch_keeps_its_traceback(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Trainer, "run", broken)
    monkeypatch.setattr(sys, "argv", ["run", *command(config)])
    with pytest.raises(RuntimeError, match="shapes do not match"):
        training.run.main()


def test_the_table_of_a_log_too_long_to_count_has_no_baselines(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training.report, "COUNTABLE_EVENTS", 100)
    train(replace(config, steps=2))
    table = capsys.readouterr().out
    assert "Markov" not in table
    assert "python -m training.evaluate has them" in table


def test_saving_a_step_again_never_touches_the_checkpoint_before_its_link_moves(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(config)
    trainer.save("last", {"number": 1})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.run_directory, "point", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer.save("last", {"number": 2})
    assert load_checkpoint(config.out / "last").metrics == {"number": 1}
    monkeypatch.undo()
    trainer.save("last", {"number": 3})
    assert load_checkpoint(config.out / "last").metrics == {"number": 3}
    assert len(list((config.out / "checkpoints").iterdir())) == 1


def test_the_measured_best_checkpoint_keeps_the_step_it_is_from(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_ever_worse(monkeypatch)
    train(replace(config, steps=4))
    best = load_checkpoint(config.out / "best")
    assert best.metrics["test"]["n"] > 0
    assert best.step == 2


def test_a_new_run_never_replaces_one_that_is_there(config: TrainConfig) -> None:
    train(replace(config, steps=2))
    with pytest.raises(ValueError, match="holds a run; go on with --resume"):
        train(config)


def test_a_validation_loss_that_is_no_number_is_never_saved(config: TrainConfig) -> None:
    quiet = replace(config, log_every=100)
    trainer = Trainer(quiet)
    trainer.save("last", {})
    with torch.no_grad():
        trainer.model.heads.bias[0] = torch.nan
    with (
        Monitor(Console(quiet=True), quiet, trainer.names, 0) as monitor,
        pytest.raises(NonFiniteLossError, match="EventType"),
    ):
        trainer.run(monitor)
    assert load_checkpoint(config.out / "last").step == 0


def test_a_signal_during_the_last_evaluation_stops_before_the_test_part(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> Evaluation:
        os.kill(os.getpid(), signal.SIGINT)
        return evaluate(*arguments)

    monkeypatch.setattr(training.trainer, "evaluate", interrupted)
    with pytest.raises(Interrupted):
        train(replace(config, steps=3, eval_every=100))
    assert load_checkpoint(config.out / "last").step == 3
    monkeypatch.undo()
    result = train(replace(config, steps=3, eval_every=100, resume=True))
    assert result is not None
    assert result.n > 0


def test_ctrl_c_works_as_usual_while_the_test_part_is_measured(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.run, "final_table", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored where a shell runs tests in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            train(replace(config, steps=2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert load_checkpoint(config.out / "best").step == 2


def test_a_loss_that_is_no_number_stops_the_run(config: TrainConfig) -> None:
    trainer = Trainer(config)
    with torch.no_grad():
        trainer.model.heads.bias[0] = torch.nan
    with (
        pytest.raises(NonFiniteLossError, match="EventType"),
        Monitor(Console(quiet=True), config, trainer.names, 0) as monitor,
    ):
        trainer.run(monitor)


def test_resuming_with_another_configuration_is_refused(config: TrainConfig) -> None:
    train(replace(config, steps=2))
    with pytest.raises(ValueError, match="other values of learning_rate"):
        train(replace(config, resume=True, learning_rate=0.5))


def test_resuming_on_another_log_is_refused(config: TrainConfig, small_log: EventLog, tmp_path: Path) -> None:
    train(replace(config, steps=2))
    renamed = {name: [f"another {value}" for value in values] for name, values in small_log.vocabularies.items()}
    replace(small_log, vocabularies=renamed).save(tmp_path / "other")
    with pytest.raises(ValueError, match=r"on another log than .*; name its own with --data, or start a new run"):
        train(replace(config, resume=True, data=tmp_path / "other"))


def test_a_batch_that_does_not_divide_among_processes_says_what_would(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("is_initialized", True), ("get_rank", 0), ("get_world_size", 3)):
        monkeypatch.setattr(training.trainer.dist, name, lambda value=value: value)
    with pytest.raises(ValueError, match="among 3 processes; set --batch-size to a multiple of 3, or start another"):
        Trainer(config)


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
            rates.append(trainer.progress.peak_rate / config.learning_rate)
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


def test_the_norm_before_clipping_is_logged(config: TrainConfig) -> None:
    train(replace(config, max_grad_norm=1e-6))
    assert all(value == 1 for value in scalars(config.out, "optimizer/clip_rate"))
    assert all(value > 1e-3 for value in scalars(config.out, "optimizer/gradient_norm"))


def command(config: TrainConfig, *more: str) -> list[str]:
    shape = ["d_model=20", "n_heads=2", "encoder_layers=1", "decoder_layers=1", "context_length=13", "dropout=0"]
    shape += ["focus_events=6", "target_length=5"]
    flags = [text for pair in shape for text in ("--model." + pair.split("=")[0].replace("_", "-"), pair.split("=")[1])]
    return ["--data", str(config.data), "--out", str(config.out), "--device", "cpu", *flags, *more]


def test_ctrl_c_saves_and_a_resumed_run_goes_on(config: TrainConfig) -> None:
    arguments = command(config, "--batch-size", "8", "--steps", "100000", "--eval-every", "100000")
    program = [sys.executable, "-m", "training.run", *arguments]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    events = config.out / "tensorboard"
    while not events.is_dir():  # the loop is about to begin
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in errors
    step = load_checkpoint(config.out / "last").step
    assert step > 0
    resumed = parse_config([*arguments, "--resume"])
    assert Trainer(resumed).progress.step == step


# standalone: at a port that is free, where another run may have taken torchrun's own
TWO_PROCESSES = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TWO_PROCESSES += ["-m", "training.run"]


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


def test_a_state_of_an_older_run_that_holds_a_random_state_is_resumed(config: TrainConfig) -> None:
    train(replace(config, steps=2))
    path = config.out / "last" / "training.safetensors"
    save_file(load_file(path) | {"random.cpu": torch.get_rng_state()}, path)
    assert Trainer(replace(config, resume=True)).progress.step == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-size", "0"], "batch_size is 0"),
        (["--model.d-model", "30", "--model.n-heads", "4"], "does not split"),
        (["--data", "/nowhere"], "is not a prepared event log"),
        (["--resume"], "is not a checkpoint"),
    ],
)
def test_a_setting_that_cannot_work_is_one_line(
    config: TrainConfig,
    flags: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["run", *command(config, *flags)])
    with pytest.raises(SystemExit) as stop:
        sys.exit(training.run.main())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bf16_autocast_on_a_gpu_trains_like_fp32(config: TrainConfig, tmp_path: Path) -> None:
    results = {}
    for precision in ("fp32", "bf16"):
        run = replace(config, out=tmp_path / precision, device="cuda", precision=precision)  # type: ignore[arg-type]
        train(run)
        results[precision] = scalars(run.out, "loss/train")[-1]
    assert results["bf16"] == pytest.approx(results["fp32"], rel=0.02)


def test_a_failure_in_the_loader_reaches_the_loop() -> None:
    def broken(number: int) -> int:
        if number == 2:
            raise ValueError("row 7 is damaged")
        return number

    source = prefetch(broken, 0, torch.device("cpu"))
    assert [next(source), next(source)] == [0, 1]
    with pytest.raises(ValueError, match="row 7"):
        next(source)


def test_batches_that_several_threads_make_for_a_gpu_come_in_order_and_closing_ends_the_threads() -> None:
    def uneven(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0.0)
        return number

    source = prefetch(uneven, 5, torch.device("cuda"))
    assert list(islice(source, 20)) == list(range(5, 25))
    source.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_a_batch_becomes_tensors_of_the_same_shape_and_kind() -> None:
    arrays = StreamBatch(np.zeros((2, 3, 5), np.int32), *(np.zeros((2, 3), np.int32),) * 2, np.zeros(2, np.int64))
    tensors = to_tensors(arrays, torch.device("cpu"))
    assert isinstance(tensors, StreamBatch)
    assert tensors.ids.shape == (2, 3, 5)
    assert tensors.ids.dtype == torch.int32


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
