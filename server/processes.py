"""What every process that the server starts does first."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def begin_child() -> None:
    """Leave it to the main process to end this one: by SIGTERM, or, on Linux, by its own death.

    Ctrl-C reaches all processes of a terminal; the main one stops the others, in their order.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a forked process has inherited the main one's
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
