"""Temperatures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eventmodel.checkpoint import load_checkpoint
from eventmodel.event_log import EventLog
from eventmodel.heads import CHAIN, MARGINAL
from training.calibration import GRID, LEAST_GAIN, _lowest, fit_temperatures
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
    assert (temperature != 1).any()


@pytest.mark.parametrize("kind", [MARGINAL, CHAIN])
def test_temperatures_lower_the_loss_they_are_fitted_on(run_directory: Path, validation: Sampler, kind: int) -> None:
    model = load_checkpoint(run_directory / "best").model
    scores = score(model, validation, choose(validation, 4_096), CPU)
    assert (scores.log_prob[kind].mean(0) >= scores.raw_log_prob[kind].mean(0) - 1e-3).all()
    assert scores.log_prob[kind].sum() > scores.raw_log_prob[kind].sum()


def test_a_model_that_is_too_sure_by_a_factor_gets_that_factor(run_directory: Path, validation: Sampler) -> None:
    model = load_checkpoint(run_directory / "best").model
    positions = np.tile(choose(validation, 4_096), 10)  # so many that their gain is beyond chance
    category = 0
    rows = slice(0, model.sizes[category])
    fitted = []
    with torch.no_grad():
        # copying mixes in probability, so scaling the logits scales a category that copies nothing
        model.heads.gate.weight.zero_()
        model.heads.gate.bias.fill_(-30)
        for factor in (6, 1.5):  # the first one only leads away from the grid's end
            model.heads.out[rows] *= factor
            model.heads.bias[rows] *= factor
            fitted.append(float(fit_temperatures(model, validation, positions, CPU)[MARGINAL, category]))
    assert fitted[1] / fitted[0] == pytest.approx(1.5, rel=0.03)


def test_the_lowest_point_of_a_parabola_is_found_between_the_grid() -> None:
    wanted = torch.tensor([0.5, 1.234, 2.5])
    curves = 1000 * (GRID.log() - wanted.log()[:, None]).square()
    assert torch.allclose(_lowest(curves), wanted, rtol=1e-3)


def test_a_curve_that_still_falls_at_the_sharp_end_of_the_grid_has_no_lowest_point() -> None:
    assert _lowest(1000 * GRID.log()[None]).item() == 1


def test_a_model_that_is_too_sure_for_the_grid_gets_its_blunt_end() -> None:
    assert _lowest(-1000 * GRID.log()[None]).item() == pytest.approx(float(GRID[-1]))


def test_a_gain_that_chance_explains_moves_no_temperature() -> None:
    curve = (GRID.log() - torch.tensor(2.0).log()).square()[None]
    curve *= LEAST_GAIN / (curve[0, len(GRID) // 2] - curve.min())  # of exactly that gain
    assert _lowest(0.99 * curve).item() == 1
    assert _lowest(1.01 * curve).item() == pytest.approx(2, rel=1e-3)


def test_a_category_of_which_validation_shows_one_value_is_made_no_surer(
    run_directory: Path, validation: Sampler
) -> None:
    model = load_checkpoint(run_directory / "best").model
    positions = choose(validation, 4_096)
    labels = score(model, validation, positions, CPU).label
    month = [category.name for category in validation.log.schema.categories].index("Time_Event_Month")
    january = positions[labels[:, month] == 1]
    assert len(january) > 50
    assert (fit_temperatures(model, validation, january, CPU)[:, month] == 1).all()


def test_a_category_without_doubt_keeps_its_temperature() -> None:
    assert _lowest(torch.zeros(1, len(GRID))).item() == 1


def test_labels_that_training_never_showed_teach_no_doubt(run_directory: Path, validation: Sampler) -> None:
    model = load_checkpoint(run_directory / "best").model
    positions = np.tile(choose(validation, 4_096), 10)  # so many that their gain is beyond chance
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
