"""The event model: schema, log, network, checkpoint, bundle and the engine that serves it.

From Python, ``load`` opens a bundle, and what it gives predicts from records.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventmodel.api import Predictor
    from eventmodel.engine.backend import BackendName, DeviceName

__all__ = ["load"]


def load(
    path: str | Path, backend: "BackendName" = "auto", device: "DeviceName" = "auto", threads: int = 1
) -> "Predictor":
    """Open a bundle to predict with.

    Args:
        path: directory that python -m export.run wrote.
        backend: ``torch``, ``torchscript`` or ``onnx``; ``auto`` takes the fastest one that the bundle
            and the device allow.
        device: ``cpu`` or ``cuda``; ``auto`` takes a GPU where there is one.
        threads: of one computation, on a CPU; more than there are free cores is very slow.

    Raises:
        ValueError: no bundle, or a damaged one; or the machine lacks what was asked for.
    """
    # Imported here, because the package's parts are imported by programs that need none of these.
    from eventmodel.api import Predictor
    from eventmodel.bundle import load_bundle
    from eventmodel.engine import open_engine

    bundle = load_bundle(Path(path))
    return Predictor(bundle, open_engine(bundle, backend, device, threads))
