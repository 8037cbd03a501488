"""Rows of a table as numbers, a batch at a time, and what is wrong with those that cannot be read."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl

from eventmodel.codec import Codec
from eventmodel.coders import spellings, text_of
from eventmodel.schema import EnumField, IdField, KeyField, Schema
from training.column import Column

REFUSED = {"line": pl.Int64, "field": pl.String, "value": pl.String, "reason": pl.String}
"""Columns of the values that cannot be read."""


class Rows(NamedTuple):
    """The k rows of a batch that can be read; I id and key fields, F other categories."""

    place: np.ndarray  # (k,) int64: which rows of the batch they are
    timestamp: np.ndarray  # (k,) int64 microseconds
    utc_offset: np.ndarray  # (k,) int32 seconds
    names: np.ndarray  # (k, I) int32: numbers of names, -1 where blank
    ids: np.ndarray  # (k, F): ids, of the smallest type that holds them


class RowReader:
    """Reads batches of one table.

    Names are numbered as they are met. Their text is all that stays in memory: as much as there
    are different ones, and not as much as there are rows.
    """

    def __init__(self, schema: Schema, columns: Sequence[str]) -> None:
        """
        Args:
            columns: of the table; those that the schema does not know are not read.
        """
        self._schema = schema
        self._present = [field for field in schema.fields if field.name in columns]
        self._codec = Codec(schema, dict.fromkeys(schema.vocabularies, ()))  # needs none for all but names
        self.named = [field for field in schema.fields if isinstance(field, IdField | KeyField)]
        """The fields of the columns of ``Rows.names``."""
        self.closed = [i for i, category in enumerate(schema.categories) if category.kind != "id"]
        """The categories of the columns of ``Rows.ids``."""
        self.id_type = np.min_scalar_type(max((self._codec.sizes[i] for i in self.closed), default=0))
        self.numbers: dict[str, dict[str, int]] = {field.names_from: {} for field in self.named}
        """Per vocabulary, the names met so far with their numbers."""
        self.outside: dict[str, Counter[str]] = {f.name: Counter() for f in self._present if isinstance(f, EnumField)}
        """Per enum field, how often the rows hold values that its closed set lacks."""

    def read(self, frame: pl.DataFrame, lines: np.ndarray) -> tuple[Rows, pl.DataFrame]:
        """Read the next rows.

        Args:
            lines: (n,) int64, where each one begins.

        Returns:
            The rows that can be read, and the values that keep the others from it, as in ``REFUSED``.
        """
        columns = {field.name: Column.of(frame[field.name]) for field in self._present}
        moments = np.zeros((frame.height, 2), np.int64)
        names = np.full((frame.height, len(self.named)), -1, np.int32)
        ids = np.zeros((frame.height, len(self.closed)), self.id_type)
        is_kept = np.ones(frame.height, bool)
        faults = []
        for field in self._present:
            column = columns[field.name]
            if isinstance(field, IdField | KeyField):
                numbered, reasons = column.encode(partial(self._number, field), 1)
                names[:, self.named.index(field)] = numbered[:, 0]
            else:
                at = [i for i, c in enumerate(self.closed) if self._schema.categories[c].field == field.name]
                ids[:, at], reasons = column.encode(partial(self._codec.encode_value, field.name), len(at))
            if field.name == self._schema.order_by:
                moments, reasons = column.encode(self._codec.moment, 2)
            rows = np.flatnonzero(np.isin(column.codes, list(reasons)))
            is_kept[rows] = False
            faults.append(_faults(field.name, column, reasons, rows, lines))
        refused = pl.concat(faults).sort("line", maintain_order=True)
        for field in self._present:
            if isinstance(field, EnumField):
                self._count_outside(field, columns[field.name], is_kept)
        place = np.flatnonzero(is_kept)
        timestamp, offset = moments[place].T
        return Rows(place, timestamp, offset.astype(np.int32), names[place], ids[place]), refused

    def _number(self, field: IdField | KeyField, value: object) -> tuple[int]:
        text = text_of(value)
        numbers = self.numbers[field.names_from]
        return (-1 if text is None else numbers.setdefault(text, len(numbers)),)

    def _count_outside(self, field: EnumField, column: Column, is_kept: np.ndarray) -> None:
        for value, count in zip(column.values, column.counts(is_kept), strict=True):
            text = text_of(value) if count else None
            if text is not None and not set(field.values).intersection(spellings(value)):
                self.outside[field.name][text] += count


def _faults(field: str, column: Column, reasons: dict[int, str], rows: np.ndarray, lines: np.ndarray) -> pl.DataFrame:
    """The values of rows that cannot be read."""
    codes = column.codes[rows].tolist()
    return pl.DataFrame(
        {
            "line": lines[rows],
            "field": [field] * len(rows),
            "value": ["" if (value := column.values[code]) is None else str(value) for code in codes],
            "reason": [reasons[code] for code in codes],
        },
        schema=REFUSED,
    )
