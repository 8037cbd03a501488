"""Precision and the loss's scale: the same training in fp32, bf16 autocast and pure bf16 weights.

python -m benchmarks.precision --data LOG --out DIR

Every cell trains the same network from the same first weights on the same batches. Its rate rises over
WARMUP steps and then stays; beside the grid there are cells without clipping, with another seed, and with a
rate that halves, as a plateau scheduler's does. Validation reads the final weights in fp32, whatever they
were trained in. Prints Markdown and writes precision.png; a cell that has its JSON file is not trained again.
"""

import copy
import json
import math
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import torch
import tyro
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from benchmarks.machine import machine_name
from benchmarks.markdown import heading, row
from benchmarks.results import read_result, write_result
from eventmodel.config import ModelConfig
from eventmodel.engine.backend import DeviceName
from training.config import TrainConfig
from training.device import device_of
from training.errors import exit_on_user_error
from training.evaluation import Evaluation, choose, evaluate
from training.loss import category_sums, check_finite
from training.prefetch import to_tensors
from training.trainer import Trainer

Precision = Literal["fp32", "bf16 autocast", "bf16 weights"]
Loss = Literal["sum", "mean"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16 autocast", "bf16 weights")
LOSSES: dict[Loss, str] = {"sum": "-", "mean": "--"}
"""What is minimised, over the categories, and the plot's line for it."""
WARMUP = 30
PARTS = 6
"""Validation and the share of unmoved weights are measured this often; a falling rate halves as often."""
SHAPE = ModelConfig(
    32, 2, encoder_layers=1, decoder_layers=2, context_length=16, focus_events=8, target_length=4, dropout=0
)
ID_TABLES = ("events.table", "heads.out", "heads.bias")
"""Weights of single ids: without that id in the batch they hardly move in any precision."""


@dataclass(frozen=True)
class PrecisionConfig:
    """Train one model in three precisions, at several learning rates, on the sum and the mean of the loss."""

    data: Path
    """A prepared log."""
    out: Path
    """Directory for a JSON file per cell and the plot."""
    model: ModelConfig = SHAPE
    """Shape of the network."""
    steps: int = 600
    """Optimizer steps of each cell."""
    batch_size: int = 32
    """Samples of a step."""
    rates: tuple[float, ...] = (3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
    """Learning rates, the highest first."""
    eval_samples: int = 1_024
    """Validation events."""
    device: DeviceName = "auto"
    """Where to train."""

    def __post_init__(self) -> None:
        if self.steps < PARTS:
            raise ValueError(f"steps is {self.steps}; the least is {PARTS}, one for each part of a run")
        if not self.rates:
            raise ValueError("--rates names no learning rate; name one or more")


@dataclass(frozen=True)
class Cell:
    """One training."""

    precision: Precision
    loss: Loss
    rate: float
    clips: bool = True
    """Gradients are scaled down to a norm of 1 where they exceed it."""
    halves: bool = False
    """The rate halves after every part of the run."""
    scales_eps: bool = False
    """Adam's eps is as many times larger as there are categories: then the sum is to be as good as the mean."""
    seed: int = 0

    @property
    def name(self) -> str:
        marks = {"_unclipped": not self.clips, "_halving": self.halves, "_scaled-eps": self.scales_eps}
        extra = "".join(mark for mark, is_set in marks.items() if is_set)
        return f"{self.precision.replace(' ', '-')}_{self.loss}_{self.rate:g}{extra}_seed-{self.seed}"


def cells(rates: tuple[float, ...]) -> list[Cell]:
    """The grid, then what explains it."""
    grid = [Cell(p, loss, rate) for p in PRECISIONS for loss in LOSSES for rate in rates]
    unclipped = [Cell("fp32", "sum", rate, clips=False) for rate in rates]  # the mean's norm is hardly ever above 1
    scaled = [Cell("fp32", "sum", rate, clips=False, scales_eps=True) for rate in rates[:2]]
    falling = [Cell(p, "sum", rates[0], halves=True) for p in PRECISIONS]
    return [*grid, *unclipped, *scaled, *falling, *(Cell("fp32", "sum", rate, seed=1) for rate in rates)]


def train_cell(config: PrecisionConfig, cell: Cell) -> dict[str, Any]:
    """Train one cell and return what was measured; the trainer lends its network, batches and optimizer."""
    trainer = Trainer(
        TrainConfig(
            config.data,
            config.out,
            config.model,
            batch_size=config.batch_size,
            learning_rate=cell.rate,
            seed=cell.seed,
            device=config.device,
        )
    )
    model, device = trainer.model, trainer.device
    reader = copy.deepcopy(model)
    positions = choose(trainer.validation, config.eval_samples)
    if cell.precision == "bf16 weights":
        model.to(torch.bfloat16)
    for group in trainer.optimizer.param_groups:
        group["eps"] *= len(trainer.names) if cell.scales_eps else 1
    parameters = dict(model.named_parameters())
    layers = [p for name, p in parameters.items() if name not in ID_TABLES]
    gains = [m.weight for m in model.modules() if isinstance(m, nn.RMSNorm)]

    def validation() -> Evaluation:
        reader.load_state_dict(model.state_dict())  # in fp32: the weights are compared, not the reading
        return evaluate(reader, trainer.validation, positions, device)

    start_loss, began = validation().loss, time.monotonic()
    n_targets = n_events = 0
    norms: list[Tensor] = []
    parts: list[dict[str, float]] = []
    for step in range(config.steps):
        arrays = trainer.batches(step)
        n_targets += int(arrays[1].is_target.sum())
        n_events += int(arrays[0].sequence.is_token.sum()) + sum(int(s.length.sum()) for s in arrays[0].streams)
        batch, targets = to_tensors(arrays, device)
        rate = cell.rate * min(1.0, (step + 1) / WARMUP) * 0.5 ** (step * PARTS // config.steps if cell.halves else 0)
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=cell.precision == "bf16 autocast"):
            output = model(batch, targets)
        log_probs = model.heads.target_log_probs(output, targets.ids, targets.source_ids)
        means = category_sums(log_probs, targets.is_target) / targets.is_target.sum()
        (means.sum() if cell.loss == "sum" else means.mean()).backward()
        norms.append(clip_grad_norm_(model.parameters(), 1.0 if cell.clips else math.inf).float())
        ends_part = (step + 1) * PARTS // config.steps > step * PARTS // config.steps
        before = {p: p.detach().clone() for p in parameters.values()} if ends_part else {}
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)
        if ends_part:
            check_finite(means.detach(), trainer.names, step + 1)
            unmoved = {p: int((p == old).sum()) for p, old in before.items()}
            parts.append(
                {
                    "step": step + 1,
                    "rate": rate,
                    "loss": validation().loss,
                    "unmoved": sum(unmoved.values()) / sum(p.numel() for p in unmoved),
                    "unmoved_layers": sum(unmoved[p] for p in layers) / sum(p.numel() for p in layers),
                }
            )
    norm = torch.stack(norms)
    return parts[-1] | {
        "start_loss": start_loss,
        "categories": dict(zip(trainer.names, validation().nll, strict=True)),
        "uniform_loss": sum(math.log(size) for size in trainer.log.codec.sizes),
        "n_categories": len(trainer.names),
        "n_weights": sum(p.numel() for p in parameters.values()),
        "n_layer_weights": sum(p.numel() for p in layers),
        "n_targets": n_targets,
        "n_events": n_events,
        "gains_at_one": torch.cat([(g == 1).float() for g in gains]).mean().item(),
        "clip_rate": (norm > 1).float().mean().item() if cell.clips else 0.0,
        "grad_norm": norm.mean().item(),
        "grad_norm_least": norm.min().item(),
        "seconds": time.monotonic() - began,
        "parts": parts,
    }


def measured(config: PrecisionConfig, cell: Cell) -> dict[str, Any]:
    """The cell's result, from its file where it is finished.

    Raises:
        ValueError: the file is of another configuration, machine or torch.
    """
    machine = machine_name(device_of(config.device))
    setting = asdict(config) | {"data": str(config.data), "machine": machine, "torch": torch.__version__}
    # rates only say which cells there are; through JSON, because that is what it is compared with
    setting = json.loads(json.dumps({k: v for k, v in setting.items() if k not in ("out", "rates")}))
    path = config.out / f"{cell.name}.json"
    if path.is_file():
        saved = read_result(path)
        if saved["setting"] != setting:
            raise ValueError(f"{path} was measured with {saved['setting']}, not {setting}; name a new --out")
    else:
        saved = {"setting": setting, "cell": asdict(cell), "result": train_cell(config, cell)}
        write_result(path, saved)
        print(f"{cell.name}: {saved['result']['loss']:.3f}", file=sys.stderr, flush=True)
    return saved["result"]


def report(config: PrecisionConfig, results: dict[Cell, dict[str, Any]]) -> str:
    """All figures, as Markdown."""
    r = next(iter(results.values()))
    n = r["n_categories"]
    landmarks = {"all values equally likely": r["uniform_loss"], "before the first step": r["start_loss"]}
    landmarks["lowest of all cells"] = min(r["loss"] for r in results.values())
    figures = ("loss, sum", "mean", "unmoved", "of the layers", "gains at 1", "clipped", "norm")
    lines = [
        f"{date.today()}, {machine_name(device_of(config.device))}, torch {torch.__version__}",
        shlex.join(["python", "-m", "benchmarks.precision", *sys.argv[1:]]),
        f"{config.model}; {r['n_weights']:,} weights, {r['n_layer_weights']:,} of them layers, not tables of ids",
        f"each cell: {config.steps} steps of {config.batch_size} samples, {r['n_events']:,} events read, "
        f"{r['n_targets']:,} targets of {n} categories; {config.eval_samples:,} validation events\n",
        *(f"- {what}: {loss:.2f} summed, {loss / n:.2f} averaged" for what, loss in landmarks.items()),
        f"\n{heading(('precision', 'rate', 'trained on', *figures), left=(0, 2))}",
    ]
    for cell, r in results.items():
        marks = {", no clipping": not cell.clips, ", halved": cell.halves, ", eps scaled": cell.scales_eps}
        extra = "".join(mark for mark, is_set in (marks | {f", seed {cell.seed}": cell.seed != 0}).items() if is_set)
        what = f"{cell.precision}{extra}", f"{cell.rate:g}", cell.loss
        losses = f"{r['loss']:.3f}", f"{r['loss'] / n:.3f}"
        unmoved = f"{r['unmoved']:.1%}", f"{r['unmoved_layers']:.1%}"
        rest = f"{r['gains_at_one']:.0%}", f"{r['clip_rate']:.0%}", f"{r['grad_norm']:.2f}"
        lines.append(row((*what, *losses, *unmoved, *rest)))
    lines.append(f"\n{heading(('halved rate', *PRECISIONS), left=())}")
    for parts in zip(*(r["parts"] for cell, r in results.items() if cell.halves), strict=True):
        shown = (f"{part['loss']:.3f}, {part['unmoved_layers']:.1%} unmoved" for part in parts)
        lines.append(row((f"{parts[0]['rate']:.2g}", *shown)))
    return "\n".join(lines)


def plot(config: PrecisionConfig, results: dict[Cell, dict[str, Any]]) -> None:
    """Loss and unmoved weights against the rate, and what a falling rate does."""
    mpl.use("Agg")
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss, unmoved, falling = figure.subplots(1, 3)
    # broad below narrow, because fp32 and autocast lie on each other
    for colour, width, precision in zip(("tab:cyan", "tab:blue", "tab:red"), (5, 1.5, 1.5), PRECISIONS, strict=True):
        for trained_on, style in LOSSES.items():
            of_rates = [results[Cell(precision, trained_on, rate)] for rate in config.rates]
            look: dict[str, Any] = {"color": colour, "lw": width, "ls": style, "label": f"{precision}, {trained_on}"}
            loss.plot(config.rates, [r["loss"] for r in of_rates], **look)
            unmoved.plot(config.rates, [100 * r["unmoved_layers"] for r in of_rates], **look)
        parts = results[Cell(precision, "sum", config.rates[0], halves=True)]["parts"]
        falling.plot([p["rate"] for p in parts], [100 * p["unmoved_layers"] for p in parts], color=colour, lw=width)
    loss.set(title="final validation loss, summed", xlabel="learning rate", ylabel="nats per event", xscale="log")
    unmoved.set(title="layer weights that the last step did not move", xlabel="learning rate", ylabel="%", xscale="log")
    falling.set(title="the same in one run, as its rate halves", xlabel="learning rate", ylabel="%", xscale="log")
    falling.invert_xaxis()  # time runs to the right
    loss.legend(fontsize=7)
    figure.savefig(config.out / "precision.png", dpi=80)


def main(arguments: list[str] | None = None) -> None:
    """Train what is not trained yet, print, plot."""
    with exit_on_user_error():
        config = tyro.cli(PrecisionConfig, args=arguments, prog="python -m benchmarks.precision")
        results = {cell: measured(config, cell) for cell in cells(config.rates)}
        print(report(config, results))
        plot(config, results)


if __name__ == "__main__":
    main()
