"""The gate: an artefact that differs from the eager model does not ship."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eventmodel.bundle import ArtefactForm, Bundle, artefact_path
from eventmodel.checkpoint import load_model
from export.graphs import Artefact, Inputs, artefacts
from export.tolerance import TOLERANCE, ParityError

SHAPES = ((1, 1), (2, 3), (5, 7), (3, 64))
"""Batch sizes and lengths that are compared; the example that was traced is none of them."""


def bundle_difference(bundle: Bundle, form: ArtefactForm) -> float:
    """Compare all artefacts of a bundle in one form with the eager model of its weights.

    Raises:
        ParityError: a difference is beyond the tolerance, or a choice differs.
    """
    model = load_model(bundle.path, bundle.config, bundle.codec)
    return max(
        largest_difference(artefact, form, artefact_path(bundle.path, artefact.name, form))
        for artefact in artefacts(model)
    )


def largest_difference(artefact: Artefact, form: ArtefactForm, path: Path) -> float:
    """Compare a written artefact with the eager model, in probability.

    Raises:
        ParityError: the difference is beyond the tolerance, or a choice differs.
    """
    run = _load(form, path)
    worst = 0.0
    for batch, length in SHAPES:
        inputs = artefact.make_inputs(batch, length)
        with torch.inference_mode():
            found = artefact.graph(*inputs)
        expected = found if isinstance(found, tuple) else (found,)
        for name, want, got in zip(artefact.output_names, expected, run(inputs), strict=True):
            difference = _difference(name, want, got)
            if not difference <= TOLERANCE:  # also catches NaN
                raise ParityError(
                    f"{path.name}: output {name} differs from the eager model by {difference:.2g} at batch {batch}, "
                    f"length {length}; the most that may ship is {TOLERANCE:g}. This is a fault of the exporter or "
                    "its versions: compare them with constraints.txt"
                )
            worst = max(worst, difference)
    return worst


def _difference(name: str, want: Tensor, got: np.ndarray) -> float:
    a, b = want.double().numpy(), got.astype(np.float64)
    if a.shape != b.shape:
        return float("inf")
    if name.startswith("log_prob"):
        a, b = np.exp(a), np.exp(b)
    return float(np.abs(a - b).max())


def _load(form: ArtefactForm, path: Path) -> Callable[[Inputs], list[np.ndarray]]:
    if form == "onnx":
        import onnxruntime  # here, so that TorchScript can be compared where there is none

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
        return lambda inputs: session.run(None, dict(zip(names, (t.numpy() for t in inputs), strict=True)))

    module = torch.jit.load(path)

    def run(inputs: Inputs) -> list[np.ndarray]:
        with torch.inference_mode():
            found = module(*inputs)
        return [t.numpy() for t in (found if isinstance(found, tuple) else (found,))]

    return run
