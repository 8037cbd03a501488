"""The machine that a figure is of: its name, and the product of matrices that says how fast it could be."""

import platform
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor


def machine_name(device: torch.device) -> str:
    """A GPU's name, or the processor's with the threads that torch computes with."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    models = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return f"{next(models, platform.machine())}, {torch.get_num_threads()} thread(s)"


def matrix_product(device: torch.device) -> tuple[Callable[[], Tensor], int]:
    """A large product of matrices, in the precision that training computes in.

    Returns:
        What computes it, to be timed by the clock of what it is compared with; and its floating-point operations.
    """
    n, kind = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    a, b = torch.randn(2, n, n, device=device, dtype=kind).unbind()
    return lambda: a @ b, 2 * n**3
