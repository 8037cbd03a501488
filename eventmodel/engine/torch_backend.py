"""PyTorch: the eager model, or its TorchScript traces."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from eventmodel.batch import MemoryBatch, SequenceBatch, StreamBatch
from eventmodel.bundle import Bundle
from eventmodel.engine.backend import ChainStep, DecodedStep, chain_inputs
from eventmodel.engine.graphs import ChainGraph, DecodeGraph, EncodeGraph
from eventmodel.model import EventModel

Graph = Callable[..., Tensor | tuple[Tensor, ...]]


class TorchBackend:
    """Runs graphs with torch on a CPU or a GPU."""

    def __init__(self, encode: dict[str, Graph], decode: Graph, chain: Graph, device: torch.device) -> None:
        self._encode, self._decode, self._chain, self._device = encode, decode, chain, device

    @classmethod
    def of_model(cls, model: EventModel, device: torch.device) -> "TorchBackend":
        """The eager model."""
        model = model.to(device).eval()
        encode: dict[str, Graph] = {name: EncodeGraph(model, name).eval() for name in model.streams}
        return cls(encode, DecodeGraph(model).eval(), ChainGraph(model).eval(), device)

    @classmethod
    def of_bundle(cls, bundle: Bundle, device: torch.device) -> "TorchBackend":
        """The eager model with the bundle's weights."""
        model = EventModel(bundle.config, bundle.codec)
        model.load_state_dict(load_file(bundle.path / "weights.safetensors"))
        return cls.of_model(model, device)

    @classmethod
    def of_traces(cls, path: Path, streams: Sequence[str], device: torch.device) -> "TorchBackend":
        """TorchScript files of a bundle."""

        def load(name: str) -> Graph:
            return torch.jit.load(path / f"{name}.ts", map_location=device).eval()

        return cls({name: load(f"encode_{name}") for name in streams}, load("decode"), load("chain"), device)

    def encode(self, stream: str, batch: StreamBatch) -> np.ndarray:
        return self._run(self._encode[stream], batch)[0]

    def decode(self, states: np.ndarray, memory: MemoryBatch, sequence: SequenceBatch) -> DecodedStep:
        return DecodedStep(*self._run(self._decode, (states, *memory, *sequence)))

    def chain(
        self, step: DecodedStep, source_ids: np.ndarray, noise: np.ndarray, allowed: np.ndarray, forced: np.ndarray
    ) -> ChainStep:
        return ChainStep(*self._run(self._chain, chain_inputs(step, source_ids, noise, allowed, forced)))

    def _run(self, graph: Graph, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        with torch.inference_mode():
            found = graph(*(torch.from_numpy(np.ascontiguousarray(array)).to(self._device) for array in arrays))
        return tuple(t.cpu().numpy() for t in (found if isinstance(found, tuple) else (found,)))
