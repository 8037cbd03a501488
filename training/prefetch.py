"""Batches made ahead, in a thread, and moved to the device while it computes."""

import queue
import threading
from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast

import numpy as np
import torch

T = TypeVar("T")
Leaf = np.ndarray | torch.Tensor


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


def prefetch(make: Callable[[int], T], start: int, depth: int = 3) -> Generator[T, None, None]:
    """Yield make(start), make(start + 1), ... without end, computed ahead in a thread.

    Closing the iterator stops the thread; an error in ``make`` is raised here.
    """
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        number = start
        while not stop.is_set():
            try:
                item: tuple[T | None, BaseException | None] = (make(number), None)
            except BaseException as error:  # handed to the consumer, whoever it concerns
                item = (None, error)
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if item[1] is not None:
                return
            number += 1

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            yield cast(T, item)
    finally:
        stop.set()
        thread.join()
