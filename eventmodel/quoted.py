"""Values that stand in messages."""

import json
import reprlib

_MOST_LETTERS = 60
_REPR = reprlib.Repr()  # unlike repr, it stops early in what is large or nested without end
_REPR.maxstring = _REPR.maxother = _MOST_LETTERS


def quoted(value: object) -> str:
    """A value as it was sent, cut to a length that fits into a message."""
    # what JSON and Python spell differently, as JSON does
    text = json.dumps(value) if value is None or isinstance(value, bool) else _REPR.repr(value)
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 3] + "..."
