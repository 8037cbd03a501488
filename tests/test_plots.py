"""Pictures of what a run may leave."""

import base64
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from training.evaluation.loss_curves import LossCurves, read_loss_curves
from training.evaluation.plots import loss_chart, skill_chart


def drawn(*curves: LossCurves) -> str:
    return base64.b64decode(loss_chart(curves).split(",")[1]).decode()


def run_with(out: Path, **losses: list[float]) -> Path:
    """A checkpoint's path in a run that logged these losses."""
    with SummaryWriter(str(out / "tensorboard")) as writer:
        for name, values in losses.items():
            for step, value in enumerate(values):
                writer.add_scalar(f"loss/{name}", value, step)
    return out / "best"


def test_a_run_s_losses_are_read_by_step(tmp_path: Path) -> None:
    checkpoint = run_with(tmp_path, train=[3.0, 2.0], validation=[2.5])
    assert read_loss_curves(checkpoint).points == {"train": ([0, 1], [3.0, 2.0]), "validation": ([0], [2.5])}


def test_the_curve_of_a_run_that_diverged_ends_before_it_did(tmp_path: Path) -> None:
    checkpoint = run_with(tmp_path, train=[3.0, 2.0, float("nan")], validation=[float("inf")])
    assert read_loss_curves(checkpoint).points == {"train": ([0, 1], [3.0, 2.0])}


def test_a_single_point_is_drawn() -> None:
    assert "<svg" in drawn(LossCurves({"train": ([20], [3.0])}))


def test_the_legend_names_each_kind_once_whichever_run_has_it_first() -> None:
    both = {"train": ([1, 2], [3.0, 2.0]), "validation": ([2], [2.5])}
    page = drawn(LossCurves({}), LossCurves(both), LossCurves(both))
    assert page.count(">train<") == page.count(">validation<") == 1


def test_a_name_with_dollars_or_of_any_script_is_written_as_it_is() -> None:
    names = ["cost_$ : sales_$", "a $x^$ b", "費用"]
    skill = {name: {"skill": {"mean": 0.1, "sd": None}} for name in names}
    drawn = base64.b64decode(skill_chart(skill).split(",")[1]).decode()
    assert all(name in drawn for name in names)
