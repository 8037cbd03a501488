"""What a backend is: it runs graphs on arrays of its own. Which library does so is a detail behind it."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

BackendName = Literal["auto", "torch", "torchscript", "onnx"]
DeviceName = Literal["auto", "cpu", "cuda"]
Native = Any
"""An array of the backend: numpy's, or a tensor on its device. Both index and slice alike."""


def graph_names(streams: Sequence[str]) -> tuple[str, ...]:
    """The graphs of a model with these stream kinds."""
    return (*(f"encode_{name}" for name in streams), "decode", "step", "chain", "nucleus")


class Backend(Protocol):
    """Runs the graphs of ``eventmodel.engine.graphs``; shapes as there."""

    def run(self, graph: str, inputs: Sequence[np.ndarray | Native]) -> Sequence[Native]:
        """The outputs of a graph: ``encode_STREAM``, ``decode``, ``step``, ``chain`` or ``nucleus``."""
        ...

    def native(self, array: np.ndarray) -> Native:
        """The array where the backend works."""
        ...

    def host(self, array: Native) -> np.ndarray:
        """The array where numpy works."""
        ...

    def zeros(self, shape: tuple[int, ...], like: Native) -> Native:
        """Zeros of the type of another array."""
        ...
