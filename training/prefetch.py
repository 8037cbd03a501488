"""Batches made ahead, in threads, and moved to the device while it computes."""

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, TypeVar, cast

import numpy as np
import torch

T = TypeVar("T")
Leaf = np.ndarray | torch.Tensor

GPU_THREADS = 4
"""That make batches for a GPU: making one is mostly numpy, which lets other threads run meanwhile."""


def to_tensors(arrays: T, device: torch.device) -> T:
    """A nested named tuple of numpy arrays, or of tensors, as tensors on ``device``.

    Copies from pinned memory do not block.
    """
    return _map(lambda x: _tensor(x).to(device, non_blocking=True), arrays)


def pin(arrays: T, device: torch.device) -> T:
    """The same in pinned memory where the device is a GPU, so that copies run beside its work."""
    return _map(lambda x: _tensor(x).pin_memory(), arrays) if device.type == "cuda" else arrays


def _tensor(leaf: Leaf) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(leaf)) if isinstance(leaf, np.ndarray) else leaf


def _map(change: Callable[[Leaf], torch.Tensor], tree: T) -> T:
    if isinstance(tree, np.ndarray | torch.Tensor):
        return cast(T, change(tree))
    parts = [_map(change, part) for part in cast(Any, tree)]
    kind = cast(Any, type(tree))
    return cast(T, kind(*parts) if hasattr(tree, "_fields") else kind(parts))


def prefetch(make: Callable[[int], T], start: int, device: torch.device) -> Generator[T, None, None]:
    """Yield make(start), make(start + 1), ... without end, computed ahead in threads.

    A GPU is fed by several; a CPU that trains has no core to spare, and one does. Closing the iterator
    ends the threads; an error in ``make`` is raised here.
    """
    n_threads = min(GPU_THREADS, os.cpu_count() or 1) if device.type == "cuda" else 1
    with ThreadPoolExecutor(n_threads, "prefetch") as pool:
        ready = deque(pool.submit(make, number) for number in range(start, start + n_threads + 2))
        try:
            for number in count(start + len(ready)):
                yield ready.popleft().result()
                ready.append(pool.submit(make, number))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
