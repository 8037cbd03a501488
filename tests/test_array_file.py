from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmodel.array_file import ArrayFile


@given(sizes=st.lists(st.integers(0, 5), max_size=5), width=st.sampled_from([None, 1, 3]))
def test_what_is_written_in_parts_is_the_file_that_numpy_saves(tmp_path_factory, sizes, width):
    directory = tmp_path_factory.mktemp("arrays")
    shape = (sum(sizes),) if width is None else (sum(sizes), width)
    whole = np.arange(np.prod(shape, dtype=int), dtype=np.int32).reshape(shape)
    with ArrayFile(directory / "parts.npy", np.int32, width) as file:
        for part in np.split(whole, np.cumsum(sizes)[:-1] if sizes else []):
            file.append(part)
        assert len(file) == len(whole)
    np.save(directory / "whole.npy", whole)
    assert (directory / "parts.npy").read_bytes() == (directory / "whole.npy").read_bytes()


def test_rows_can_be_read_while_the_file_grows(tmp_path: Path):
    with ArrayFile(tmp_path / "a.npy", np.int64, 2) as file:
        file.append(np.array([[1, 2], [3, 4]]))
        assert file.read(1, 2).tolist() == [[3, 4]]
        file.append(np.array([[5, 6]]))
        assert file.read(1, 3).tolist() == [[3, 4], [5, 6]]
        assert file.read(2, 2).shape == (0, 2)


def test_numbers_are_written_in_the_type_of_the_file(tmp_path: Path):
    with ArrayFile(tmp_path / "a.npy", np.uint8) as file:
        file.append(np.array([7], np.int64))
    assert np.load(tmp_path / "a.npy").dtype == np.uint8


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_and_no_signal():
    with pytest.raises(OSError, match="No space left"), ArrayFile(Path("/dev/full"), np.int64) as file:
        file.append(np.zeros(1 << 20))
