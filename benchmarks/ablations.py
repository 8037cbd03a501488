"""What each part of the design is worth: train without it, and look at the validation part.

python -m benchmarks.ablations --data LOG [LOG ...] --out DIR --steps 700

Every variant is the same model on the same batches but for one part. The loss is compared on the
validation part, so that what is kept is not chosen with sight of the test part. A variant that is
done is not trained again, and one of other steps or another seed is refused.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from torch import Tensor

from benchmarks.markdown import heading, row
from benchmarks.results import read_result, write_result
from benchmarks.runs import check_configuration, recorded
from eventmodel.batch import MemoryBatch, SequenceBatch
from eventmodel.model import Decoded
from training.config import PRESETS, TrainConfig
from training.errors import exit_on_user_error
from training.monitor import Monitor
from training.trainer import Trainer


@dataclass(frozen=True)
class AblationConfig:
    """Train variants of the design and tabulate their validation losses."""

    data: tuple[Path, ...]
    """Prepared logs."""
    out: Path
    """Directory for the runs."""
    steps: int = 700
    """Optimizer steps of each variant, of the quickstart preset's shape and batch size."""
    seed: int = 0
    """The same for all variants."""
    only: tuple[str, ...] = ()
    """Names of variants to compare with the whole design; all by default."""


Change = Callable[[TrainConfig], TrainConfig]
Cripple = Callable[[Trainer], None]


def _without_copy(trainer: Trainer) -> None:
    pointer = trainer.model.heads.pointer
    trainer.model.heads.pointer = lambda keys, is_source: pointer(  # type: ignore[method-assign]
        keys, torch.zeros_like(is_source)
    )


def _without_siblings(trainer: Trainer) -> None:
    is_sibling = trainer.model.heads.is_sibling
    is_sibling.copy_(torch.eye(len(is_sibling), dtype=torch.bool))


def _with_now_in_a_place_of_its_own(trainer: Trainer) -> None:
    trainer.model.predictor.focus_events = 0


def _without_harmonics(trainer: Trainer) -> None:
    model = trainer.model
    for weight in (model.events.ordered.weight, model.events.time_of_day.map.weight, model.heads.ordered.weight):
        weight.requires_grad_(False).zero_()


def _without_chain(trainer: Trainer) -> None:
    predict = trainer.model.predict
    trainer.model.predict = lambda decoded, ids, in_chain: predict(  # type: ignore[method-assign]
        decoded, ids, torch.zeros_like(in_chain)
    )


def _without_gap_and_weekday(trainer: Trainer) -> None:
    for embedding in (trainer.model.events.gap, trainer.model.events.weekday):
        embedding.weight.requires_grad_(False).zero_()


def _without_other_streams(trainer: Trainer) -> None:
    model, decode = trainer.model, trainer.model._decode
    is_focus = model.slot_kind == len(model.schema.streams)

    def decode_focus(states: Tensor, memory: MemoryBatch, sequence: SequenceBatch, x: Tensor) -> Decoded:
        return decode(states, memory._replace(place=memory.place * is_focus), sequence, x)

    model._decode = decode_focus  # type: ignore[method-assign]


def _with_months(trainer: Trainer) -> None:
    mask, row = trainer.batches.mask, trainer.model.events.row
    is_id = [trainer.log.schema.categories[column].kind == "id" for column in mask.columns]
    mask.columns = [column for column, keep in zip(mask.columns, is_id, strict=True) if keep]
    mask.vocabulary = mask.vocabulary[is_id]
    row.copy_(torch.arange(len(row)))


def _model(**changes: Any) -> Change:
    return lambda config: replace(config, model=replace(config.model, **changes))


CHANGES: dict[str, Change] = {
    "everything": lambda config: config,
    "no entity masking": lambda config: replace(config, entity_masking=0.0),
    "half the entity masking": lambda config: replace(config, entity_masking=0.1),
    "P = 4": _model(focus_events=4),
    "P = 0": _model(focus_events=0),
    "plain (P = 0, no copy, no chain)": _model(plain=True),
}
CRIPPLES: dict[str, Cripple] = {
    "no copy": _without_copy,
    "no copy from another category": _without_siblings,
    "NOW in a place of its own": _with_now_in_a_place_of_its_own,
    "no harmonics": _without_harmonics,
    "no chain": _without_chain,
    "no gap, no weekday": _without_gap_and_weekday,
    "focus stream only": _without_other_streams,
    "months not hidden": _with_months,
}


def run_variant(config: AblationConfig, data: Path, name: str) -> dict[str, Any]:
    """Train one variant on one log and return its last evaluation on the validation part.

    Raises:
        ValueError: it is done, with another configuration.
    """
    out = config.out / data.name / name.replace(" ", "-").replace("=", "").replace(",", "")
    result = out / "result.json"
    settings: dict[str, Any] = PRESETS["quickstart"] | {
        "steps": config.steps,
        "max_minutes": 0.0,
        "eval_every": config.steps,
        "seed": config.seed,
    }
    changed = CHANGES.get(name, CHANGES["everything"])(TrainConfig(data=data, out=out, **settings))
    if result.is_file():
        check_configuration(out / "last", changed)
        return read_result(result)
    trainer = Trainer(changed)
    if name in CRIPPLES:
        CRIPPLES[name](trainer)
    began = time.monotonic()
    with Monitor(Console(stderr=True), trainer.config, trainer.names, 0) as monitor:
        trainer.run(monitor)
    seconds = time.monotonic() - began
    metrics = recorded(out / "last")["metrics"]["validation"] | {"seconds": seconds}
    write_result(result, metrics)
    return metrics


def main() -> None:
    """Train what is not done, and print a table per log."""
    config = tyro.cli(AblationConfig, prog="python -m benchmarks.ablations")
    whole, *parts = (*CHANGES, *CRIPPLES)
    names = (whole, *(config.only or parts))
    with exit_on_user_error():
        if unknown := set(config.only) - set(CHANGES) - set(CRIPPLES):
            raise ValueError(f"no variants {sorted(unknown)}; there are {[*CHANGES, *CRIPPLES]}")
        for data in config.data:
            results = {name: run_variant(config, data, name) for name in names}
            full = results[whole]
            print(f"\n{data.name}: {full['n']:,} validation events, {config.steps} steps, seed {config.seed}\n")
            print(heading(("variant", "marginals, nats", "joint, nats", "worse by (joint)", "mean top-1, %")))
            for name, metrics in results.items():
                joint = sum(metrics["chain_nll"])
                top1 = sum(metrics["top1"]) / len(metrics["top1"]) * 100
                worse = joint - sum(full["chain_nll"])
                print(row((name, f"{sum(metrics['nll']):.3f}", f"{joint:.3f}", f"{worse:+.3f}", f"{top1:.2f}")))


if __name__ == "__main__":
    main()
