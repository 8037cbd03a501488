"""Verify a bundle where it lies: its files, its artefacts against its weights, and a prediction.

python -m export.check BUNDLE
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eventmodel.bundle import Bundle, load_bundle
from eventmodel.engine import Answer, open_engine
from eventmodel.request.reader import read_request
from eventmodel.request.rendering import render
from export.tolerance import TOLERANCE, ParityError

Runnable = Literal["torch", "torchscript", "onnx"]
LIBRARY: dict[Runnable, str] = {"torch": "torch", "torchscript": "torch", "onnx": "onnxruntime"}
"""What each backend needs; a machine that lacks one of them checks what it can."""


@dataclass(frozen=True)
class CheckConfig:
    """Verify a bundle: files against their hashes, artefacts against the weights, and a prediction, on the CPU."""

    bundle: tyro.conf.Positional[Path]
    """Directory that python -m export.run wrote."""
    backend: tuple[Runnable, ...] = ()
    """What to check; by default everything that the bundle holds and this machine can run."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    subject: str
    backend: str
    result: str
    is_checked: bool = True


class CheckError(Exception):
    """The bundle is not sound; the reason, in one line."""


def check(config: CheckConfig) -> Iterator[Finding]:
    """Look at one thing after the other.

    Raises:
        CheckError: at the first that is wrong.
    """
    with _reason():
        bundle = load_bundle(config.bundle)
    yield Finding("files", "", "each as it was exported")

    held = tuple(backend for backend in LIBRARY if backend == "torch" or backend in bundle.formats)
    for backend in config.backend:
        if backend not in held:
            raise CheckError(f"{backend}: the bundle holds {', '.join(held)}")
        if missing := _missing(backend):
            raise CheckError(f"{backend}: {missing}")
    wanted = config.backend or held
    if all(_missing(backend) for backend in wanted):
        raise CheckError("nothing here can run the model: install torch, or the extra cpu or gpu")
    yield from _parity(bundle, wanted)
    yield from _sample(bundle, wanted)


def _parity(bundle: Bundle, backends: tuple[Runnable, ...]) -> Iterator[Finding]:
    """Artefacts against the weights, at several shapes."""
    for backend in backends:
        if backend == "torch":
            continue  # runs the weights themselves
        missing = _missing(backend) or _missing("torch")
        if missing:
            yield Finding("artefacts", backend, missing, is_checked=False)
            continue
        from export.parity import bundle_difference  # here, because it needs torch

        with _reason(backend):
            difference = bundle_difference(bundle, backend)
        yield Finding("artefacts", backend, f"differ from the weights by {difference:.1g} at most")


def _sample(bundle: Bundle, backends: tuple[Runnable, ...]) -> Iterator[Finding]:
    """The bundle's example, answered by every backend alike."""
    with _reason("example.json"):
        request = read_request(bundle.example, bundle)
    first: tuple[str, Answer] | None = None
    for backend in backends:
        if missing := _missing(backend):
            yield Finding("prediction", backend, missing, is_checked=False)
            continue
        with _reason(backend):
            answer = open_engine(bundle, backend, "cpu").answer([request.query])[0]
            render(bundle, request, answer)
            result = "given" if first is None else _compare(first, answer)
        first = first or (backend, answer)
        yield Finding("prediction", backend, result)


def _compare(first: tuple[str, Answer], answer: Answer) -> str:
    """Say how far two answers' first events are from each other.

    Raises:
        ParityError: further than two backends may be.
    """
    backend, expected = first
    difference = float(np.abs(np.exp(answer.log_probs[0]) - np.exp(expected.log_probs[0])).max())
    result = f"differs from that of {backend} by {difference:.1g} at most"
    if not difference <= TOLERANCE:  # also catches NaN
        raise ParityError(f"the answer to example.json {result}, and may by {TOLERANCE:g}")
    return result


def _missing(backend: Runnable) -> str:
    """Why this machine cannot run a backend; nothing where it can."""
    library = LIBRARY[backend]
    return "" if find_spec(library) else f"{library} is not installed"


@contextmanager
def _reason(what: str = "") -> Iterator[None]:
    """Whatever a library says of what it is given is the reason why the bundle is not sound."""
    try:
        yield
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckError(f"{what}: {said[0]}" if what else said[0]) from error


def main() -> int:
    """Parse, check, print what was found and the verdict."""
    config = tyro.cli(CheckConfig, prog="python -m export.check")
    console, findings, fault = Console(), list[Finding](), ""
    try:
        with console.status("checking"):
            findings.extend(check(config))
    except CheckError as error:
        fault = str(error)
    table = Table("check", "backend", "result")
    for finding in findings:
        mark = "" if finding.is_checked else "not checked: "
        table.add_row(finding.subject, finding.backend, escape(mark + finding.result))
    if findings:
        console.print(table)
    unchecked = sorted({f"{f.subject} of {f.backend}" for f in findings if not f.is_checked})
    if fault:
        Console(stderr=True).print(f"[red]error:[/red] {escape(fault)}", soft_wrap=True)
        return 1
    rest = f" as far as was checked; not checked: {', '.join(unchecked)}" if unchecked else ""
    console.print(escape(f"{config.bundle} is sound{rest}"), soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
