"""What a person sees of a run: the progress bar, TensorBoard, and the table at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from torch.utils.tensorboard import SummaryWriter

from eventmodel.event_log import EventLog
from training.config import TrainConfig
from training.evaluation import Evaluation
from training.evaluation.baselines import CHEAP_BASELINES, score_baselines
from training.state import Progress as RunProgress


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
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            disable=console is None,
        )
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
            self._writer.close()

    def step(
        self,
        progress: RunProgress,
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
        if progress.step % self.config.log_every:
            return
        steps = len(self._norms)
        self.means = (torch.as_tensor(self._sums) / self._count).cpu()  # waits for the device: time is read after it
        seconds = time.monotonic() - self._window_began
        norms = torch.stack(self._norms)
        clipped = (norms > self.config.max_grad_norm).float().mean().item()
        events = int(self._count)
        total = self.means.sum().item()
        self._bar.update(self._task, completed=done, description=f"step {progress.step}  loss {total:.3f}")
        if self._writer:
            at = progress.step
            self._writer.add_scalar("loss/train", total, at)
            self._writer.add_scalar("loss/train_mean_of_categories", total / len(self.names), at)
            for name, mean in zip(self.names, self.means.tolist(), strict=True):
                self._writer.add_scalar(f"train_category/{name}", mean, at)
            self._writer.add_scalar("optimizer/learning_rate", rate, at)
            self._writer.add_scalar("optimizer/gradient_norm", norms.mean().item(), at)
            self._writer.add_scalar("optimizer/clip_rate", clipped, at)
            self._writer.add_scalar("time/data_s", self._data_s / steps, at)
            self._writer.add_scalar("time/compute_s", (seconds - self._data_s) / steps, at)
            self._writer.add_scalar("time/target_events_per_s", events / seconds, at)
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

    def validation(self, progress: RunProgress, result: Evaluation) -> None:
        """Take an evaluation on the validation part."""
        if self.console is None or self._writer is None:
            return
        at = progress.step
        self._writer.add_scalar("loss/validation", result.loss, at)
        self._writer.add_scalar("loss/validation_marginal", sum(result.nll), at)
        self._writer.add_scalar("loss/validation_joint", sum(result.chain_nll), at)
        for name, nll, top1 in zip(self.names, result.nll, result.top1, strict=True):
            self._writer.add_scalar(f"validation_category/{name}", nll, at)
            self._writer.add_scalar(f"validation_top1/{name}", top1, at)
        train = "" if self.means is None else f"train loss {self.means.sum():.3f}, "
        self._bar.console.print(
            f"step {at}: {train}validation loss {result.loss:.3f} "
            f"({result.loss / len(self.names):.3f} per category), joint {sum(result.chain_nll):.3f} nats per event"
        )


def final_table(console: Console, log: EventLog, positions: np.ndarray, result: Evaluation) -> None:
    """Each category's top-1 on the test part beside the cheaper baselines' on the same targets."""
    scored = score_baselines(log, positions, CHEAP_BASELINES)
    baselines = {name: (found.rank == 1).mean(0) * 100 for name, found in scored.items()}
    table = Table(
        title=f"test part: {result.n:,} events, top-1 in percent; nll in nats "
        f"(sum {sum(result.nll):.3f}, joint {sum(result.chain_nll):.3f})",
        box=box.SIMPLE_HEAD,  # narrow enough for 80 columns
        pad_edge=False,
    )
    table.add_column("category", no_wrap=True, min_width=max(len(c.name) for c in log.schema.categories))
    for name in ("nll", "model", *baselines):
        table.add_column(name, justify="right")
    for c, category in enumerate(log.schema.categories):
        model = result.top1[c] * 100
        best = max(column[c] for column in baselines.values())
        table.add_row(
            category.name,
            f"{result.nll[c]:.3f}",
            f"[bold]{model:.2f}[/bold]" if model > best else f"{model:.2f}",
            *(f"{column[c]:.2f}" for column in baselines.values()),
        )
    console.print(table)
