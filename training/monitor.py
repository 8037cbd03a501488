"""What a person sees of a run as it goes: the progress bar, and TensorBoard."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import torch
from rich.console import Console
from rich.markup import escape
from torch.utils.tensorboard import SummaryWriter

from training.config import TrainConfig
from training.evaluation import Evaluation
from training.progress import bars
from training.state import Standing


class Monitor:
    """Collects what each step measures; writes it to the console and to TensorBoard now and then.

    Losses stay on the device until they are written, so that no step waits for the GPU.
    """

    def __init__(self, console: Console | None, config: TrainConfig, names: list[str], start_step: int) -> None:
        self.config, self.names = config, names
        self.console = console
        self.means: torch.Tensor | None = None
        """Mean loss of each category over the latest logging window, once there is one."""
        self._writer = SummaryWriter(str(config.out / "tensorboard"), purge_step=start_step) if console else None
        self._bar = bars(console)
        self._task = self._bar.add_task("training", total=1.0)
        self._window_began = time.monotonic()
        self._clear()

    def _clear(self) -> None:
        self._sums: torch.Tensor | float = 0.0
        self._count: torch.Tensor | int = 0
        self._norms: list[torch.Tensor] = []
        self._data_s = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        self._window_began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._bar.update(self._task, completed=1.0)
        self._bar.stop()
        if self._writer:
            with self._reporting_failures():
                self._writer.close()

    @contextmanager
    def _reporting_failures(self) -> Iterator[None]:
        """A full disk ends TensorBoard's log, and not the run."""
        try:
            yield
        except OSError as error:
            self._writer = None  # it has no way to go on
            message = escape(f"TensorBoard's log cannot be written: {error}; the run goes on without it")
            self._bar.console.print(f"[red]{message}[/red]", soft_wrap=True)

    def step(
        self,
        standing: Standing,
        done: float,
        sums: torch.Tensor,
        count: torch.Tensor,
        grad_norm: torch.Tensor,
        rate: float,
        data_s: float,
    ) -> None:
        """Take one optimizer step's figures.

        Args:
            done: share of the run that is over.
            sums: (C,) losses summed over the targets.
            count: number of targets.
            grad_norm: before clipping.
            rate: learning rate.
            data_s: seconds that the step waited for data.
        """
        self._sums, self._count = self._sums + sums, self._count + count
        self._norms.append(grad_norm)
        self._data_s += data_s
        if standing.step % self.config.log_every:
            return
        steps = len(self._norms)
        self.means = (torch.as_tensor(self._sums) / self._count).cpu()  # waits for the device: time is read after it
        seconds = time.monotonic() - self._window_began
        norms = torch.stack(self._norms)
        clipped = (norms > self.config.max_grad_norm).float().mean().item()
        events = int(self._count)
        total = self.means.sum().item()
        self._bar.update(self._task, completed=done, description=f"step {standing.step}  loss {total:.3f}")
        scalars = {"loss/train": total, "loss/train_mean_of_categories": total / len(self.names)}
        scalars |= {f"train_category/{name}": mean for name, mean in zip(self.names, self.means.tolist(), strict=True)}
        scalars |= {
            "optimizer/learning_rate": rate,
            "optimizer/gradient_norm": norms.mean().item(),
            "optimizer/clip_rate": clipped,
            "time/data_s": self._data_s / steps,
            "time/compute_s": (seconds - self._data_s) / steps,
            "time/target_events_per_s": events / seconds,
        }
        self._write(scalars, standing.step)
        self._window_began += seconds
        self._clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in the block is not the steps': evaluations and checkpoints do not slow the reported speed."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._window_began += time.monotonic() - began

    def _write(self, scalars: dict[str, float], step: int) -> None:
        """Write to TensorBoard."""
        if self._writer:
            with self._reporting_failures():
                for name, value in scalars.items():
                    self._writer.add_scalar(name, value, step)

    def validation(self, standing: Standing, result: Evaluation) -> None:
        """Take an evaluation on the validation part."""
        if self.console is None:
            return
        at = standing.step
        scalars = {
            "loss/validation": result.loss,
            "loss/validation_marginal": sum(result.nll),
            "loss/validation_joint": sum(result.chain_nll),
        }
        for name, nll, top1 in zip(self.names, result.nll, result.top1, strict=True):
            scalars |= {f"validation_category/{name}": nll, f"validation_top1/{name}": top1}
        self._write(scalars, at)
        train = "" if self.means is None else f"train loss {self.means.sum():.3f}, "
        self._bar.console.print(
            f"step {at}: {train}validation loss {result.loss:.3f} "
            f"({result.loss / len(self.names):.3f} per category), joint {sum(result.chain_nll):.3f} nats per event"
        )
