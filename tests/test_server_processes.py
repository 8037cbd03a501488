"""Signals that stop the server, and processes that are being started."""

import signal

import pytest

from server.processes import uninterrupted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_waits_for_the_end_of_the_block_and_is_not_lost(number: signal.Signals) -> None:
    came: list[str] = []
    before = signal.signal(number, lambda *_: came.append("handled"))
    try:
        with uninterrupted():
            signal.raise_signal(number)
            came.append("end of the block")
    finally:
        signal.signal(number, before)
    assert came == ["end of the block", "handled"]
