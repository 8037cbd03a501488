"""Everything that an evaluation found, as one dictionary: what metrics.json holds and both reports show.

format, format_version
provenance      command, checkpoints, data, part, first and last target, date, versions
n, n_runs       targets, and checkpoints (seeds) that were measured on them
meaning         what each number says
slices          what each slice is
joint           nats per event: chain, sum of marginals, their difference, the baselines' sums
baselines       what each baseline is
categories      by name:
    values, unknown_rate
    marginal, chain         nll, perplexity, top1, top5, mrr, nll_before, ece, ece_before
    chain_minus_marginal
    baselines               by name: nll, perplexity, top1, top5, mrr, parameters
    best_baseline           the one with the lowest nll
    skill, nats_gained, top1_points
    slices                  by name: n, share, marginal (nll, top1, mrr ...), baselines
    reliability             marginal and chain, before and after: targets, confidence, accuracy per bin, over all runs
oracle          only with an oracle: see training/evaluation/oracle.py
coverage        n, and how time quantiles hold: levels by name (not_after, before: shares of targets that came at
                the quantile or before it, and before it), mean and median width in hours of the lowest to the highest

A number of the model is {"mean", "sd", "runs"} over the checkpoints; sd is null for one of them. A
mean over no target is null.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eventmodel.event_log import EventLog
from eventmodel.heads import CHAIN, MARGINAL
from training.evaluation.baselines import BASELINES, DESCRIPTION, BaselineScores
from training.evaluation.metrics import (
    MEANING,
    SLICES,
    accuracy,
    expected_calibration_error,
    number,
    reliability,
    skill,
    slice_masks,
    spread,
)
from training.evaluation.scores import Scores

FORMAT = "event model evaluation"
FORMAT_VERSION = 1
KINDS = {"marginal": MARGINAL, "chain": CHAIN}


def summarise(
    log: EventLog, positions: np.ndarray, runs: Sequence[Scores], baselines: dict[str, BaselineScores]
) -> dict[str, Any]:
    """The dictionary, without its provenance.

    Args:
        positions: (n,) the events before the targets.
        runs: of each checkpoint, on these targets.
        baselines: on the same targets.
    """
    label = runs[0].label
    last = log.events.ids[log.focus.rows[positions]]
    of_baseline = {name: accuracy(b.log_prob, b.rank) for name, b in baselines.items()}
    nll = np.stack([of_baseline[name]["nll"] for name in BASELINES])  # (5, C)
    best = nll.argmin(0)
    of_kind = {name: [_of_run(run, kind) for run in runs] for name, kind in KINDS.items()}
    slices = {
        name: {
            "mask": mask,
            "marginal": [accuracy(run.log_prob[MARGINAL], run.rank[MARGINAL], mask) for run in runs],
            "baselines": {key: accuracy(b.log_prob, b.rank, mask) for key, b in baselines.items()},
        }
        for name, mask in slice_masks(label, last).items()
    }
    diagrams = {name: _reliability(runs, kind) for name, kind in KINDS.items()}

    categories: dict[str, Any] = {}
    for c, category in enumerate(log.schema.categories):
        best_name, best_nll = BASELINES[best[c]], nll[best[c], c]
        marginal, chain = (_spreads(of_kind[kind], c) for kind in KINDS)
        own, given = ([run["nll"][c] for run in of_kind[kind]] for kind in KINDS)
        top1 = [run["top1"][c] for run in of_kind["marginal"]]
        categories[category.name] = {
            "values": log.codec.sizes[c],
            "unknown_rate": float((label[:, c] == 0).mean()),
            "marginal": marginal,
            "chain": chain,
            "chain_minus_marginal": spread(np.subtract(given, own)),
            "baselines": {
                name: {key: number(values[c]) for key, values in of_baseline[name].items()}
                | {"parameters": baselines[name].parameters[c]}
                for name in BASELINES
            },
            "best_baseline": best_name,
            "skill": spread(skill(np.array(own), best_nll)),
            "nats_gained": spread(best_nll - np.array(own)),
            "top1_points": spread(100 * (np.array(top1) - of_baseline[best_name]["top1"][c])),
            "slices": {name: _slice(part, c) for name, part in slices.items()},
            "reliability": {
                kind: {when: _bins(diagram, c) for when, diagram in both.items()} for kind, both in diagrams.items()
            },
        }
    joint, alone = (np.array([run["nll"].sum() for run in of_kind[kind]]) for kind in ("chain", "marginal"))
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "n": len(label),
        "n_runs": len(runs),
        "meaning": MEANING,
        "slices": SLICES,
        "joint": {
            "nll": spread(joint),
            "sum_of_marginals": spread(alone),
            "difference": spread(joint - alone),
            "mean_over_categories": spread(joint / label.shape[1]),
            "baselines": {name: float(values.sum()) for name, values in zip(BASELINES, nll, strict=True)},
            "best_baselines": float(nll.min(0).sum()),
        },
        "baselines": DESCRIPTION,
        "categories": categories,
    }


def _of_run(run: Scores, kind: int) -> dict[str, np.ndarray]:
    """All of one run's numbers, (C,) each, on its own or in the chain."""
    is_right = run.rank[kind] == 1
    return accuracy(run.log_prob[kind], run.rank[kind]) | {
        "nll_before": -run.raw_log_prob[kind].mean(0, dtype=np.float64),
        "ece": expected_calibration_error(run.confidence[kind], is_right),
        "ece_before": expected_calibration_error(run.raw_confidence[kind], is_right),
    }


def _spreads(runs: Sequence[dict[str, np.ndarray]], c: int) -> dict[str, Any]:
    return {name: spread([run[name][c] for run in runs]) for name in runs[0]}


def _slice(part: dict[str, Any], c: int) -> dict[str, Any]:
    mask = part["mask"][:, c]
    return {
        "n": int(mask.sum()),
        "share": float(mask.mean()),
        "marginal": _spreads(part["marginal"], c),
        "baselines": {
            name: {key: number(values[c]) for key, values in found.items()} for name, found in part["baselines"].items()
        },
    }


def _reliability(runs: Sequence[Scores], kind: int) -> dict[str, Any]:
    """Before and after calibration, over the targets of all runs."""
    is_right = np.concatenate([run.rank[kind] == 1 for run in runs])
    return {
        "before": reliability(np.concatenate([run.raw_confidence[kind] for run in runs]), is_right),
        "after": reliability(np.concatenate([run.confidence[kind] for run in runs]), is_right),
    }


def _bins(diagram: Any, c: int) -> dict[str, list[Any]]:
    return {
        "targets": diagram.targets[c].tolist(),
        "confidence": [number(value) for value in diagram.confidence[c]],
        "accuracy": [number(value) for value in diagram.accuracy[c]],
    }
