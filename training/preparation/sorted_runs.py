"""An external merge sort: rows come in any order, and go in the order of their key, with bounded memory."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from eventmodel.array_file import ArrayFile

STEP = 256
"""One key of so many is kept in memory, to find places in a run without reading all of it."""


class SortedRuns:
    """Rows on the disk, as runs that are sorted each.

    Equal keys stay in the order in which they came.
    """

    def __init__(self, directory: Path, columns: Sequence[tuple[np.dtype, int]]) -> None:
        """Begin in a directory.

        Args:
            columns: data type and width of each array of a row.
        """
        with ExitStack() as files:
            self._keys = files.enter_context(ArrayFile(directory / "keys.npy", np.int64))
            self._columns = [
                files.enter_context(ArrayFile(directory / f"column-{i}.npy", dtype, width))
                for i, (dtype, width) in enumerate(columns)
            ]
            self._files = files.pop_all()
        self._start = [0]
        self._sample: list[np.ndarray] = []  # per run, every STEP-th key, then its last one

    @property
    def n_columns(self) -> int:
        """How many arrays a row has beside its key."""
        return len(self._columns)

    def __len__(self) -> int:
        return self._start[-1]

    def append(self, keys: np.ndarray, *columns: np.ndarray) -> None:
        """Add rows: they are sorted and become a run.

        Args:
            keys: (k,) int64.
            columns: (k, width) each.
        """
        if not len(keys):
            return
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        self._keys.append(keys)
        for file, column in zip(self._columns, columns, strict=True):
            file.append(column[order])
        self._start.append(len(self._keys))
        self._sample.append(np.append(keys[::STEP], keys[-1]))

    def below(self, key: int, column: int, rows: int) -> Iterator[np.ndarray]:
        """One array of the rows whose key is below ``key``, in no order, ``rows`` at a time."""
        for run, stop in enumerate(self._places(key)):
            for begin in range(self._start[run], stop, rows):
                yield self._columns[column].read(begin, min(begin + rows, stop))

    def merged_keys(self, rows: int) -> Iterator[np.ndarray]:
        """The keys in order, about ``rows`` at a time."""
        for places in self._windows(rows):
            yield np.sort(self._read(self._keys, places))

    def merged(self, rows: int) -> Iterator[list[np.ndarray]]:
        """The other arrays in the order of the keys, about ``rows`` rows at a time; all that share a key together."""
        for places in self._windows(rows):
            order = np.argsort(self._read(self._keys, places), kind="stable")
            yield [self._read(column, places)[order] for column in self._columns]

    @staticmethod
    def _read(file: ArrayFile, places: list[tuple[int, int]]) -> np.ndarray:
        return np.concatenate([file.read(begin, end) for begin, end in places])

    def _windows(self, rows: int) -> Iterator[list[tuple[int, int]]]:
        """Slices of the runs, the rows of each window being before those of the next one."""
        sample = np.sort(np.concatenate([s[:-1] for s in self._sample])) if self._sample else np.empty(0, np.int64)
        cuts = np.unique(sample[max(rows // STEP, 1) :: max(rows // STEP, 1)]).tolist()
        begins = self._start[:-1]
        for cut in [*cuts, None]:
            ends = self._start[1:] if cut is None else self._places(cut)
            window = [(begin, end) for begin, end in zip(begins, ends, strict=True) if begin < end]
            if window:
                yield window
            begins = ends

    def _places(self, key: int) -> list[int]:
        """Per run, where its keys reach ``key``."""
        places = []
        for begin, end, sample in zip(self._start[:-1], self._start[1:], self._sample, strict=True):
            if sample[-1] < key:
                places.append(end)
                continue
            low = max(int(np.searchsorted(sample[:-1], key)) - 1, 0) * STEP + begin
            keys = self._keys.read(low, min(low + STEP + 1, end))
            places.append(low + int(np.searchsorted(keys, key)))
        return places

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()
