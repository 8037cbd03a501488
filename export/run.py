"""Export a checkpoint: checkpoint -> bundle.

python -m export.run --checkpoint RUN/best --out BUNDLE
"""

import hashlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
import tyro
from rich.console import Console
from rich.markup import escape
from safetensors import SafetensorError
from safetensors.torch import save_file

from eventmodel.bundle import FORMAT, ArtefactForm, Bundle, write_bundle
from eventmodel.checkpoint import WEIGHTS, Checkpoint, load_checkpoint, load_model
from eventmodel.codec import Codec
from eventmodel.config import ModelConfig
from eventmodel.directory import write_directory
from eventmodel.schema import Schema
from export.graphs import artefacts
from export.parity import largest_difference
from export.tolerance import ParityError


@dataclass(frozen=True)
class ExportConfig:
    """Turn a checkpoint into a bundle: everything that serving needs, in one directory."""

    checkpoint: Path
    """Checkpoint of a run, as RUN/best."""
    out: Path
    """Directory to write; an earlier bundle there is replaced once the new one is whole."""
    formats: tuple[ArtefactForm, ...] = ("onnx", "torchscript")
    """Artefacts beside the weights, each compared with the eager model before it ships."""


def export(config: ExportConfig, console: Console) -> Bundle:
    """Write a bundle.

    Raises:
        ValueError: the checkpoint cannot be read.
        ParityError: an artefact differs from the model; nothing is written.
        OSError: the directory cannot be written.
    """
    checkpoint = load_checkpoint(config.checkpoint)
    model = checkpoint.model
    with write_directory(config.out, replaces=FORMAT.file) as draft:
        save_file(dict(model.state_dict()), draft / WEIGHTS)
        parity: dict[str, float] = {}
        for form, name, difference, size in _write_all(config, checkpoint, draft, console):
            parity[form] = max(parity.get(form, 0.0), difference)
            console.print(f"{name}: {size / 1e6:.1f} MB, differs by {difference:.1g} at most")
        bundle = Bundle(
            path=config.out,
            name=checkpoint.codec.schema.name,
            version=hashlib.sha256((draft / WEIGHTS).read_bytes()).hexdigest()[:12],
            schema=checkpoint.codec.schema,
            vocabularies=checkpoint.codec.vocabularies,
            config=model.config,
            months=model.months,
            metrics=checkpoint.metrics,
            versions={module.__name__: module.__version__ for module in (torch, onnx, onnxruntime, numpy)},
            parity=parity,
            example=checkpoint.example,
        )
        write_bundle(bundle, draft)
    return bundle


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_all(
    config: ExportConfig, checkpoint: Checkpoint, draft: Path, console: Console
) -> Iterator[tuple[ArtefactForm, str, float, int]]:
    """Write and compare all artefacts, one per processor at a time: a graph takes half a minute, on one of them.

    Yields:
        Form, file name, largest difference and bytes of each as it is done.
    """
    names = [artefact.name for artefact in artefacts(checkpoint.model)]
    workers = min(_processors(), len(names))
    codec = checkpoint.codec
    # not the checkpoint's path: RUN/best moves on where a training still runs
    work = partial(_write, draft, checkpoint.model.config, codec.schema, codec.vocabularies)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        # the last ones are the largest: the others fill up the time that they take
        waiting = [pool.submit(work, form, name) for form in config.formats for name in reversed(names)]
        with console.status(f"{len(waiting)} graphs, {workers} at a time") as status:
            for done, future in enumerate(as_completed(waiting), start=1):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    raise OSError(
                        f"one of {workers} processes that write graphs was killed, most likely for memory; "
                        "leave them fewer processors (taskset) or more memory"
                    ) from None
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
                status.update(f"{len(waiting) - done} graphs of {len(waiting)} left, {workers} at a time")


def _write(
    draft: Path,
    config: ModelConfig,
    schema: Schema,
    vocabularies: Mapping[str, Sequence[str]],
    form: ArtefactForm,
    name: str,
) -> tuple[ArtefactForm, str, float, int]:
    """Write and compare one artefact of the weights that ship, in a process of its own."""
    torch.set_num_threads(1)
    model = load_model(draft, config, Codec(schema, vocabularies))
    artefact = next(artefact for artefact in artefacts(model) if artefact.name == name)
    path = artefact.write(form, draft)
    return form, path.name, largest_difference(artefact, form, path), path.stat().st_size


def main() -> int:
    """Parse, export, and turn what users can mend into one line."""
    console = Console(stderr=True)
    config = tyro.cli(ExportConfig, prog="python -m export.run")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that drafts are cleared away
    try:
        bundle = export(config, console)
    except (ValueError, OSError, SafetensorError, ParityError) as error:  # safetensors reports a full disk as its own
        console.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        return 2
    console.print(f"bundle {bundle.name} {bundle.version} is in {bundle.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
