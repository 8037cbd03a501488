"""How often the real next event comes by its quantiles."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eventmodel.checkpoint import load_checkpoint
from eventmodel.event_log import EventLog
from training.evaluation import time_quantiles
from training.evaluation.time_quantiles import LEVELS, MINUTE, Coverage, measure_coverage, summarise_coverage
from training.sampling import Sampler

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sampler(small_log: EventLog, run_directory: Path) -> Sampler:
    config = load_checkpoint(run_directory / "best").model.config
    return Sampler(small_log, config, small_log.validation_end, len(small_log.events.timestamp))


def test_shares_increase_with_the_level_and_those_before_are_no_more_than_those_not_after(
    sampler: Sampler, run_directory: Path
) -> None:
    model = load_checkpoint(run_directory / "best").model
    done: list[None] = []
    found = measure_coverage(model, sampler, sampler.positions[:70], CPU, advance=lambda: done.append(None))
    assert found.n == 70
    assert len(done) == 2
    assert len(found.not_after) == len(LEVELS)
    assert list(found.not_after) == sorted(found.not_after)
    assert all(a <= b for a, b in zip(found.before, found.not_after, strict=True))
    assert found.mean_width_hours > 0


@pytest.mark.parametrize(("shift", "before", "not_after"), [(0, 0.0, 1.0), (-MINUTE, 0.0, 0.0), (MINUTE, 1.0, 1.0)])
def test_a_real_time_at_the_quantile_is_not_after_and_not_before_it(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch, shift: int, before: float, not_after: float
) -> None:
    positions = sampler.positions[:5]
    real = sampler.log.events.timestamp[sampler.log.focus.rows[positions + 1]]
    monkeypatch.setattr(time_quantiles, "_quantiles", lambda *_: [np.tile(real[:, None] + shift, (1, 3))])
    found = measure_coverage(None, sampler, positions, CPU)  # type: ignore[arg-type]
    assert found.before == (before,) * 3
    assert found.not_after == (not_after,) * 3
    assert found.mean_width_hours == 0


def test_coverage_and_an_answer_use_the_same_samples(sampler: Sampler, run_directory: Path, bundle: object) -> None:
    from test_engine import query

    from eventmodel.engine import open_engine

    model = load_checkpoint(run_directory / "best").model
    positions = sampler.positions[:4]
    (found,) = time_quantiles._quantiles(model, sampler, positions, CPU, lambda: None)
    engine = open_engine(bundle, "torch", "cpu")  # type: ignore[arg-type]
    asked = [query(sampler.log, bundle, int(p), quantiles=LEVELS) for p in positions]  # type: ignore[arg-type]
    answered = np.concatenate([answer.when for answer in engine.answer(asked) if answer.when is not None])
    assert np.mean(answered == found) > 0.8  # a tie that rounding breaks may move a quantile by one sample


def test_several_checkpoints_give_a_mean_and_a_spread() -> None:
    runs = [Coverage(9, (share,) * 3, (share - 0.1,) * 3, 2.0, 1.0) for share in (0.4, 0.6)]
    found = summarise_coverage(runs)
    not_after = found["levels"]["0.5"]["not_after"]
    assert not_after["mean"] == pytest.approx(0.5)
    assert not_after["sd"] == pytest.approx(0.1414, abs=1e-4)
    assert found["mean_width_hours"]["mean"] == 2
