"""How long work shows how far it is."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SHARE = "{task.percentage:>3.0f}%"
COUNT = "{task.completed:,}/{task.total:,}"


def bars(console: Console | None, amount: str = SHARE) -> Progress:
    """Bars of one look, with the time that each has taken and still takes.

    Args:
        console: None shows nothing.
        amount: ``SHARE`` or ``COUNT``, of what is done.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(amount),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=console,
        disable=console is None,
    )
