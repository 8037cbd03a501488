"""ONNX Runtime."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else it looks for its maker, and writes to the home directory
import onnxruntime

from eventmodel.bundle import artefact_path
from eventmodel.denormals import denormals_as_zero

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxBackend:
    """Runs a bundle's ONNX files."""

    def __init__(self, path: Path, graphs: Sequence[str], device: str, threads: int) -> None:
        """
        Args:
            device: ``cpu``, ``cuda``, or ``auto`` for a GPU where onnxruntime finds one. The CUDA
                provider has not been tried by the project's tests, which run without a GPU.
            threads: of one computation, on the CPU.

        Raises:
            ValueError: onnxruntime cannot run on the device that was asked for.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3

        def open_session(name: str) -> onnxruntime.InferenceSession:
            file = artefact_path(path, name, "onnx")
            if device == "auto":
                some = [p for p in reversed(PROVIDERS.values()) if p in onnxruntime.get_available_providers()]
                return onnxruntime.InferenceSession(file, options, providers=some)
            session = onnxruntime.InferenceSession(file, options, providers=[PROVIDERS[device]])
            # onnxruntime falls back to the CPU with no more than a line in its log
            if session.get_providers()[0] != PROVIDERS[device]:
                raise ValueError(
                    f"onnxruntime cannot run on {device}: it has {onnxruntime.get_available_providers()}; "
                    "install the extra gpu instead of cpu, or use --device cpu"
                )
            return session

        with denormals_as_zero():  # a session starts its threads
            self._sessions = {name: open_session(name) for name in graphs}
        self._inputs = {name: [i.name for i in s.get_inputs()] for name, s in self._sessions.items()}

    def run(self, graph: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        with denormals_as_zero():
            return self._sessions[graph].run(None, dict(zip(self._inputs[graph], inputs, strict=True)))

    def native(self, array: np.ndarray) -> np.ndarray:
        return array

    def host(self, array: np.ndarray) -> np.ndarray:
        return array

    def zeros(self, shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
        return np.zeros(shape, like.dtype)
