"""Arrays on the disk, written row after row and read in slices: none of them needs to fit in memory."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np


class ArrayFile:
    """A .npy file that grows.

    It is written and read, not mapped: a full disk is an ``OSError`` (under a map it is a signal
    that kills the process), and what has been read is no longer in memory.
    """

    def __init__(self, path: Path, dtype: type | np.dtype, width: int | None = None) -> None:
        """Begin an empty file: of numbers, or of rows of ``width`` numbers."""
        self.path, self.dtype = path, np.dtype(dtype)
        self._row = () if width is None else (width,)
        self._row_bytes = self.dtype.itemsize * (1 if width is None else width)
        self._length = 0
        self._file = path.open("w+b")
        self._write_header()
        self._data = self._file.tell()

    def __len__(self) -> int:
        return self._length

    def append(self, rows: np.ndarray) -> None:
        """Write rows (k,) or (k, width) at the end.

        Raises:
            OSError: the disk is full.
        """
        assert rows.shape[1:] == self._row
        self._file.write(np.ascontiguousarray(rows, self.dtype).data)
        self._length += len(rows)

    def read(self, start: int, stop: int) -> np.ndarray:
        """The rows [start, stop)."""
        self._file.flush()
        count = (stop - start) * self._row_bytes // self.dtype.itemsize
        found = np.fromfile(self.path, self.dtype, count, offset=self._data + start * self._row_bytes)
        return found.reshape(stop - start, *self._row)

    def close(self) -> None:
        """Finish the file; numpy can load it from here on.

        Raises:
            OSError: the disk is full.
        """
        with self._file:
            self._file.seek(0)
            self._write_header()

    def _write_header(self) -> None:
        # numpy leaves room in the header for the first length to grow, so that its size stays
        description = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self._length, *self._row),
        }
        np.lib.format.write_array_header_1_0(self._file, description)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
