"""Artefacts: the engine's graphs as ONNX and as TorchScript, for any batch size and length."""

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from eventmodel.bundle import ArtefactForm, artefact_path
from eventmodel.engine.graphs import (
    CHAIN_INPUTS,
    CHAIN_OUTPUTS,
    DECODE_INPUTS,
    ENCODE_INPUTS,
    ENCODE_OUTPUTS,
    NUCLEUS_INPUTS,
    decode_outputs,
    graphs_of,
    step_inputs,
    step_outputs,
)
from eventmodel.model import EventModel
from eventmodel.time_context import N_GAP_BUCKETS, N_WEEKDAYS

OPSET = 20

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Artefact:
    """One graph to export."""

    name: str
    graph: nn.Module
    input_names: Sequence[str]
    output_names: Sequence[str]
    free: Sequence[Sequence[int]]
    """Per input, which of its dimensions vary."""
    make_inputs: Callable[[int, int], Inputs]
    """Random inputs of a batch size and a length."""

    def write(self, form: ArtefactForm, directory: Path) -> Path:
        """Write the graph into the directory and return the file."""
        write = self._write_onnx if form == "onnx" else self._write_torchscript
        return write(artefact_path(directory, self.name, form))

    def _write_onnx(self, path: Path) -> Path:
        with _quiet():
            program = torch.onnx.export(
                self.graph,
                # sizes above 1: a size of 1 in the example would be exported as a constant
                self.make_inputs(3, 5),
                dynamo=True,
                input_names=list(self.input_names),
                output_names=list(self.output_names),
                dynamic_shapes=self._dynamic_shapes(),
                opset_version=OPSET,
                verbose=False,
            )
            assert program is not None
            program.save(path)
        return path

    def _dynamic_shapes(self) -> tuple[object, ...]:
        """By argument; those of a ``*argument`` together are one."""
        free = [dict.fromkeys(dimensions, Dim.DYNAMIC) for dimensions in self.free]
        named = [p for p in inspect.signature(self.graph.forward).parameters.values() if p.kind is not p.VAR_POSITIONAL]
        if len(named) == len(free):
            return tuple(free)
        return (*free[: len(named)], tuple(free[len(named) :]))

    def _write_torchscript(self, path: Path) -> Path:
        traced = torch.jit.trace(self.graph, self.make_inputs(3, 5), check_trace=False)
        assert isinstance(traced, torch.jit.ScriptModule)
        torch.jit.freeze(traced).save(str(path))
        return path


def artefacts(model: EventModel) -> list[Artefact]:
    """Every graph that a bundle holds of a model."""
    inputs = RandomInputs(model)
    blocks = model.config.decoder_layers
    chain = ((0,), (0, 1), (0, 1), (0, 1), (0,), (0,), (0,))
    step = ((0,), (0,), (0,), (), (0, 1), (0,), (0, 1), (0, 1))
    free_and_names: dict[str, tuple[Sequence[Sequence[int]], Sequence[str], Sequence[str], Callable[..., Inputs]]] = {}
    for stream in model.schema.streams:
        longest = stream.history_length(model.config.context_length)
        events = (0, 1) if longest > 1 else (0,)
        make = partial(inputs.encode, longest)
        free_and_names[f"encode_{stream.name}"] = ((events, events, events, (0,)), ENCODE_INPUTS, ENCODE_OUTPUTS, make)
    free_and_names |= {
        "decode": (
            ((0,), (0,), (0,), (0,), (0, 1), (0, 1), (0, 1), (0, 1), (0,)),
            DECODE_INPUTS,
            decode_outputs(blocks),
            inputs.decode,
        ),
        "step": (
            (*step, *[(0, 2)] * (2 * blocks), *[(0,)] * (2 * blocks)),
            step_inputs(blocks),
            step_outputs(blocks),
            inputs.step,
        ),
        "chain": (chain, CHAIN_INPUTS, CHAIN_OUTPUTS, inputs.chain),
        "nucleus": ((*chain, (0,), (0,)), NUCLEUS_INPUTS, CHAIN_OUTPUTS, inputs.nucleus),
    }
    return [
        Artefact(name, graph, input_names, output_names, free, make_inputs)
        for name, graph in graphs_of(model.eval()).items()
        for free, input_names, output_names, make_inputs in [free_and_names[name]]
    ]


