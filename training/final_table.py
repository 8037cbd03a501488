"""What a run ends with: how right the model is on the test part, beside what counting reaches."""

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eventmodel.event_log import EventLog
from training.evaluation import Evaluation
from training.evaluation.baselines import CHEAP_BASELINES, score_baselines

LONG_NAME = 30
"""Letters of a category's name that stand in one line, of 80 with the figures; a longer one takes several."""
COUNTABLE_EVENTS = 2_000_000
"""The longest log that the final table counts baselines on: they take some 100 bytes of memory per event."""


def final_table(console: Console, log: EventLog, positions: np.ndarray, result: Evaluation) -> None:
    """Each category's top-1 on the test part beside the cheaper baselines' on the same targets."""
    is_countable = len(log.events.timestamp) <= COUNTABLE_EVENTS
    scored = score_baselines(log, positions, CHEAP_BASELINES) if is_countable else {}
    baselines = {name: (found.rank == 1).mean(0) * 100 for name, found in scored.items()}
    table = Table(
        title=f"test part: {result.n:,} events, top-1 in percent; nll in nats "
        f"(sum {sum(result.nll):.3f}, joint {sum(result.chain_nll):.3f})",
        box=box.SIMPLE_HEAD,  # narrow enough for 80 columns
        pad_edge=False,
    )
    longest = max(len(category.name) for category in log.schema.categories)
    table.add_column("category", overflow="fold", width=min(longest, LONG_NAME))
    for name in ("nll", "model", *baselines):
        table.add_column(name, justify="right", width=max(len("100.00"), *map(len, name.split())))
    for c, category in enumerate(log.schema.categories):
        model = result.top1[c] * 100
        best = max((column[c] for column in baselines.values()), default=100.0)
        table.add_row(
            escape(category.name),
            f"{result.nll[c]:.3f}",
            f"[bold]{model:.2f}[/bold]" if model > best else f"{model:.2f}",
            *(f"{column[c]:.2f}" for column in baselines.values()),
        )
    console.print(table)
    if not is_countable:
        console.print(
            "Without baselines, which hold the whole log in memory to count: python -m training.evaluate has them",
            soft_wrap=True,
        )
