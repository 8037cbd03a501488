"""Where the time of a training step goes, and how much of the device it uses."""

import copy
import ctypes
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import clip_grad_norm_
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import matrix_product
from benchmarks.process_memory import process_memory
from benchmarks.training.cases import Contender
from eventmodel.batch import Batch, Targets
from training.loss import category_sums
from training.prefetch import to_tensors

STAGES = ("data", "forward", "backward", "optimizer")
COMPILED_STEPS = 4
"""Steps until a compiled network has met the shapes that it is compiled again for."""


class Stopwatch:
    """Moments on the device's own time line: of a GPU its events, so that nothing waits for it.

    Of a CPU the processor time, because a shared machine's wall clock measures the others too.
    """

    def __init__(self, device: torch.device) -> None:
        self.is_gpu = device.type == "cuda"
        self._moments: list[float | torch.cuda.Event] = []

    def mark(self) -> None:
        """Note this moment."""
        if not self.is_gpu:
            self._moments.append(time.process_time())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._moments.append(event)

    def intervals(self) -> list[float]:
        """Seconds between the marks so far; forgets them."""
        moments, self._moments = self._moments, []
        if self.is_gpu:
            torch.cuda.synchronize()
        return [_between(one, other) for one, other in pairwise(moments)]


def _between(one: float | torch.cuda.Event, other: float | torch.cuda.Event) -> float:
    if isinstance(one, float) and isinstance(other, float):
        return other - one
    assert isinstance(one, torch.cuda.Event)
    assert isinstance(other, torch.cuda.Event)
    return one.elapsed_time(other) / 1000


@dataclass
class Measured:
    """Of one contender."""

    stages: list[list[float]] = field(default_factory=list)
    """Per step, the seconds of each of STAGES."""
    n_events: int = 0
    """That all steps read: of histories and sequences, padding not counted."""
    peak_memory: int = 0
    """Bytes that the contender added to what there was: weights, gradients, optimizer, activations."""
    first_steps_s: float = 0.0
    """Wall time of the steps before, compilation included."""

    @property
    def stage_s(self) -> list[float]:
        """Median seconds of each stage."""
        return [median(seconds) for seconds in zip(*self.stages, strict=True)]

    @property
    def step_s(self) -> float:
        """Of a step."""
        return sum(self.stage_s)


def take_turn(contender: Contender, watch: Stopwatch, steps: int, found: Measured) -> None:
    """A few optimizer steps; waits for the device after the last one only."""
    n_events = torch.zeros((), dtype=torch.int64, device=contender.device)
    for _ in range(steps):
        n_events += train_step(contender, watch)
    spans = watch.intervals()
    of_step = len(STAGES[:3]) * contender.passes + 2  # the last one leads to the next step
    for first in range(0, steps * of_step, of_step):
        passes, optimizer = spans[first : first + of_step - 2], spans[first + of_step - 2]
        found.stages.append([*(sum(passes[stage::3]) for stage in range(3)), optimizer])
    found.n_events += int(n_events)


def train_step(contender: Contender, watch: Stopwatch) -> Tensor:
    """One optimizer step, marked where its stages begin and end; returns the number of events read."""
    n_events = torch.zeros((), dtype=torch.int64, device=contender.device)
    for _ in range(contender.passes):
        watch.mark()
        batch, targets = contender.next_batch()
        watch.mark()
        with torch.autocast(contender.device.type, torch.bfloat16, enabled=watch.is_gpu):
            output = contender.network(batch, targets)
        heads = contender.model.heads
        sums = category_sums(heads.target_log_probs(output, targets.ids, targets.source_ids), targets.is_target)
        loss = sums.sum() / targets.is_target.sum() / contender.passes
        if contender.is_naive:
            sums.tolist()  # waits for the device
        watch.mark()
        loss.backward()
        n_events += events_read(batch, targets)
    watch.mark()
    clip_grad_norm_(contender.model.parameters(), 1.0)
    contender.optimizer.step()
    contender.optimizer.zero_grad(set_to_none=True)
    watch.mark()
    return n_events


def events_read(batch: Batch, targets: Targets) -> Tensor:
    """Real events that the network reads."""
    histories = torch.stack([stream.length.sum() for stream in batch.streams]).sum()
    return histories + batch.sequence.is_token.sum() - len(targets.ids)


def measure(contenders: Sequence[Contender], found: Sequence[Measured], seconds: float) -> None:
    """Let contenders take turns until the time is over; each has one at least."""
    watch = Stopwatch(contenders[0].device)
    began = time.monotonic()
    while time.monotonic() - began < seconds or not found[-1].stages:
        for contender, result in zip(contenders, found, strict=True):
            # a GPU's queue is emptied at the end of a turn, so it should be long; a naive step takes seconds
            take_turn(contender, watch, 10 if watch.is_gpu and not contender.has_naive_data else 1, result)


def first_steps(contender: Contender) -> Measured:
    """Warm up, compile where that is asked for, and see how much memory it takes.

    On a CPU the step counts, unless it was compiled: there is little to warm up, and it may last a minute.
    """
    steps = COMPILED_STEPS if contender.loop == "compiled" else 1
    before = _reset_peak(contender.device)
    began = time.monotonic()
    found = Measured()
    take_turn(contender, Stopwatch(contender.device), steps, found)
    found.first_steps_s = time.monotonic() - began
    found.peak_memory = _peak(contender.device) - before
    if contender.device.type == "cuda" or contender.loop == "compiled":
        found.stages, found.n_events = [], 0
    return found


def _reset_peak(device: torch.device) -> int:
    """Bytes in use."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    # what earlier contenders have freed goes back to the system, and its memory of the peak is cleared
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return process_memory(os.getpid(), "VmRSS")


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else process_memory(os.getpid(), "VmHWM")


def flops_of_step(contender: Contender) -> float:
    """Floating-point operations of the products of matrices in one step, forward and backward.

    Causal attention counts in full, though its kernels leave half of it out. Nothing is computed.
    """
    nowhere = torch.device("meta")
    model = copy.deepcopy(contender.model).to(nowhere)
    batch, targets = to_tensors(next(contender.batches), nowhere)
    # attention in plain products: of a CPU's fused one the counter knows nothing
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        output = model(batch, targets)
        model.heads.target_log_probs(output, targets.ids, targets.source_ids).sum().backward()
    return float(counter.get_total_flops()) * contender.passes


def peak_flops(device: torch.device) -> float:
    """Operations per second of a large product of matrices, by the stopwatch that steps are measured with."""
    product, operations = matrix_product(device)
    watch = Stopwatch(device)
    product()
    spans = []
    for _ in range(8):
        watch.mark()
        product()
        watch.mark()
        spans += watch.intervals()
    return operations / min(spans)
