"""ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from eventmodel.batch import MemoryBatch, SequenceBatch, StreamBatch
from eventmodel.engine.backend import ChainStep, DecodedStep, chain_inputs

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxBackend:
    """Runs a bundle's ONNX files."""

    def __init__(self, path: Path, streams: Sequence[str], device: str, threads: int) -> None:
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
            file = path / f"{name}.onnx"
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

        self._encode = {name: open_session(f"encode_{name}") for name in streams}
        self._decode, self._chain = open_session("decode"), open_session("chain")

    def encode(self, stream: str, batch: StreamBatch) -> np.ndarray:
        return _run(self._encode[stream], batch)[0]

    def decode(self, states: np.ndarray, memory: MemoryBatch, sequence: SequenceBatch) -> DecodedStep:
        return DecodedStep(*_run(self._decode, (states, *memory, *sequence)))

    def chain(
        self, step: DecodedStep, source_ids: np.ndarray, noise: np.ndarray, allowed: np.ndarray, forced: np.ndarray
    ) -> ChainStep:
        return ChainStep(*_run(self._chain, chain_inputs(step, source_ids, noise, allowed, forced)))


def _run(session: onnxruntime.InferenceSession, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    names = [entry.name for entry in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))
