"""Train a model: prepared log -> checkpoints.

python -m training.run --data LOG --out RUN --preset quickstart
"""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import torch
import torch.distributed as dist
import tyro
from rich.console import Console
from rich.markup import escape

from eventmodel.checkpoint import load_checkpoint
from eventmodel.denormals import denormals_as_zero
from training.calibration import fit_temperatures
from training.config import PRESETS, PresetName, TrainConfig
from training.device import device_of
from training.evaluation import Evaluation, choose, evaluate
from training.final_table import final_table
from training.loss import NonFiniteLossError
from training.monitor import Monitor
from training.trainer import Interrupted, Trainer

console = Console(stderr=True)


@dataclass(frozen=True)
class _Preset:
    preset: PresetName = "base"
    """Sizes to start from."""


def parse_config(arguments: list[str] | None = None) -> TrainConfig:
    """The preset's values, with any field overridden on the command line."""
    chosen, rest = tyro.cli(_Preset, args=arguments, return_unknown_args=True, add_help=False)
    default = TrainConfig(data=tyro.MISSING, out=tyro.MISSING, **PRESETS[chosen.preset])
    return tyro.cli(TrainConfig, args=rest, default=default, prog="python -m training.run", description=_HELP)


_HELP = f"Train a model. --preset {'|'.join(PRESETS)} sets the defaults shown here (base if not given)."


@contextlib.contextmanager
def _process_group(config: TrainConfig) -> Iterator[None]:
    """Join the processes that torchrun started; alone, do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    device = device_of(config.device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        yield
        dist.barrier()  # nobody leaves while rank 0 still writes
    finally:
        # the trainer's reference cycles hold the group, whose threads must end before the interpreter does
        gc.collect()
        dist.destroy_process_group()


@contextlib.contextmanager
def _signals_stop(trainer: Trainer) -> Iterator[None]:
    """Within the block, Ctrl-C and SIGTERM let the trainer finish its step and save."""

    def ask(number: int, _: object) -> None:
        trainer.stop_signal = number

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(config: TrainConfig) -> Evaluation | None:
    """Train, then calibrate the best checkpoint on the validation part and measure it on the test part.

    Returns:
        The evaluation of the test part; None where the test part has no target.

    Raises:
        ValueError: the log or the configuration cannot work, or ``config.out`` holds a run and
            ``config.resume`` is not set.
        OSError: what the run ends with could not be written; the message says what to do.
    """
    if not config.resume and (config.out / "last").exists():
        raise ValueError(f"{config.out} holds a run; go on with --resume, or name a new directory")
    trainer = Trainer(config)
    if trainer.rank == 0:
        console.print_json(data=config.to_dict())
    with (
        Monitor(console if trainer.rank == 0 else None, config, trainer.names, trainer.standing.step) as monitor,
        _signals_stop(trainer),
    ):
        trainer.run(monitor)
    if trainer.world > 1:
        dist.barrier()  # rank 0 is still writing what the others are about to read
    status = console.status if trainer.rank == 0 else contextlib.nullcontext
    best = load_checkpoint(config.out / "best")
    model = trainer.model
    model.load_state_dict(best.model.state_dict())
    positions = choose(trainer.validation, config.eval_samples)
    with status("calibrating"):
        temperature = fit_temperatures(model, trainer.validation, positions, trainer.device)
    model.heads.temperature.copy_(temperature)
    metrics = {**best.metrics, "temperature": temperature.tolist()}
    result = None
    if len(trainer.test):
        positions = choose(trainer.test, config.test_samples)
        with status("measuring on the test part"):
            result = evaluate(model, trainer.test, positions, trainer.device)
        metrics["test"] = asdict(result)
    if trainer.rank == 0:
        trainer.directory.write("best", replace(best, model=model, metrics=metrics), is_final=True)
        if result is None:
            console.print("the test part holds no event with a predecessor; nothing to measure on")
        else:
            final_table(Console(), trainer.log, positions, result)
    return result


def main() -> int:
    """Parse, train, and turn what users can mend into one line."""
    try:
        config = parse_config()
        with _process_group(config), denormals_as_zero():
            train(config)
    except Interrupted as stop:
        if os.environ.get("RANK", "0") == "0":  # the process that saved
            console.print("stopped; everything is saved. Go on with the same command and --resume")
        return stop.exit_code
    except KeyboardInterrupt:
        console.print(
            "stopped; what was saved is whole. Where RUN/last is there, go on with the same command and --resume"
        )
        return 128 + signal.SIGINT
    except (ValueError, NonFiniteLossError, OSError) as error:
        console.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        return 2
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        console.print(
            f"[red]out of memory:[/red] {escape(str(error))}\n"
            "Lower --batch-size and raise --accumulation as much, which gives the same steps; "
            "if that is not enough, lower --model.context-length or take a smaller --preset",
            soft_wrap=True,
        )
        return 2
    return 0


def _is_out_of_memory(error: Exception) -> bool:
    """Of a GPU, of numpy, or of torch on a CPU, which has no kind of error for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


if __name__ == "__main__":
    sys.exit(main())
