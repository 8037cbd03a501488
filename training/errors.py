"""What a person at the command line sees when their file or option is at fault."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn a fault of the input into one message on stderr and exit code 2, without a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
