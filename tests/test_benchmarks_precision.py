"""The precision study measures what its table says."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TINY

from benchmarks import precision
from benchmarks.precision import PARTS, PRECISIONS, Cell, PrecisionConfig, cells, main, measured, train_cell


@pytest.fixture
def config(log_directory: Path, tmp_path: Path) -> PrecisionConfig:
    return PrecisionConfig(
        log_directory,
        tmp_path / "study",
        TINY,
        steps=PARTS,
        batch_size=8,
        rates=(1e-3, 1e-6),
        eval_samples=32,
        device="cpu",
    )


def test_pure_bf16_leaves_weights_unmoved_where_fp32_and_autocast_move_them(config: PrecisionConfig) -> None:
    fp32, autocast, pure = (train_cell(config, Cell(p, "sum", 1e-5))["unmoved_layers"] for p in PRECISIONS)
    assert fp32 < 0.1
    assert autocast < 0.1
    assert pure > 0.9


def test_norm_gains_move_in_fp32_and_stay_at_one_in_pure_bf16(config: PrecisionConfig) -> None:
    assert train_cell(config, Cell("fp32", "sum", 1e-3))["gains_at_one"] < 0.1
    assert train_cell(config, Cell("bf16 weights", "sum", 1e-3))["gains_at_one"] == 1


def test_every_cell_starts_from_the_same_weights_and_reads_the_same_batches(config: PrecisionConfig) -> None:
    one, other = (train_cell(config, Cell("fp32", loss, 1e-4)) for loss in ("sum", "mean"))
    for same in ("start_loss", "n_events", "n_targets"):
        assert one[same] == other[same]


def test_the_sum_is_as_many_times_the_mean_as_there_are_categories(config: PrecisionConfig) -> None:
    # a rate of nearly nothing: the weights are the same, and so are the batches
    summed, averaged = (train_cell(config, Cell("fp32", loss, 1e-12)) for loss in ("sum", "mean"))
    assert summed["n_categories"] == 17
    assert summed["grad_norm"] == pytest.approx(17 * averaged["grad_norm"], rel=1e-4)
    assert summed["loss"] == pytest.approx(averaged["loss"], rel=1e-6)  # validation always sums


def test_without_clipping_and_with_a_scaled_eps_adam_takes_the_sum_for_the_mean(config: PrecisionConfig) -> None:
    averaged = train_cell(config, Cell("fp32", "mean", 3e-3, clips=False))["loss"]
    scaled = train_cell(config, Cell("fp32", "sum", 3e-3, clips=False, scales_eps=True))["loss"]
    clipped = train_cell(config, Cell("fp32", "sum", 3e-3))["loss"]
    assert abs(scaled - averaged) < abs(clipped - averaged) / 10


def test_the_clip_rate_counts_norms_above_one(config: PrecisionConfig) -> None:
    clipped, free = (train_cell(config, Cell("fp32", "sum", 1e-3, clips)) for clips in (True, False))
    assert clipped["clip_rate"] == 1
    assert clipped["grad_norm_least"] > 1
    assert free["clip_rate"] == 0


def test_a_halved_rate_halves_after_every_part(config: PrecisionConfig) -> None:
    parts = train_cell(config, Cell("fp32", "sum", 1e-3, halves=True))["parts"]
    assert [p["step"] for p in parts] == list(range(1, PARTS + 1))
    warm_up = [(step + 1) / precision.WARMUP for step in range(PARTS)]
    assert [p["rate"] for p in parts] == pytest.approx([1e-3 * w / 2**k for k, w in enumerate(warm_up)])


def test_a_finished_cell_is_not_trained_again(config: PrecisionConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("fp32", "sum", 1e-3)
    first = measured(config, cell)
    monkeypatch.setattr(precision, "train_cell", lambda *_: pytest.fail("trained again"))
    assert measured(config, cell) == first


def test_a_cell_of_another_configuration_is_refused(config: PrecisionConfig) -> None:
    cell = Cell("fp32", "sum", 1e-3)
    measured(config, cell)
    with pytest.raises(ValueError, match="name a new --out"):
        measured(replace(config, batch_size=4), cell)


def test_no_two_cells_share_a_file() -> None:
    study = cells(PrecisionConfig.rates)
    assert len({cell.name for cell in study}) == len(study)


def test_the_program_prints_every_cell_and_draws_the_plot(
    config: PrecisionConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = train_cell(config, Cell("fp32", "sum", 1e-3))
    monkeypatch.setattr(precision, "train_cell", lambda *_: trained)
    arguments = ["--data", str(config.data), "--out", str(config.out), "--rates", "1e-3", "1e-4"]
    main(arguments)
    shown = capsys.readouterr().out
    rows = [line for line in shown.splitlines() if line.startswith(("| fp32", "| bf16"))]
    assert len(rows) == len(cells((1e-3, 1e-4)))
    summed, averaged = f"{trained['loss']:.3f}", f"{trained['loss'] / 17:.3f}"
    assert f"| {summed} | {averaged} |" in shown
    assert "python -m benchmarks.precision" in shown
    assert (config.out / "precision.png").read_bytes().startswith(b"\x89PNG")
    saved = json.loads((config.out / f"{Cell('fp32', 'sum', 1e-3).name}.json").read_text("utf-8"))
    assert math.isclose(saved["result"]["loss"], trained["loss"])
