"""An evaluation's summary as one HTML file that fetches nothing."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from training.evaluation.loss_curves import LossCurves
from training.evaluation.plots import loss_chart, reliability_chart, skill_chart

FIRST_DIAGRAMS = 6
"""Reliability diagrams that are shown unfolded: of the largest calibration errors."""


def render(summary: dict[str, Any], curves: Sequence[LossCurves]) -> str:
    """The page.

    Args:
        summary: as ``training/evaluation/summary.py`` documents it.
        curves: of the checkpoints' runs.
    """
    categories = summary["categories"]
    worst = sorted(categories, key=lambda name: -categories[name]["marginal"]["ece"]["mean"])[:FIRST_DIAGRAMS]
    charts = {
        "skill": skill_chart(categories),
        "reliability": reliability_chart(categories, "marginal", worst),
        "marginal": reliability_chart(categories, "marginal", list(categories)),
        "chain": reliability_chart(categories, "chain", list(categories)),
        "loss": loss_chart(curves) if any(curve.points for curve in curves) else None,
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["fixed"] = _fixed
    template = environment.from_string(
        resources.files("training.evaluation").joinpath("templates", "evaluation.html").read_text("utf-8")
    )
    return template.render(summary=summary, charts=charts, glance=_glance(categories))


def _glance(categories: dict[str, Any]) -> dict[str, Any]:
    """Counts and means over the categories."""
    found = list(categories.values())
    return {
        "better_nll": sum(category["nats_gained"]["mean"] > 0 for category in found),
        "better_top1": sum(category["top1_points"]["mean"] > 0 for category in found),
        "n": len(found),
        "ece": sum(category["marginal"]["ece"]["mean"] for category in found) / len(found),
        "ece_before": sum(category["marginal"]["ece_before"]["mean"] for category in found) / len(found),
    }


def _fixed(value: float | None, digits: int = 3, scale: float = 1.0, sign: str = "") -> str:
    """A number with so many digits; a dash where there is none. The minus is a minus, not a hyphen."""
    if value is None:
        return "\N{EN DASH}"
    rounded = round(value * scale, digits) + 0.0  # no negative zero
    return f"{rounded:{sign if rounded else ''},.{digits}f}".replace("-", "\N{MINUS SIGN}")
