"""PyTorch: the eager model, or its TorchScript traces."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eventmodel.bundle import Bundle, artefact_path
from eventmodel.checkpoint import load_model
from eventmodel.engine.graphs import graphs_of
from eventmodel.model import EventModel

Graph = Callable[..., Tensor | tuple[Tensor, ...]]


class TorchBackend:
    """Runs graphs with torch, on a CPU in fp32 or on a GPU in bf16."""

    def __init__(self, graphs: Mapping[str, Graph], device: torch.device) -> None:
        self._graphs, self._device = graphs, device

    @classmethod
    def of_model(cls, model: EventModel, device: torch.device) -> "TorchBackend":
        """The eager model."""
        return cls(graphs_of(model.to(device).eval()), device)

    @classmethod
    def of_bundle(cls, bundle: Bundle, device: torch.device) -> "TorchBackend":
        """The eager model with the bundle's weights."""
        return cls.of_model(load_model(bundle.path, bundle.config, bundle.codec), device)

    @classmethod
    def of_traces(cls, path: Path, graphs: Sequence[str], device: torch.device) -> "TorchBackend":
        """TorchScript files of a bundle."""
        files = {name: artefact_path(path, name, "torchscript") for name in graphs}
        return cls({name: torch.jit.load(file, map_location=device).eval() for name, file in files.items()}, device)

    def run(self, graph: str, inputs: Sequence[np.ndarray | Tensor]) -> tuple[Tensor, ...]:
        # bf16 has the range of fp32; probabilities are computed in fp32 all the same
        bf16 = torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda")
        with torch.inference_mode(), bf16:
            found = self._graphs[graph](*(self.native(x) if isinstance(x, np.ndarray) else x for x in inputs))
        return found if isinstance(found, tuple) else (found,)

    def native(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def host(self, array: Tensor) -> np.ndarray:
        return array.cpu().numpy()

    def zeros(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        if like.device.type == "cpu":  # torch writes to all of it, where numpy takes memory as it is used
            return torch.from_numpy(np.zeros(shape, like.numpy().dtype))
        return like.new_zeros(shape)
