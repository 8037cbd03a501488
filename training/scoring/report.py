"""What a person sees of scored events: a summary, and the most unusual ones in plain words."""

from typing import Any

import numpy as np
import polars as pl
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.scoring.detection import Detection


def print_report(joint: np.ndarray, most: pl.DataFrame, found: Detection | None, console: Console) -> None:
    """Print it.

    Args:
        joint: (n,) joint surprise of all events, nats.
        most: the most unusual ones, the first of all first, in the columns of the table.
        found: how well labelled events were found, where there are labels.
    """
    typical, high = np.quantile(joint, (0.5, 0.99))
    console.print(
        f"{len(joint):,} events; joint surprise {joint.mean():.2f} nats on average, {typical:.2f} in the middle, "
        f"above {high:.2f} for one in a hundred",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"\nThe {len(most)} most unusual:" if len(most) else "\nNo event is unusual.")
    for number, event in enumerate(most.iter_rows(named=True), start=1):
        line = " ".join(in_words(event).splitlines())
        console.print(f"{number:>2}. {escape(line)}", highlight=False, soft_wrap=True)
    if found is not None:
        console.print()
        console.print(_detection_table(found))


_NONE = "blank or unknown"


def in_words(event: dict[str, Any]) -> str:
    """One event: who, when, what stands out, and how surprising all of it is."""
    name, value, usual = event["most_unusual"], event["value"] or _NONE, event["usual"] or _NONE
    instead = f"; {usual} was most likely" if usual != value else ""
    return (
        f"{event['focus']} at {event['time']} (row {event['row']}): {name} is {value}, "
        f"{_one_in(event['chance'])}{instead}. Joint surprise {event['joint_surprise']:.1f} nats"
    )


def _one_in(probability: float) -> str:
    """A probability as people say it."""
    if probability > 0.1:
        return f"a chance of {probability:.0%}"
    return f"one in {float(f'{1 / max(probability, 1e-30):.2g}'):,.0f}"


def _detection_table(found: Detection) -> Table:
    table = Table(
        title=f"Average precision at finding labelled events ({found.base_rate:.2%} of all),\n"
        "without values that training never showed",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("score of")
    table.add_column("whole event", justify="right")
    table.add_column("its most unusual category", justify="right")
    for name in found.whole:
        table.add_row(name, f"{found.whole[name]:.3f}", f"{found.category[name]:.3f}")
    return table
