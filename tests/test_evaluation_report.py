"""The evaluation's table and its page say what metrics.json says, and the page fetches nothing."""

import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from training.evaluation.html_report import render
from training.evaluation.loss_curves import read_loss_curves
from training.evaluation.table import print_summary


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_says_what_metrics_json_says(summary: dict[str, Any], width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    print_summary(summary, console)
    lines = console.export_text().splitlines()
    for name, category in summary["categories"].items():
        accuracy, chain, calibration, against = (line.split()[1:] for line in lines if line.startswith(f" {name} "))
        m = category["marginal"]
        assert accuracy[0] == f"{m['nll']['mean']:.3f}"
        assert accuracy[2:4] == [f"{m[key]['mean'] * 100:.1f}" for key in ("top1", "top5")]
        assert accuracy[4] == f"{m['mrr']['mean']:.2f}"
        assert chain[0] == f"{category['chain']['nll']['mean']:.3f}"
        assert calibration[1] == f"{m['ece']['mean'] * 100:.1f}"
        assert against[:5] == [f"{found['nll']:.2f}" for found in category["baselines"].values()]


class Fetched(HTMLParser):
    """Collects what a browser would fetch to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        loads = {"src", "srcset", "data", "poster", "action"} | ({"href"} if tag == "link" else set())
        self.found += [value or "" for name, value in attributes if name in loads]
        assert tag not in {"script", "iframe", "object", "embed"}


def test_the_page_fetches_nothing(evaluation_directory: Path) -> None:
    page = (evaluation_directory / "report.html").read_text("utf-8")
    parser = Fetched()
    parser.feed(page)
    assert len(parser.found) >= 4
    assert all(value.startswith("data:image/svg+xml;base64,") for value in parser.found)
    assert not re.search(r"url\(|@import|http-equiv", page)


def test_the_page_shows_every_category_and_the_joint_loss(summary: dict[str, Any], evaluation_directory: Path) -> None:
    page = (evaluation_directory / "report.html").read_text("utf-8")
    for name, category in summary["categories"].items():
        assert f'<th scope="row">{name}</th>' in page
        assert f"{category['marginal']['nll']['mean']:.3f}" in page
    assert f"{summary['joint']['nll']['mean']:.2f}" in page


def test_the_page_shows_the_run_s_loss_curves(evaluation_directory: Path) -> None:
    assert "Training and validation loss by step" in (evaluation_directory / "report.html").read_text("utf-8")


def test_a_checkpoint_without_tensorboard_files_has_no_loss_curves(
    run_directory: Path, tmp_path: Path, summary: dict[str, Any]
) -> None:
    shutil.copytree(run_directory / "best", tmp_path / "alone")
    assert "no loss curves" in render(summary, [read_loss_curves(tmp_path / "alone")])
