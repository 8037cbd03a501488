"""The engine against the model that it runs, and both against what the machine could do.

python -m benchmarks.engine --bundle BUNDLE --events 64 --out result.json

Speed hardly depends on the weights; those of some steps of training choose dates that exist. Every
figure is the median of rounds in which all variants take turns. Per batch size:

- *bare*: the graphs called one after the other on arrays that are ready;
- *cold*: the engine, from queries to answers, with an empty state cache;
- *warm*: the same queries again, so that all states are in the cache;
- *floor*: the arithmetic of the batch at the speed of this machine's own matrix product.

Then a horizon with the key/value cache against reading the whole sequence again at every event, with
the marginals of each event and without them (ONNX), and the padding of a mixed load.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import tyro

from benchmarks.machine import machine_name, matrix_product
from benchmarks.markdown import heading, row
from benchmarks.results import write_result
from eventmodel.batch import SequenceBatch
from eventmodel.bundle import Bundle, artefact_path, load_bundle
from eventmodel.codec import MICROSECONDS, Events
from eventmodel.config import ModelConfig
from eventmodel.context import DecoderInputs, stream_batch
from eventmodel.engine import Engine, Histories, Query, open_engine
from eventmodel.engine.backend import BackendName, DeviceName, Native
from eventmodel.engine.layout import lay_out
from eventmodel.engine.onnx_backend import OnnxBackend
from eventmodel.time_context import weekday
from training.device import device_of
from training.errors import exit_on_user_error


@dataclass(frozen=True)
class EngineBenchmark:
    """Time the engine's parts."""

    bundle: Path
    """What is run; of any weights."""
    events: int = 64
    """Events of each history."""
    backends: tuple[BackendName, ...] = ("torch", "torchscript", "onnx")
    """Those that the bundle lacks are left out."""
    device: DeviceName = "cpu"
    """Where the model runs."""
    threads: int = 1
    """Inference threads on a CPU."""
    batches: tuple[int, ...] = (1, 8, 32, 128)
    """Requests that are answered together."""
    rounds: int = 7
    """Times that every variant has its turn; the median counts."""
    out: Path | None = None
    """File for the figures as JSON."""


def random_queries(bundle: Bundle, n: int, events: int | None, seed: int) -> list[Query]:
    """Requests with one history of each stream kind.

    Args:
        events: of each history; None draws from 0 to the most that is read, uniformly.
    """
    random = np.random.default_rng(seed)
    sizes, now = np.array(bundle.codec.sizes), 1_700_000_000 * MICROSECONDS
    most = np.array([stream.history_length(bundle.config.context_length) for stream in bundle.schema.streams])

    def histories() -> Histories:
        lengths = random.integers(0, most + 1) if events is None else np.minimum(events, most)
        ids = random.integers(0, sizes, (lengths.sum(), len(sizes)), np.int32)
        ago = np.concatenate([np.sort(random.integers(1, 10**6, n))[::-1] for n in lengths]) * MICROSECONDS
        of_events = Events(ids, now - ago, np.zeros(len(ids), np.int32))
        return Histories(of_events, lengths.astype(np.int32), np.ones(len(most), np.int32), (1,) * len(most))

    return [Query(histories(), now, 0, 1, None, None) for _ in range(n)]


def flops(config: ModelConfig, sizes: Sequence[int], streams: int, events: int) -> dict[str, float]:
    """Multiplications and additions of one request, of its matrix products alone.

    A block's are 12 D^2 per position (16 D^2 with cross-attention), and 2 D per pair of positions.
    """
    d, n, v, c = config.d_model, events + 1, sum(sizes), len(sizes)
    inner = (config.encoder_layers - 1) * (12 * d * d * n + 2 * d * n * n)
    last = 2 * d * d * n + 10 * d * d + 2 * d * n  # keys and values of all, the rest of one position
    q = config.focus_events + 1
    decoder = config.decoder_layers * (14 * d * d * q + 2 * d * q * q + 2 * d * d * (streams + 1))
    heads = c * 3 * d * d + v * d + c * q * d
    return {"encode": 2.0 * streams * (inner + last), "decode": 2.0 * (decoder + heads), "chain": 2.0 * heads}


