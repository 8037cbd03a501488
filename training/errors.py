"""What a person at the command line sees when their file or option is at fault, or when they have had enough."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn a fault of the input into one message on stderr and exit code 2, without a traceback.

    Ctrl-C and SIGTERM end the program as one of that name, after what was half written is cleared away.
    """
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    finally:
        signal.signal(signal.SIGTERM, before)
