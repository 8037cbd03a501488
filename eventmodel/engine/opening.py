"""A bundle's engine, on the backend and the device that are asked for."""

import importlib.util

from eventmodel.bundle import Bundle
from eventmodel.engine.backend import Backend, BackendName, DeviceName, graph_names
from eventmodel.engine.engine import STATE_CACHE_BYTES, Engine


def open_engine(
    bundle: Bundle,
    backend: BackendName = "auto",
    device: DeviceName = "auto",
    threads: int = 1,
    state_cache_bytes: int = STATE_CACHE_BYTES,
) -> Engine:
    """Load a bundle's model.

    Args:
        backend: ``auto`` is ONNX Runtime on a CPU where bundle and machine have it (twice as fast as eager
            at batch 1), torch otherwise.
        device: ``auto`` is a GPU where the backend finds one; traces run on a CPU alone.
        threads: of one computation, on a CPU; more than there are free cores is very slow.
        state_cache_bytes: for states of histories that were seen before; 0 keeps none.

    Raises:
        ValueError: the bundle or the machine lacks what was asked for.
    """
    check_backend(bundle, backend)
    if backend == "torchscript" and device == "cuda":
        raise ValueError("traces are made on a CPU and run there alone; choose --backend torch for a GPU")
    if device == "auto" and backend != "onnx":
        device = "cuda" if backend != "torchscript" and _has_gpu() else "cpu"
    if backend == "auto":
        has_onnx = "onnx" in bundle.formats and importlib.util.find_spec("onnxruntime") is not None
        backend = "onnx" if device == "cpu" and has_onnx else "torch"
    try:
        opened = _open_backend(bundle, backend, device, threads)
    except ModuleNotFoundError as error:
        raise ValueError(f"backend {backend} needs {error.name}, which is not installed") from None
    return Engine(bundle.codec, bundle.config, bundle.months, opened, state_cache_bytes)


def check_backend(bundle: Bundle, backend: BackendName) -> None:
    """
    Raises:
        ValueError: the bundle lacks the backend's files.
    """
    if backend not in ("auto", "torch", *bundle.formats):
        raise ValueError(
            f"{bundle.path} holds no {backend} artefacts, only {', '.join(bundle.formats) or 'weights'}; "
            f"export it with --formats {backend}, or choose --backend torch"
        )


def _has_gpu() -> bool:
    """Whether torch, if it is installed at all, finds one."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _open_backend(bundle: Bundle, backend: BackendName, device: DeviceName, threads: int) -> Backend:
    """Each backend's library is imported only where it is used."""
    graphs = graph_names([stream.name for stream in bundle.schema.streams])
    if backend == "onnx":
        from eventmodel.engine.onnx_backend import OnnxBackend

        return OnnxBackend(bundle.path, graphs, device, threads)

    import torch

    from eventmodel.engine.torch_backend import TorchBackend

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch finds no GPU")
    torch.set_num_threads(threads)
    if backend == "torchscript":
        return TorchBackend.of_traces(bundle.path, graphs, torch.device(device))
    return TorchBackend.of_bundle(bundle, torch.device(device))
