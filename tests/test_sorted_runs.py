from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.preparation import sorted_runs
from training.preparation.sorted_runs import SortedRuns

FEW = 3
"""In place of ``STEP``, so that few rows have many samples."""


@pytest.fixture(autouse=True, scope="module")
def _few_rows_per_sample():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_runs, "STEP", FEW)
        yield


def filled(directory: Path, batches: list[list[int]]) -> SortedRuns:
    """Runs of these keys; the one array says which row of all it was."""
    runs, row = SortedRuns(directory, [(np.dtype(np.int32), 1)]), 0
    for keys in batches:
        runs.append(np.array(keys, np.int64), np.arange(row, row + len(keys))[:, None])
        row += len(keys)
    return runs


batches_of_keys = st.lists(st.lists(st.integers(-4, 9), max_size=20), min_size=1, max_size=6)


@given(batches=batches_of_keys, window=st.integers(1, 30))
def test_rows_come_out_in_the_order_of_their_keys_and_equal_keys_as_they_came(tmp_path_factory, batches, window):
    keys = np.concatenate([np.array(keys, np.int64) for keys in batches])
    with filled(tmp_path_factory.mktemp("runs"), batches) as runs:
        assert len(runs) == len(keys)
        merged = [part[0][:, 0] for part in runs.merged(window)]
        in_order = [*runs.merged_keys(window)]
    none = [np.empty(0, np.int64)]
    assert np.concatenate(none + merged).tolist() == np.argsort(keys, kind="stable").tolist()
    assert np.concatenate(none + in_order).tolist() == np.sort(keys).tolist()


@given(batches=batches_of_keys, key=st.integers(-5, 10), rows=st.integers(1, 9))
def test_the_rows_below_a_key_are_found(tmp_path_factory, batches, key, rows):
    keys = np.concatenate([np.array(keys, np.int64) for keys in batches])
    with filled(tmp_path_factory.mktemp("runs"), batches) as runs:
        found = [part[:, 0] for part in runs.below(key, 0, rows)]
    assert all(len(part) <= rows for part in found)
    assert sorted(np.concatenate([np.empty(0, np.int64), *found])) == np.flatnonzero(keys < key).tolist()


def test_a_window_holds_about_as_many_rows_as_asked(tmp_path: Path):
    random = np.random.default_rng(0)
    with filled(tmp_path, [random.permutation(1000).tolist() for _ in range(7)]) as runs:
        sizes = [len(keys) for keys in runs.merged_keys(700)]
    assert max(sizes) <= 700 + 7 * (FEW + 1) + 7 * FEW
