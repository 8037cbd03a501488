"""What goes wrong in training: it is reported, nothing that was saved is lost, and the run can go on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors import SafetensorError
from tiny_run import command, evaluate_ever_worse
from torch.utils.tensorboard import SummaryWriter

import training.run
import training.run_directory
import training.trainer
from eventmodel.checkpoint import Checkpoint, load_checkpoint
from eventmodel.event_log import EventLog
from training.config import TrainConfig
from training.evaluation import Evaluation, evaluate
from training.loss import NonFiniteLossError
from training.monitor import Monitor
from training.run import parse_config, train
from training.trainer import Interrupted, Trainer


def fill_disk(monkeypatch: pytest.MonkeyPatch, is_refused: Callable[[Checkpoint], bool]) -> None:
    """Let there be no room for some checkpoints."""
    write = training.run_directory.write_checkpoint

    def write_if_there_is_room(draft: Path, checkpoint: Checkpoint) -> None:
        if is_refused(checkpoint):
            raise OSError(28, "No space left on device")
        write(draft, checkpoint)

    monkeypatch.setattr(training.run_directory, "write_checkpoint", write_if_there_is_room)


def run_quietly(trainer: Trainer) -> None:
    with Monitor(Console(quiet=True), trainer.config, trainer.names, 0) as monitor:
        trainer.run(monitor)


def test_a_checkpoint_that_cannot_be_written_is_reported_and_the_old_one_stays(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(config)
    trainer.save("last", {})

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    trainer.standing.step = 1
    monkeypatch.setattr(training.trainer, "write_state", full_disk)
    trainer.save("last", {})
    assert "No space left on device" in capsys.readouterr().err
    assert load_checkpoint(config.out / "last").step == 0
    assert [p.name for p in (config.out / "checkpoints").iterdir()] == ["last-0000000"]


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
    with pytest.raises(OSError, match=f"No space left on device. Free some space, then .*{fix}"):
        run_quietly(trainer)


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
    with pytest.raises(NonFiniteLossError, match="EventType"):
        run_quietly(trainer)
    assert load_checkpoint(config.out / "last").step == 0


def test_weights_that_are_no_numbers_never_replace_the_last_good_ones(config: TrainConfig) -> None:
    quiet = replace(config, log_every=100, eval_every=100)
    trainer = Trainer(quiet)
    trainer.save("last", {})
    with torch.no_grad():
        trainer.model.heads.bias[0] = torch.nan
    trainer.stop_signal = signal.SIGINT
    with pytest.raises(NonFiniteLossError, match=r"heads\.bias is not finite; the last checkpoint is intact"):
        run_quietly(trainer)
    assert torch.isfinite(load_checkpoint(config.out / "last").model.heads.bias).all()


def test_a_run_by_minutes_that_ends_with_an_evaluation_on_a_full_disk_fails_the_program(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = replace(config, max_minutes=1000.0, eval_every=2)
    trainer = Trainer(timed)
    fill_disk(monkeypatch, lambda _: True)
    # the minutes are over after the second step
    monkeypatch.setattr(trainer, "_agree", lambda _: (float(trainer.standing.step >= 2), 0))
    with pytest.raises(OSError, match="No space left on device"):
        run_quietly(trainer)


def test_a_signal_during_an_evaluation_on_a_full_disk_never_says_that_everything_is_saved(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = replace(config, eval_every=2)
    trainer = Trainer(timed)
    fill_disk(monkeypatch, lambda _: True)

    def interrupted(*arguments: Any) -> Evaluation:
        trainer.stop_signal = signal.SIGINT
        return evaluate(*arguments)

    monkeypatch.setattr(training.trainer, "evaluate", interrupted)
    with pytest.raises(OSError, match="No space left on device"):
        run_quietly(trainer)


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
    with pytest.raises(NonFiniteLossError, match="EventType"):
        run_quietly(trainer)


def test_a_compiler_that_is_not_there_is_asked_for_before_anything_is_done(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="--compile needs the C\\+\\+ compiler no-such-compiler"):
        train(replace(config, compile=True))
    assert not (config.out / "last").exists()


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


def test_resuming_on_a_log_that_is_split_elsewhere_is_refused(
    config: TrainConfig, small_log: EventLog, tmp_path: Path
) -> None:
    train(replace(config, steps=2))
    replace(small_log, validation_end=small_log.validation_end + 1).save(tmp_path / "other")
    with pytest.raises(ValueError, match="prepare it as it was, or start a new run directory"):
        train(replace(config, resume=True, data=tmp_path / "other"))


def test_a_batch_that_does_not_divide_among_processes_says_what_would(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("is_initialized", True), ("get_rank", 0), ("get_world_size", 3)):
        monkeypatch.setattr(training.trainer.dist, name, lambda value=value: value)
    with pytest.raises(ValueError, match="among 3 processes; set --batch-size to a multiple of 3, or start another"):
        Trainer(config)


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
    assert Trainer(resumed).standing.step == step


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-size", "0"], "batch_size is 0"),
        (["--model.d-model", "30", "--model.n-heads", "4"], "does not split"),
        (["--data", "/nowhere"], "is not a prepared event log"),
        (["--resume"], "holds no run that could go on; leave out --resume"),
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
