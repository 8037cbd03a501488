"""Temperatures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eventmodel.checkpoint import load_checkpoint
from eventmodel.event_log import EventLog
from eventmodel.heads import CHAIN, MARGINAL
from training.calibration import GRID, _lowest, fit_temperatures
from training.evaluation import choose, score
from training.sampling import Sampler

CPU = torch.device("cpu")


@pytest.fixture
def validation(small_log: EventLog, run_directory: Path) -> Sampler:
    config = load_checkpoint(run_directory / "best").model.config
    return Sampler(small_log, config, small_log.train_end, small_log.validation_end)


def test_a_trained_checkpoint_carries_temperatures_that_are_not_all_one(run_directory: Path) -> None:
    temperature = load_checkpoint(run_directory / "best").model.heads.temperature
    assert ((temperature > 0.3) & (temperature < 3.2)).all()
    assert (temperature != 1).float().mean() > 0.5


@pytest.mark.parametrize("kind", [MARGINAL, CHAIN])
def test_temperatures_lower_the_loss_they_are_fitted_on(run_directory: Path, validation: Sampler, kind: int) -> None:
    model = load_checkpoint(run_directory / "best").model
    scores = score(model, validation, choose(validation, 4_096), CPU)
    assert (scores.log_prob[kind].mean(0) >= scores.raw_log_prob[kind].mean(0) - 1e-3).all()
    assert scores.log_prob[kind].sum() > scores.raw_log_prob[kind].sum()


def test_a_model_that_is_too_sure_by_a_factor_gets_that_factor(run_directory: Path, validation: Sampler) -> None:
    model = load_checkpoint(run_directory / "best").model
    positions = choose(validation, 4_096)
    category = 0
    rows = slice(0, model.sizes[category])
    fitted = []
    with torch.no_grad():
        # copying mixes in probability, so scaling the logits scales a category that copies nothing
        model.heads.gate.weight.zero_()
        model.heads.gate.bias.fill_(-30)
        for factor in (4, 1.5):  # the first one only leads away from the grid's end
            model.heads.out[rows] *= factor
            model.heads.bias[rows] *= factor
            fitted.append(float(fit_temperatures(model, validation, positions, CPU)[MARGINAL, category]))
    assert fitted[1] / fitted[0] == pytest.approx(1.5, rel=0.03)


def test_the_lowest_point_of_a_parabola_is_found_between_the_grid() -> None:
    wanted = torch.tensor([0.5, 1.234, 2.5])
    curves = (GRID.log() - wanted.log()[:, None]).square()
    assert torch.allclose(_lowest(curves), wanted, rtol=1e-3)


def test_a_category_without_doubt_keeps_its_temperature() -> None:
    assert _lowest(torch.zeros(1, len(GRID))).item() == 1


def test_labels_that_training_never_showed_teach_no_doubt(run_directory: Path, validation: Sampler) -> None:
    model = load_checkpoint(run_directory / "best").model
    positions = choose(validation, 4_096)
    category = 0
    without = fit_temperatures(model, validation, positions, CPU)
    labels = torch.from_numpy(score(model, validation, positions, CPU).label)
    value = int(labels[:, category].mode().values)
    model.events.row[value] = 0  # as if training had never shown the most frequent value
    kept = positions[(labels[:, category] != value).numpy()]
    fitted = fit_temperatures(model, validation, positions, CPU)[MARGINAL, category]
    assert fitted == pytest.approx(float(fit_temperatures(model, validation, kept, CPU)[MARGINAL, category]), rel=1e-3)
    assert fitted != without[MARGINAL, category]


def test_calibration_never_changes_the_order_of_values(run_directory: Path, validation: Sampler) -> None:
    model = load_checkpoint(run_directory / "best").model
    positions = choose(validation, 200)
    calibrated = score(model, validation, positions, CPU)
    model.heads.temperature.fill_(1)
    assert np.array_equal(score(model, validation, positions, CPU).rank, calibrated.rank)
