"""Values that stand in messages."""

import reprlib

_MOST_LETTERS = 60
_REPR = reprlib.Repr()  # unlike repr, it stops early in what is large or nested without end
_REPR.maxstring = _REPR.maxother = _MOST_LETTERS


def quoted(value: object) -> str:
    """A value as it was sent, cut to a length that fits into a message."""
    text = _REPR.repr(value)
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 3] + "..."
