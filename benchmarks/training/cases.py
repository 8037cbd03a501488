"""What is trained, and by which loop."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from math import gcd
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.optim import AdamW
from torch.utils.data import DataLoader

from benchmarks.training.naive import NaiveSamples
from benchmarks.training.stock import use_stock_modules
from eventmodel.batch import Batch, Targets
from eventmodel.config import ModelConfig
from eventmodel.event_log import EventLog
from eventmodel.model import EventModel
from eventmodel.schema import Schema
from training.config import PRESETS, PresetName, TrainConfig
from training.prefetch import pin, prefetch, to_tensors
from training.sampling import Sampler, TrainingBatches
from training.trainer import compiled

Loop = Literal["this", "compiled", "stock modules", "naive data", "naive loop"]

WIDE = {"Actor": 64, "Location": 40, "Time": 1}
"""Entities per sample of the original system, by stream: 105 histories."""
WIDE_LENGTH = 1000


@dataclass(frozen=True)
class Case:
    """A network and how much it reads at a time."""

    name: str
    model: ModelConfig
    batch_size: int
    accumulation: int = 1
    is_wide: bool = False
    """105 histories of 1,000 events in each sample."""


CaseName = PresetName | Literal["original"]


def case_of(name: CaseName, is_gpu: bool) -> Case:
    """A preset at its own batch size, or at one that a CPU is done with in seconds; ``original`` is the wide one."""
    if name == "original":
        wide = replace(PRESETS["base"]["model"], context_length=WIDE_LENGTH)
        return Case(name, wide, 1, 8 if is_gpu else 1, is_wide=True)
    of_cpu = {"quickstart": 32, "workforce": 16, "base": 8, "large": 1}[name]
    preset = PRESETS[name]
    if not is_gpu:
        return Case(name, preset["model"], of_cpu)
    size, accumulation = (preset.get(field, getattr(TrainConfig, field)) for field in ("batch_size", "accumulation"))
    return Case(name, preset["model"], size, accumulation)


def widened(schema: Schema) -> Schema:
    """The same events, and samples of 105 histories."""
    document = schema.model_dump(mode="json")
    for stream in document["streams"]:
        stream |= {"max_entities": WIDE[stream["name"]], "max_events": WIDE_LENGTH}
    return Schema.model_validate(document)


class Contender:
    """One loop: its weights, its optimizer and where its batches come from."""

    def __init__(self, loop: Loop, case: Case, log: EventLog, device: torch.device) -> None:
        self.loop, self.device = loop, device
        self.is_naive, self.has_naive_data = loop == "naive loop", loop in ("naive loop", "naive data")
        # the newest tenth of the training part: histories are as long there as they get
        sampler = Sampler(log, case.model, log.train_end - log.train_end // 10, log.train_end)
        torch.manual_seed(0)
        self.model = EventModel(case.model, log.codec)
        if loop == "stock modules":
            use_stock_modules(self.model)
        self.model.to(device)
        self.network: nn.Module = self.model
        if loop == "compiled":
            self.network = compiled(self.model, device)
        weights = self.model.parameters()
        self.optimizer = AdamW(weights, foreach=False) if self.is_naive else AdamW(weights, fused=True)
        # the naive loop reads one sample at a time
        self.passes = case.batch_size * case.accumulation if self.is_naive else case.accumulation
        size = 1 if self.is_naive else case.batch_size
        self.batches: Iterator[tuple[Batch, Targets]]
        if self.has_naive_data:
            self.batches = _naive_batches(sampler, size)
        else:
            self.batches = _our_batches(sampler, size, device)

    def next_batch(self) -> tuple[Batch, Targets]:
        """The next batch, on the device."""
        return to_tensors(next(self.batches), self.device)


def _our_batches(sampler: Sampler, size: int, device: torch.device) -> Iterator[tuple[Batch, Targets]]:
    shares = {name: getattr(TrainConfig, name) for name in ("entity_masking", "entity_dropout", "history_cut")}
    neighbours = gcd(size, TrainConfig.neighbours)
    batches = TrainingBatches(sampler, batch_size=size, seed=0, neighbours=neighbours, **shares)
    if device.type == "cuda":
        return prefetch(lambda number: pin(batches(number), device), 0, device)
    return map(batches, count())  # in the same thread, so that its time is counted


def _naive_batches(sampler: Sampler, size: int) -> Iterator[tuple[Batch, Targets]]:
    samples = NaiveSamples(sampler)
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(sampler))[:1000]
        yield from DataLoader(samples, size, sampler=sampler.position(order).tolist(), collate_fn=samples.collate)
