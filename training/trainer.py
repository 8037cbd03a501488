"""The training loop. The order on the page is the order in time."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from math import gcd
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau

from eventmodel.batch import Batch, Targets
from eventmodel.checkpoint import Checkpoint, load_checkpoint
from eventmodel.event_log import EventLog
from eventmodel.model import EventModel
from training.config import TrainConfig, changed_fields
from training.device import device_of
from training.evaluation import choose, evaluate
from training.example import example_request
from training.log_of_checkpoint import fits
from training.loss import category_sums, category_weights, check_finite, check_weights
from training.monitor import Monitor
from training.prefetch import pin, prefetch, to_tensors
from training.run_directory import RunDirectory
from training.sampling import Sampler, TrainingBatches
from training.state import Standing, read_state, write_state


class Interrupted(Exception):
    """A signal asked the run to stop; everything up to the last step is saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


class Trainer:
    """One run: the model, its optimizer and where it stands."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.directory = RunDirectory(config.out)
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        if config.batch_size % self.world:
            raise ValueError(
                f"batch_size {config.batch_size} does not divide among {self.world} processes; "
                f"set --batch-size to a multiple of {self.world}, or start another number of processes"
            )
        self.log = EventLog.load(config.data)
        # neighbours share the histories that are not the focus's own
        neighbours = gcd(config.batch_size, config.neighbours) if len(self.log.schema.streams) > 1 else 1
        if config.batch_size // self.world % neighbours:
            raise ValueError(
                f"groups of {neighbours} neighbours do not divide among {self.world} processes of "
                f"{config.batch_size // self.world} samples; lower --neighbours, or raise --batch-size"
            )
        self.device = device_of(config.device)
        self.autocast = config.precision == "bf16" or (config.precision == "auto" and self.device.type == "cuda")
        self.train = Sampler(self.log, config.model, *self.log.part("training"))
        self.validation = Sampler(self.log, config.model, *self.log.part("validation"))
        self.test = Sampler(self.log, config.model, *self.log.part("test"))
        if len(self.validation) == 0:
            raise ValueError(
                f"{config.data}: the validation part holds no event with a predecessor of the same "
                f"{self.log.schema.focus}; prepare a longer log or a larger --validation share"
            )
        if self.world > 1 and len(self.train) < config.batch_size:
            raise ValueError(
                f"{config.data}: the training part holds {len(self.train)} samples, fewer than the batch_size "
                f"{config.batch_size} that {self.world} processes share; lower --batch-size, or use one process"
            )
        self.batches = TrainingBatches(
            self.train,
            batch_size=config.batch_size,
            seed=config.seed,
            entity_masking=config.entity_masking,
            entity_dropout=config.entity_dropout,
            history_cut=config.history_cut,
            neighbours=neighbours,
        )
        torch.manual_seed(config.seed)
        self.model = EventModel(config.model, self.log.codec)
        self.model.start_from(self.log.events.ids[: self.log.train_end])
        self.model.to(self.device)
        self.parallel: nn.Module = DistributedDataParallel(self.model) if self.world > 1 else self.model
        self.network = compiled(self.parallel, self.device) if config.compile else self.parallel
        self.optimizer = AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.scheduler = ReduceLROnPlateau(self.optimizer, factor=0.5, patience=config.patience)
        parts = (self.log.train_end, self.log.validation_end, len(self.log.events.timestamp))
        self.standing = Standing(peak_rate=config.learning_rate, parts=parts)
        self.names = [category.name for category in self.log.schema.categories]
        self.category_weights = category_weights(self.log.schema, config.loss_weights).to(self.device)
        self.example = example_request(self.log, config.model)
        self.is_evaluated = False
        """Whether the model as it is has been measured on the validation part."""
        self.unsaved: dict[str, Any] | None = None
        """What was measured last, where it could not be written."""
        self.stop_signal = 0
        """The signal that this process was sent, if any; all processes act on it together."""
        if config.resume:
            self._resume()

    def _resume(self) -> None:
        last = self.config.out / "last"
        if not last.exists():
            raise ValueError(f"{self.config.out} holds no run that could go on; leave out --resume")
        saved = load_checkpoint(last)
        now = self.config.to_dict()
        if changed := changed_fields(saved.training, now):
            raise ValueError(
                f"{last} was trained with other values of {', '.join(changed)}; "
                "resume with the same ones, or start a new run directory"
            )
        if not fits(saved, self.log):
            raise ValueError(
                f"{last} was trained on another log than {self.config.data}; name its own with --data, "
                "or start a new run directory"
            )
        self.model.load_state_dict(saved.model.state_dict())
        parts = self.standing.parts
        self.standing = read_state(last.resolve(), self.optimizer, self.scheduler)
        if self.standing.parts not in ((), parts):
            raise ValueError(
                f"{last} was trained on a log whose parts end at rows {self.standing.parts}, but those of "
                f"{self.config.data} end at {parts}; prepare it as it was, or start a new run directory"
            )
        self.is_evaluated = bool(saved.metrics)

    # --- the loop -------------------------------------------------------------------

    def run(self, monitor: Monitor) -> None:
        """Train until the steps or the minutes are over, or a signal asks to stop.

        Raises:
            NonFiniteLossError: names the step and the category.
            Interrupted: after everything is saved.
            OSError: at the end something could not be saved; the message says what to do.
        """
        config = self.config
        share = config.batch_size // self.world
        part = slice(self.rank * share, (self.rank + 1) * share)
        source = prefetch(
            lambda number: pin(self.batches(number, part), self.device),
            self.standing.step * config.accumulation,
            self.device,
        )
        before = self.standing.elapsed_s
        began = time.monotonic()
        with contextlib.closing(source):
            while True:
                done, stop = self._agree(before + time.monotonic() - began)
                if done >= 1 or stop:
                    break
                step = self.standing.step
                waiting = time.monotonic()
                window = [to_tensors(next(source), self.device) for _ in range(config.accumulation)]
                data_s = time.monotonic() - waiting

                rate = self.standing.peak_rate * self._rate_share(step, done)
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                self._seed_dropout(step)
                sums, count = self._backward(window)
                grad_norm = clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)

                self.standing.step, self.is_evaluated = step + 1, False
                self.standing.elapsed_s = before + time.monotonic() - began
                monitor.step(self.standing, done, sums, count, grad_norm, rate, data_s)
                if self.standing.step % config.log_every == 0 and monitor.means is not None:
                    check_finite(monitor.means, self.names, self.standing.step)
                with monitor.paused():
                    if self.standing.step % config.eval_every == 0:
                        self._evaluate(monitor, is_final=self.standing.step >= config.steps)
                    if self.standing.step % config.checkpoint_every == 0:
                        self.save(f"step-{self.standing.step:07d}", {})
        if not self.is_evaluated:
            if stop:
                self.save("last", {}, is_final=True)
            else:
                self._evaluate(monitor, is_final=True)
                _, stop = self._agree(self.standing.elapsed_s)
        elif self.unsaved is not None:  # there may be room by now
            self.save("last", self.unsaved, is_final=True)
        if stop:
            raise Interrupted(stop)

    def _seed_dropout(self, step: int) -> None:
        """Draw what is dropped by seed, step and process, as batches are drawn: so that no process has a
        random state to save, and none drops what another one does."""
        source = np.random.SeedSequence([self.config.seed, 3, step, self.rank])  # 1 and 2 draw the batches
        torch.manual_seed(int(source.generate_state(1, np.uint64)[0]))

    def _backward(self, window: list[tuple[Batch, Targets]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of one optimizer step; returns the sums of the losses (C,) and the number of targets."""
        count = torch.stack([targets.is_target.sum() for _, targets in window]).sum()
        if self.world > 1:
            dist.all_reduce(count)
        total = torch.zeros(len(self.names), device=self.device)
        for number, (batch, targets) in enumerate(window):
            is_last = number == len(window) - 1
            with self._gradients_stay_here(not is_last):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                    output = self.network(batch, targets)
                log_probs = self.model.heads.target_log_probs(output, targets.ids, targets.source_ids)
                sums = category_sums(log_probs, targets.is_target)
                # gradients are averaged over processes, so each scales its part up
                ((sums * self.category_weights).sum() / count * self.world).backward()
            total += sums.detach()
        if self.world > 1:
            dist.all_reduce(total)
        return total, count

    @contextlib.contextmanager
    def _gradients_stay_here(self, stay: bool) -> Iterator[None]:
        """Exchange gradients between processes only at the end of an accumulation window."""
        if stay and isinstance(self.parallel, DistributedDataParallel):
            with self.parallel.no_sync():
                yield
        else:
            yield

    def _agree(self, elapsed_s: float) -> tuple[float, int]:
        """How much of the run is over, and the signal that asks to stop, the same in all processes.

        Returns:
            From 0 to 1, by steps or by minutes, whichever is further; a signal's number, 0 for none.
        """
        done, stop = self.standing.step / self.config.steps, self.stop_signal
        if self.config.max_minutes:
            done = max(done, elapsed_s / 60 / self.config.max_minutes)
        if self.world > 1:  # clocks differ, and a signal may reach one process only
            agreed = torch.tensor([done, stop], dtype=torch.float64)  # not on a GPU, whose queue would be waited for
            dist.all_reduce(agreed, dist.ReduceOp.MAX)
            done, stop = agreed[0].item(), int(agreed[1].item())
        return min(done, 1.0), stop

    def _rate_share(self, step: int, done: float) -> float:
        """Warm-up and final decay of the learning rate."""
        warm = min(1.0, (step + 1) / max(self.config.warmup_steps, 1))
        cooling = min(1.0, (1 - done) / self.config.decay_share) if self.config.decay_share else 1.0
        return warm * cooling

    # --- evaluation and checkpoints -------------------------------------------------

    def _evaluate(self, monitor: Monitor, is_final: bool) -> None:
        positions = choose(self.validation, self.config.eval_samples)
        result = evaluate(self.model, self.validation, positions, self.device)
        # before anything is saved: the weights of a NaN must not replace the last good ones
        check_finite(torch.tensor([result.nll, result.chain_nll]).sum(0), self.names, self.standing.step)
        monitor.validation(self.standing, result)
        for group in self.optimizer.param_groups:
            group["lr"] = self.standing.peak_rate  # without warm-up and decay: the scheduler's own
        loss = result.weighted_loss(self.category_weights.tolist())
        self.scheduler.step(loss)
        self.standing.peak_rate = self.optimizer.param_groups[0]["lr"]
        metrics = {"validation": asdict(result)}
        if loss < (before := self.standing.best_loss):
            self.standing.best_loss = loss
            if not self.save("best", metrics, is_final):
                self.standing.best_loss = before  # a later one need not be better than one that is not there
        self.unsaved = None if self.save("last", metrics, is_final) else metrics
        self.is_evaluated = True

    def save(self, link: str, metrics: dict[str, Any], is_final: bool = False) -> bool:
        """Write the run as it stands, as ``RunDirectory.write`` does; only rank 0 does.

        Returns:
            Whether it was written, as far as this process knows.

        Raises:
            NonFiniteLossError: there are weights that must not replace the last good ones.
        """
        if self.rank:
            return True
        check_weights(self.model, self.standing.step)
        step = self.standing.step
        checkpoint = Checkpoint(self.model, self.log.codec, step, metrics, self.config.to_dict(), self.example)
        return self.directory.write(
            link,
            checkpoint,
            lambda draft: write_state(draft, self.standing, self.optimizer, self.scheduler),
            is_final=is_final,
        )


def compiled(network: nn.Module, device: torch.device) -> nn.Module:
    """The network by torch.compile, for batches of any size and length.

    Raises:
        ValueError: there is no compiler for the processor's code.
    """
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise ValueError(f"--compile needs the C++ compiler {compiler}, which is not here; install it, or leave it out")
    return cast(nn.Module, torch.compile(network, dynamic=True))
