"""Batches made in threads beside the loop."""

import threading
import time
from itertools import islice

import numpy as np
import pytest
import torch

from eventmodel.batch import StreamBatch
from training.prefetch import prefetch, to_tensors


def test_a_failure_in_the_loader_reaches_the_loop() -> None:
    def broken(number: int) -> int:
        if number == 2:
            raise ValueError("row 7 is damaged")
        return number

    source = prefetch(broken, 0, torch.device("cpu"))
    assert [next(source), next(source)] == [0, 1]
    with pytest.raises(ValueError, match="row 7"):
        next(source)


def test_batches_that_several_threads_make_for_a_gpu_come_in_order_and_closing_ends_the_threads() -> None:
    def uneven(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0.0)
        return number

    source = prefetch(uneven, 5, torch.device("cuda"))
    assert list(islice(source, 20)) == list(range(5, 25))
    source.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_a_batch_becomes_tensors_of_the_same_shape_and_kind() -> None:
    arrays = StreamBatch(np.zeros((2, 3, 5), np.int32), *(np.zeros((2, 3), np.int32),) * 2, np.zeros(2, np.int64))
    tensors = to_tensors(arrays, torch.device("cpu"))
    assert isinstance(tensors, StreamBatch)
    assert tensors.ids.shape == (2, 3, 5)
    assert tensors.ids.dtype == torch.int32
