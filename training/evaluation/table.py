"""An evaluation's summary as tables for the terminal."""

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Spread = dict[str, Any]
LONG_NAME = 32
"""Letters of a category's name that are kept in one line, at the cost of the figures' lines."""


def shown(value: Spread, digits: int, scale: float = 1.0, sign: str = "") -> str:
    """A mean, and with several runs its standard deviation; a dash where there is nothing to average."""
    if value["mean"] is None:
        return "\N{EN DASH}"
    mean = round(value["mean"] * scale, digits) + 0.0  # no negative zero
    text = f"{mean:{sign}.{digits}f}"
    return text if value["sd"] is None else f"{text}±{value['sd'] * scale:.{digits}f}"


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print accuracy, the chain, calibration, and the comparison with the baselines."""
    categories: dict[str, Any] = summary["categories"]
    joint, what = summary["joint"], summary["provenance"]
    runs = f", {summary['n_runs']} checkpoints: mean ± standard deviation" if summary["n_runs"] > 1 else ""
    console.print(f"\n{what['part']} part of {escape(what['data'])}: {summary['n']:,} targets{runs}", soft_wrap=True)

    table = _table("Each category on its own; nll in nats, shares in percent", list(categories))
    for name in ("nll", "perplexity", "top-1", "top-5", "MRR", "unknown"):
        table.add_column(name.replace(" ", "\n"), justify="right", overflow="fold")
    for name, category in categories.items():
        m = category["marginal"]
        percent = [shown(m[key], 1, 100) for key in ("top1", "top5")]
        unknown = f"{category['unknown_rate'] * 100:.1f}"
        table.add_row(
            escape(name), shown(m["nll"], 3), shown(m["perplexity"], 1), *percent, shown(m["mrr"], 2), unknown
        )
    console.print(table)

    table = _table("Given the event's earlier categories (chain)", list(categories))
    for name in ("chain nll", "-own nll", "top-1", "-own top-1"):
        table.add_column(name.replace(" ", "\n"), justify="right", overflow="fold")
    for name, category in categories.items():
        chain, own = category["chain"], category["marginal"]
        points = f"{(chain['top1']['mean'] - own['top1']['mean']) * 100:+.1f}"
        difference = shown(category["chain_minus_marginal"], 3, sign="+")
        table.add_row(escape(name), shown(chain["nll"], 3), difference, shown(chain["top1"], 1, 100), points)
    console.print(table)

    table = _table("Calibration errors in percent, before and after calibration", list(categories))
    for name in ("own: before", "after", "chain: before", "after"):
        table.add_column(name.replace(" ", "\n"), justify="right", overflow="fold")
    for name, category in categories.items():
        errors = [shown(category[k][e], 1, 100) for k in ("marginal", "chain") for e in ("ece_before", "ece")]
        table.add_row(escape(name), *errors)
    console.print(table)

    baselines = summary["baselines"]
    table = _table("Against the baselines: nll of each, the best in bold; the model's gain on it", list(categories))
    table.padding = (0, 0, 0, 0)  # so that it fits into 80 columns
    for name in (*baselines, "skill %", "top-1 points"):
        table.add_column(name.replace(" ", "\n"), justify="right", overflow="fold")
    for name, category in categories.items():
        nlls = [
            f"[bold]{found['nll']:.2f}[/bold]" if key == category["best_baseline"] else f"{found['nll']:.2f}"
            for key, found in category["baselines"].items()
        ]
        gains = (shown(category["skill"], 1, 100, "+"), shown(category["top1_points"], 1, sign="+"))
        table.add_row(escape(name), *nlls, *gains)
    console.print(table)

    console.print(
        f"nats per event: {shown(joint['nll'], 3)} joint; {shown(joint['sum_of_marginals'], 3)} sum of marginals, "
        f"against {joint['best_baselines']:.3f} of each category's best baseline",
        soft_wrap=True,
        highlight=False,
    )
    if "coverage" in summary:
        _print_coverage(summary["coverage"], console)
    if "oracle" in summary:
        _print_oracle(summary["oracle"], console)


def _print_coverage(coverage: dict[str, Any], console: Console) -> None:
    levels = {name: f"{float(name):.0%}" for name in coverage["levels"]}
    table = _table(
        f"Events that came by the quantile of their time, percent of {coverage['n']:,}", ["before or at it"], "came"
    )
    for level in levels.values():
        table.add_column(level, justify="right")
    for key, name in (("before", "before it"), ("not_after", "before or at it")):
        table.add_row(name, *(shown(coverage["levels"][level][key], 1, 100) for level in levels))
    console.print(table)
    width = shown(coverage["median_width_hours"], 1), shown(coverage["mean_width_hours"], 1)
    console.print(f"lowest to highest quantile: {width[0]} hours in the middle, {width[1]} on average", highlight=False)


def _print_oracle(oracle: dict[str, Any], console: Console) -> None:
    table = _table("Above the oracle, in nats; ± is the standard error over events", list(oracle["categories"]))
    for name in ("own: oracle", "model above", "chain: oracle", "model above"):
        table.add_column(name.replace(" ", "\n"), justify="right", overflow="fold")
    rows = {**oracle["categories"], "mean over categories": oracle["mean_over_categories"]}
    rows["sum over categories"] = {"marginal": oracle["sum_of_marginals"], "chain": oracle["joint"]}
    for name, found in rows.items():
        cells = []
        for kind in ("marginal", "chain"):
            f = found[kind]
            gap = f"{f['gap']['mean']:+.3f}±{f['gap_standard_error']:.3f}"
            cells += [f"{f['oracle']:.3f}", gap]
        table.add_row(escape(name), *cells)
    console.print(table)
    if oracle["where"]:
        _print_where(oracle["where"], console)


def _print_where(where: dict[str, Any], console: Console) -> None:
    values = where["values"]
    table = _table("Above the oracle along the chain, in nats", list(values), where["category"])
    for name in ("events", "joint"):
        table.add_column(name, justify="right")
    table.add_column("most of it")
    for value, found in sorted(values.items(), key=lambda item: -item[1]["joint"] * item[1]["n"]):
        most = max(found["categories"], key=found["categories"].get)
        cells = (f"{found['n']:,}", f"{found['joint']:+.3f}", f"{most} {found['categories'][most]:+.3f}")
        table.add_row(escape(value), *map(escape, cells))
    console.print(table)


def _table(title: str, names: list[str], first: str = "category") -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column(first, overflow="fold", min_width=min(max(map(len, names)), LONG_NAME))
    return table
