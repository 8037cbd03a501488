"""An evaluation's pictures, each as an SVG data URI that a page can hold.

Colours are of Okabe and Ito's palette, told apart by every kind of colour vision.
"""

import base64
import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.evaluation.loss_curves import LossCurves

BLUE, ORANGE, INK, GREY, LIGHT = "#0072B2", "#D55E00", "#1f2933", "#5f6b76", "#d5dae0"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a name may hold dollars
    "svg.hashsalt": "evaluation",  # the same figures give the same file
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}
LOWEST_SKILL = -60
"""Percent; longer bars are cut, and say so."""


def skill_chart(categories: dict[str, Any]) -> str:
    """Skill against the best baseline, one bar per category, the highest first."""
    names = sorted(categories, key=lambda name: _percent(categories[name], -np.inf), reverse=True)
    ends = [0.0]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 0.27 * len(names) + 0.7), layout="constrained")
        axes = figure.subplots()
        for y, name in enumerate(names):
            percent, sd = _percent(categories[name], np.nan), categories[name]["skill"]["sd"]
            if np.isnan(percent):
                axes.annotate(
                    "the baseline is certain", (0, y), (4, 0), textcoords="offset points", va="center", color=GREY
                )
                continue
            end = max(percent, LOWEST_SKILL)
            axes.barh(y, end, height=0.62, color=BLUE if percent >= 0 else ORANGE)
            rounded = round(percent, 1)
            text = f"{rounded:+.1f}%".replace("-", "\N{MINUS SIGN}") if rounded else "0.0%"
            text += "" if end == percent else ", cut"
            if sd is not None and end == percent:
                axes.errorbar(end, y, xerr=sd * 100, color=INK, lw=0.9, capsize=2)
                end += np.sign(end) * sd * 100
            offset, side = (4, "left") if percent >= 0 else (-4, "right")
            axes.annotate(text, (end, y), (offset, 0), textcoords="offset points", va="center", ha=side)
            ends.append(end)
        axes.axvline(0, color=GREY, lw=0.8)
        axes.set_xlim(min(ends) * 1.12 - 6, max(ends) * 1.12 + 9)
        axes.set_yticks(range(len(names)), names, color=INK)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("skill: 1 \N{MINUS SIGN} nll / nll of the best baseline, percent")
        _open(axes)
        axes.spines["left"].set_visible(False)
        return _data_uri(figure)


def reliability_chart(categories: dict[str, Any], kind: str, names: Sequence[str]) -> str:
    """Small multiples: how often predictions of each confidence came true, before and after calibration."""
    columns = 6
    rows = -(-len(names) // columns)
    with mpl.rc_context(STYLE | {"font.size": 7.5}):
        figure = Figure(figsize=(10.4, 1.95 * rows + 0.3), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes, name in zip(grid.flat, names, strict=False):
            found = categories[name]
            axes.plot([0, 1], [0, 1], color=LIGHT, lw=1, zorder=0)
            after = found["reliability"][kind]["after"]
            share = np.array(after["targets"]) / max(sum(after["targets"]), 1)
            edges = np.linspace(0, 1, len(share) + 1)
            axes.bar(edges[:-1], share, np.diff(edges), align="edge", color="#e9edf1", zorder=-1)
            for when, colour, style in (("before", ORANGE, "--"), ("after", BLUE, "-")):
                bins = found["reliability"][kind][when]
                used = [i for i, count in enumerate(bins["targets"]) if count >= 20]
                x, y = ([bins[key][i] for i in used] for key in ("confidence", "accuracy"))
                axes.plot(x, y, style, color=colour, lw=1.2, marker="o", ms=2.4)
            errors = (found[kind][key]["mean"] * 100 for key in ("ece_before", "ece"))
            axes.set_title(f"{_short(name)}\n" + " → ".join(f"{error:.1f}" for error in errors) + "%", fontsize=7.5)
            axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal")
            _open(axes)
        for axes in list(grid.flat)[len(names) :]:
            axes.set_visible(False)
        figure.supxlabel("confidence", fontsize=8)
        figure.supylabel("share that came true", fontsize=8)
        return _data_uri(figure)


def loss_chart(curves: Sequence[LossCurves]) -> str:
    """Training and validation loss by step, one pair of lines per run."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 2.7), layout="constrained")
        axes = figure.subplots()
        for curve in curves:
            for name, colour, width, alpha in (("train", "#9aa5b1", 0.9, 0.8), ("validation", BLUE, 1.5, 0.85)):
                if name in curve.points:
                    steps, losses = curve.points[name]
                    label = name if name not in axes.get_legend_handles_labels()[1] else None
                    marker = "o" if name == "validation" else None
                    axes.plot(steps, losses, color=colour, lw=width, alpha=alpha, label=label, marker=marker, ms=2.5)
        everything = [loss for curve in curves for _, losses in curve.points.values() for loss in losses]
        top = np.quantile(everything, 0.98)  # the first steps would flatten the rest
        if top > min(everything):
            axes.set_ylim(min(everything) - 0.03 * (top - min(everything)), top)
        axes.set(xlabel="step", ylabel="loss, nats per event")
        axes.legend(frameon=False)
        _open(axes)
        return _data_uri(figure)


def _percent(category: dict[str, Any], otherwise: float) -> float:
    """A category's skill; where it has none, the other value."""
    mean = category["skill"]["mean"]
    return otherwise if mean is None else mean * 100


def _short(name: str) -> str:
    """A category's name in the width of a small multiple."""
    return name if len(name) <= 21 else name.replace("Time_", "", 1)


def _open(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _data_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's browser has it
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
