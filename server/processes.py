"""How the server's processes begin, and what ends them."""

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1
_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def stop_on_signals() -> None:
    """Let SIGTERM, and a terminal that closes, do what Ctrl-C does: LitServe ends well on a KeyboardInterrupt only."""

    def stop(signal_number: int, frame: object) -> None:
        for number in _STOP:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in _STOP:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup is for that
            signal.signal(number, stop)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Signals that stop the server wait for the end of the block: one that comes while a process is being
    started would leave half of one."""
    came: list[int] = []
    handlers = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in _STOP}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for arrived in came:
        signal.raise_signal(arrived)


def begin_child() -> None:
    """Leave it to the main process to end this one; on Linux it also ends with that.

    Ctrl-C, a terminal's end, and SIGTERM, as systemd sends it, reach all of its processes; the main one stops the
    others, in their order.
    """
    for number in _STOP:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
