"""Where the model is trained and measured."""

import os

import torch

from eventmodel.engine.backend import DeviceName


def device_of(name: DeviceName) -> torch.device:
    """The device that this process runs on; ``auto`` is a GPU where there is one.

    Raises:
        ValueError: a GPU was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda, but torch finds no GPU; use --device cpu, or install torch for your CUDA")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