def median_seconds(variants: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median time of each, taking turns, after one turn that does not count."""
    taken: list[list[float]] = [[] for _ in variants]
    for number in range(rounds + 1):
        for variant, times in zip(variants, taken, strict=True):
            began = time.perf_counter()
            variant()
            if number:
                times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in taken]


def measure(config: EngineBenchmark, bundle: Bundle, backend: BackendName, batch: int, peak: float) -> dict[str, Any]:
    """One backend at one batch size."""
    cold = open_engine(bundle, backend, config.device, config.threads, state_cache_bytes=0)
    warm = open_engine(bundle, backend, config.device, config.threads)
    queries = random_queries(bundle, batch, config.events, seed=0)
    bare = _bare(cold, queries)
    *parts, whole, cold_s, warm_s = median_seconds(
        [*bare, lambda: [part() for part in bare], lambda: cold.answer(queries), lambda: warm.answer(queries)],
        config.rounds,
    )
    work = flops(bundle.config, bundle.codec.sizes, len(bundle.schema.streams), config.events)
    return {
        "backend": backend,
        "batch": batch,
        "bare_ms": whole * 1e3,
        "bare_parts_ms": dict(zip(("encode", "decode", "chain"), (s * 1e3 for s in parts), strict=True)),
        "cold_ms": cold_s * 1e3,
        "warm_ms": warm_s * 1e3,
        "floor_ms": batch * sum(work.values()) / peak * 1e3,
        "requests_per_s": batch / cold_s,
        "histories_per_s": batch * len(bundle.schema.streams) / parts[0],
        "cold_of_bare": cold_s / whole,
        "warm_speedup": cold_s / warm_s,
        "amdahl": whole / (whole - parts[0]),
    }


def _bare(engine: Engine, queries: Sequence[Query]) -> list[Callable[[], object]]:
    """Encode, decode and chain on arrays that are ready."""
    streams, inputs = lay_out(queries, engine.codec.schema, engine.config)
    batches = [(name, stream_batch(rows.events, rows.rows)) for name, rows in streams]
    backend = engine._backend
    states = backend.native(
        np.concatenate([backend.host(engine.encode(name, histories)) for name, histories in batches])
    )
    decoding = engine.decode(states, *inputs)
    width = decoding.log_probs.shape[1]
    noise, allowed = np.zeros((len(queries), width), np.float32), np.ones((len(queries), width), bool)
    return [
        lambda: [backend.host(engine.encode(name, histories)) for name, histories in batches],
        lambda: engine.decode(states, *inputs).log_probs,
        lambda: decoding.chain(slice(None), noise, allowed),
    ]


class TransformerAlone(OnnxBackend):
    """The decoder up to its hidden vectors: what an event costs before it is turned into probabilities."""

    def __init__(self, bundle: Bundle, config: EngineBenchmark) -> None:
        graphs = ("decode", "step")
        with tempfile.TemporaryDirectory() as directory:
            for name in graphs:
                whole, part = (artefact_path(path, name, "onnx") for path in (bundle.path, Path(directory)))
                graph = onnx.load(whole, load_external_data=False).graph
                inputs, outputs = ([value.name for value in values] for values in (graph.input, graph.output))
                onnx.utils.extract_model(str(whole), str(part), inputs, [x for x in outputs if x != "log_probs"])
            super().__init__(Path(directory), graphs, config.device, config.threads)

    def run(self, graph: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The graph's outputs, with nothing for the log-probabilities."""
        return [np.zeros((len(inputs[0]), 0), np.float32), *super().run(graph, inputs)]


def measure_horizon(config: EngineBenchmark, bundle: Bundle, backend: BackendName, batch: int) -> list[dict[str, Any]]:
    """All events of the longest horizon: with the cache, and reading the whole sequence at every event."""
    engine = open_engine(bundle, backend, config.device, config.threads)
    streams, inputs = lay_out(random_queries(bundle, batch, config.events, seed=0), engine.codec.schema, engine.config)
    states = engine._states.encode(streams)
    measured = {"with marginals": engine}
    if backend == "onnx":
        measured["transformer alone"] = Engine(
            bundle.codec, bundle.config, bundle.months, TransformerAlone(bundle, config), 0
        )
    variants = [variant for e in measured.values() for variant in _horizon(e, bundle.max_horizon, states, inputs)]
    seconds = iter(median_seconds(variants, max(config.rounds // 2, 1)))
    read = bundle.config.focus_events + 1 + np.arange(bundle.max_horizon)
    return [
        {
            "backend": backend,
            "part": part,
            "batch": batch,
            "horizon": bundle.max_horizon,
            "cached_ms": (cached := next(seconds)) * 1e3,
            "recomputed_ms": (recomputed := next(seconds)) * 1e3,
            "share": cached / recomputed,
            "positions_share": float(read[-1] / read.sum()),
        }
        for part in measured
    ]


def _horizon(engine: Engine, horizon: int, states: Native, inputs: DecoderInputs) -> list[Callable[[], None]]:
    """With the cache, and without; from the same states."""
    batch, n_categories = len(inputs.sequence.ids), inputs.sequence.ids.shape[2]
    random = np.random.default_rng(0)
    future = random.integers(0, np.array(engine.codec.sizes), (batch, horizon - 1, n_categories), np.int32)
    gap = np.full((batch, horizon - 1), 9, np.int32)
    day = np.repeat(weekday(np.array([0]), np.array([0])), horizon - 1)[None].repeat(batch, 0)

    def cached() -> None:
        decoding = engine.decode(states, *inputs, room=horizon - 1)
        for at in range(horizon - 1):
            decoding.append(future[:, at], gap[:, at], day[:, at])
            decoding.log_probs.sum()

    def recomputed() -> None:
        memory, (ids, gaps, weekdays, is_token, now_hour) = inputs
        for n in range(horizon):
            sequence = SequenceBatch(
                np.concatenate((ids, future[:, :n]), 1),
                np.concatenate((gaps, gap[:, :n]), 1),
                np.concatenate((weekdays, day[:, :n]), 1),
                np.concatenate((is_token, np.ones((batch, n), bool)), 1),
                now_hour,
            )
            engine.decode(states, memory, sequence).log_probs.sum()

    return [cached, recomputed]


def measure_padding(config: EngineBenchmark, bundle: Bundle, backend: BackendName, batch: int) -> dict[str, Any]:
    """Histories of every length in one batch: how much is computed for nothing, and how long it takes."""
    engine = open_engine(bundle, backend, config.device, config.threads, state_cache_bytes=0)
    queries = random_queries(bundle, batch, None, seed=1)
    streams, _ = lay_out(queries, engine.codec.schema, engine.config)
    one_batch = [(name, stream_batch(rows.events, rows.rows)) for name, rows in streams]
    in_buckets, at_once = median_seconds(
        [
            lambda: engine._states.encode(streams),
            lambda: [engine.encode(name, histories) for name, histories in one_batch],
        ],
        config.rounds,
    )
    done = engine.statistics
    longest = sum(histories.ids.shape[0] * (histories.ids.shape[1] + 1) for _, histories in one_batch)
    real = sum(int(histories.length.sum()) + len(histories.length) for _, histories in one_batch)
    return {
        "backend": backend,
        "batch": batch,
        "padding": done.padding / (done.padding + done.tokens),
        "padding_in_one_batch": 1 - real / longest,
        "time_of_one_batch": in_buckets / at_once,
    }


def main() -> None:
    """Measure, print tables, write JSON."""
    config = tyro.cli(EngineBenchmark, prog="python -m benchmarks.engine")
    with exit_on_user_error():
        bundle = load_bundle(config.bundle)
        backends = [name for name in config.backends if name == "torch" or name in bundle.formats]
        torch.set_num_threads(config.threads)
        product, operations = matrix_product(torch.device("cpu"))
        peak = operations / median_seconds([product], rounds=15)[0]
        result: dict[str, Any] = {
            "machine": machine_name(device_of(config.device)),
            "threads": config.threads,
            "model": bundle.config.to_dict(),
            "events": config.events,
            "gflops_of_a_matrix_product": peak / 1e9,
            "batches": [measure(config, bundle, name, batch, peak) for batch in config.batches for name in backends],
            "horizon": [
                row for batch in (1, 8, 32) for name in backends for row in measure_horizon(config, bundle, name, batch)
            ],
            "padding": [measure_padding(config, bundle, name, batch) for batch in (8, 32) for name in backends],
        }
        for part in ("batches", "horizon", "padding"):
            _print(result[part])
        print(f"matrix product: {peak / 1e9:.1f} GFLOP/s, {config.threads} threads")
        if config.out:
            write_result(config.out, result)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    """One Markdown table."""
    flat = [
        {k: v for key, value in record.items() for k, v in (value if isinstance(value, dict) else {key: value}).items()}
        for record in rows
    ]
    print(f"\n{heading(list(flat[0]), left=range(len(flat[0])))}")
    for record in flat:
        print(row(f"{value:.3g}" if isinstance(value, float) else value for value in record.values()))


if __name__ == "__main__":
    main()
