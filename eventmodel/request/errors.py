"""What can be wrong with a request, said so that the sender can fix it."""

import difflib
from collections.abc import Collection, Iterable

from eventmodel.quoted import quoted

_MOST_NAMES = 20
"""Names that a hint lists; a longer list helps nobody."""
_MOST_COMPARED = 1000
"""Names that are compared with a misspelt one: comparing costs time, and anyone may send a wrong name."""


_LEAST_ALIKE = 0.75
"""Of what is offered in place of a name, by difflib's ratio: one letter of four, and not one of two."""


class RequestError(Exception):
    """A request that cannot be answered. Nothing else is wrong: its neighbours are answered.

    Attributes:
        code: what is wrong, in a word that programs can test for.
        loc: where, as a path into the request like ``streams.Actor[0].events[3].EventDatetime``.
        message: what is wrong, for people.
        hint: what to send instead.
        status: the HTTP status.
    """

    def __init__(self, code: str, loc: str, message: str, hint: str, status: int = 422) -> None:
        super().__init__(code, loc, message, hint, status)  # all of them, so that the error pickles
        self.code, self.loc, self.message, self.hint, self.status = code, loc, message, hint, status

    def __str__(self) -> str:
        return f"{self.loc}: {self.message}. {self.hint}" if self.loc else f"{self.message}. {self.hint}"

    def within(self, place: str) -> "RequestError":
        """The same error of a request that is part of something larger."""
        loc = f"{place}.{self.loc}" if self.loc else place
        return RequestError(self.code, loc, self.message, self.hint, self.status)


def cut(name: object) -> str:
    """A name that stands in a path, cut to a length that fits there."""
    return str(name)[:60]


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A hint that names the nearest of the known names, or lists them where they are few."""
    names = list(known)
    if isinstance(name, str):
        nearest = difflib.get_close_matches(name[:60], names[:_MOST_COMPARED], n=1, cutoff=_LEAST_ALIKE)
        if nearest:
            return f"Did you mean {nearest[0]!r}?"
    return f"Send one of {one_of(names)}."


def one_of(names: Collection[str]) -> str:
    """Names for a hint: the first ones, and how many more there are."""
    shown = ", ".join(quoted(name) for name in list(names)[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"