class RandomInputs:
    """Inputs that respect what each graph may be given; lengths count from 1."""

    def __init__(self, model: EventModel) -> None:
        self.model = model
        self.random = torch.Generator().manual_seed(0)
        of_slot = [model.schema.key_category(s) for s in model.schema.streams for _ in range(s.max_entities)]
        self.slot_sizes = [1 if category is None else model.sizes[category] for category in of_slot]

    def encode(self, longest: int, batch: int, length: int) -> Inputs:
        """Histories of 0 to ``length`` events, or to the ``longest`` of the stream's."""
        length = min(length, longest)
        n_events = torch.randint(0, length + 1, (batch,), generator=self.random)
        return (*self._events(batch, length), n_events)

    def decode(self, batch: int, length: int) -> Inputs:
        """A sequence with ``length`` - 1 generated events; some slots are empty, some history is missing."""
        config, n_slots = self.model.config, len(self.model.slot_kind)
        q = config.focus_events + min(length, config.target_length)
        states = torch.randn(batch + 1, config.d_model, generator=self.random)
        place = torch.randint(0, batch + 2, (batch, n_slots), generator=self.random)
        ids, gap, weekday = self._events(batch, q)
        missing = torch.randint(0, config.focus_events + 1, (batch, 1), generator=self.random)
        is_token = torch.arange(q) >= missing
        return (
            states,
            place,
            torch.stack([self._integers(size, batch) for size in self.slot_sizes], -1),
            self._integers(N_GAP_BUCKETS, batch, n_slots),
            ids,
            gap,
            weekday,
            is_token,
            self._integers(24, batch),
        )

    def chain(self, batch: int, length: int) -> Inputs:
        """As many sources as decoding gives; noise, masks, and every third category forced."""
        sizes, d_model = self.model.sizes, self.model.config.d_model
        q = self.model.config.focus_events + min(length, self.model.config.target_length)
        forced = self._events(batch, 1)[0][:, 0]
        forced[:, torch.arange(len(sizes)) % 3 > 0] = -1
        allowed = torch.rand(batch, sum(sizes), generator=self.random) < 0.7
        allowed[:, [0, *torch.tensor(sizes).cumsum(0)[:-1].tolist()]] = True  # at least one id of each
        return (
            torch.randn(batch, d_model, generator=self.random),
            torch.randn(batch, q, d_model, generator=self.random),
            torch.rand(batch, q, generator=self.random) < 0.7,
            self._events(batch, q)[0],
            torch.rand(batch, sum(sizes), generator=self.random),
            allowed,
            forced,
        )

    def nucleus(self, batch: int, length: int) -> Inputs:
        """As for the chain; temperatures from 0.5 to 2, nuclei from 0.1 on."""
        temperature, top_p = (torch.rand(2, batch, generator=self.random) * 0.9 + 0.1).unbind()
        return (*self.chain(batch, length), temperature * 2, top_p)

    def step(self, batch: int, length: int) -> Inputs:
        """An event after ``length`` - 1 others, with room for ``length``."""
        config = self.model.config
        blocks, heads = 2 * config.decoder_layers, config.n_heads
        read = config.focus_events + min(length, config.target_length)
        q = read + length
        ids, gap, weekday = self._events(batch, 1)
        missing = torch.randint(0, config.focus_events + 1, (batch, 1), generator=self.random)
        at = torch.arange(q)
        tokens = len(self.model.slot_kind) + 1
        is_filled = torch.rand(batch, tokens, generator=self.random) < 0.7
        is_filled[:, 0] = True

        def kept(width: int) -> list[Tensor]:
            shape = (batch, heads, width, config.head_dim)
            return [torch.randn(shape, generator=self.random) for _ in range(blocks)]

        return (
            ids,
            gap,
            weekday,
            torch.tensor([read]),
            (at >= missing) & (at < read),
            is_filled,
            torch.randn(batch, q, config.d_model, generator=self.random),
            self._events(batch, q)[0],
            *kept(q),
            *kept(tokens),
        )

    def _events(self, batch: int, length: int) -> Inputs:
        ids = torch.stack([self._integers(size, batch, length) for size in self.model.sizes], -1)
        return ids, self._integers(N_GAP_BUCKETS, batch, length), self._integers(N_WEEKDAYS, batch, length)

    def _integers(self, end: int, *shape: int) -> Tensor:
        return torch.randint(0, end, shape, dtype=torch.int32, generator=self.random)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The ONNX exporter reports its progress, missing optional packages and its own deprecations."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.__trace")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
