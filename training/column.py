"""A column of a table as its distinct values, so that what is asked of a value is asked once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Column:
    """One input column, each distinct value once."""

    values: Sequence[object]
    """U distinct values."""
    codes: np.ndarray
    """(n,) int64: which of them each row holds."""

    @classmethod
    def of(cls, series: pl.Series) -> "Column":
        """The column of a polars series; values keep the order in which they first occur."""
        series = series.alias("value")
        if series.dtype == pl.Float32:  # the decimal that it is written as, and not the double next to it
            series = series.cast(pl.String).cast(pl.Float64)
        distinct = series.unique(maintain_order=True).to_frame().with_row_index("code")
        coded = series.to_frame().join(distinct, on="value", how="left", nulls_equal=True, maintain_order="left")
        return cls(distinct["value"].to_list(), coded["code"].to_numpy().astype(np.int64))

    def counts(self, rows: slice | np.ndarray = slice(None)) -> list[int]:
        """How many of these rows hold each of the U values."""
        return np.bincount(self.codes[rows], minlength=len(self.values)).tolist()

    def encode(self, encode: Callable[[object], Sequence[int]], width: int) -> tuple[np.ndarray, dict[int, str]]:
        """Encode each distinct value once.

        Returns:
            (n, width) int64, zeros where the value cannot be read; the reason per code of such a value.
        """
        table = np.zeros((len(self.values), width), np.int64)
        reasons: dict[int, str] = {}
        for code, value in enumerate(self.values):
            try:
                table[code] = encode(value)
            except ValueError as error:
                reasons[code] = str(error)
        return table[self.codes], reasons
