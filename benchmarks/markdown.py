"""Tables in Markdown, a row at a time: some rows take hours, and are shown when they are there."""

from collections.abc import Collection, Iterable, Sequence


def heading(columns: Sequence[str], left: Collection[int] = (0,)) -> str:
    """Two lines: the columns' names, and their alignment, which is to the right but for those at ``left``."""
    return f"{row(columns)}\n{row('---' if at in left else '---:' for at in range(len(columns)))}"


def row(cells: Iterable[object]) -> str:
    """One line."""
    return f"| {' | '.join(map(str, cells))} |"
