"""When a model process counts as stuck."""

import pytest
from litserve.utils import WorkerSetupStatus

from server.model_status import ModelStatus

STUCK_AFTER_S = 3.0


class Clock:
    """Stands in place of the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("server.model_status.time", clock)
    return clock


@pytest.fixture
def status(clock: Clock) -> ModelStatus:
    return ModelStatus(max_batch_size=4, stuck_after_s=STUCK_AFTER_S)


def test_a_batch_without_a_sign_of_life_is_stuck(clock: Clock, status: ModelStatus) -> None:
    status["model"] = WorkerSetupStatus.READY
    status.begin_batch([1])
    clock.now += STUCK_AFTER_S + 0.1
    assert status.is_stuck
    assert status.readiness == "stuck"


def test_a_batch_of_many_steps_is_not(clock: Clock, status: ModelStatus) -> None:
    status["model"] = WorkerSetupStatus.READY
    status.begin_batch([1])
    for _ in range(9):
        clock.now += STUCK_AFTER_S - 0.1
        status.beat()
        assert not status.is_stuck


def test_loading_may_take_longer_than_a_step(clock: Clock, status: ModelStatus) -> None:
    clock.now += 10 * STUCK_AFTER_S
    assert not status.is_stuck
    assert status.readiness == "starting"


def test_a_model_that_never_loads_is_stuck(clock: Clock, status: ModelStatus) -> None:
    clock.now += 601
    assert status.is_stuck
    status.next_generation()
    assert not status.is_stuck
