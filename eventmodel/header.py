"""The header of a directory that this project writes: a JSON file that says what it is, in which format."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from eventmodel.schema import explain


class Format(NamedTuple):
    """What a header says of its directory, and what to do about a directory that it does not fit."""

    noun: str
    """With its article, like "a checkpoint"."""
    name: str
    """As the header has it."""
    version: int
    """Raised whenever files of the version before can no longer be read."""
    file: str
    """The header's."""
    instead: str
    """What to do with a directory that is something else."""
    again: str
    """What to do with one that is damaged, or of another version."""

    def header(self) -> dict[str, Any]:
        """The first entries of a header."""
        return {"format": self.name, "format_version": self.version}

    def read(self, directory: Path) -> dict[str, Any]:
        """A directory's header.

        Raises:
            ValueError: there is none, or it is of another kind or version; the message says what to do.
        """
        try:
            header = json.loads((directory / self.file).read_text("utf-8"))
        except (OSError, ValueError) as error:  # not JSON, or not even UTF-8
            raise ValueError(f"{directory} is not {self.noun} ({error}); {self.instead}") from None
        found = header.get("format") if isinstance(header, dict) else type(header).__name__
        if found != self.name:
            raise ValueError(f"{directory} is not {self.noun}: its {self.file} says {found!r}; {self.instead}")
        if (version := header.get("format_version")) != self.version:
            raise ValueError(
                f"{directory} is {self.noun} of format {version}, this program reads {self.version}; {self.again}"
            )
        return header

    @contextmanager
    def reading(self, directory: Path) -> Iterator[None]:
        """Around what makes sense of a header.

        Raises:
            ValueError: the header lacks something, or holds what nobody wrote.
        """
        try:
            yield
        except ValidationError as error:
            message = f"{directory} is damaged: its {self.file} holds no valid schema:\n{explain(error)}"
            raise ValueError(message) from None
        except KeyError as error:
            raise ValueError(f"{directory} is damaged: its {self.file} lacks {error}; {self.again}") from None
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{directory} is damaged: {self.file}: {error}; {self.again}") from None
