"""What memory a process has, by Linux's account of it."""

from pathlib import Path
from typing import Literal

MEBIBYTE = 1 << 20
Kind = Literal["VmRSS", "VmHWM", "RssAnon"]
"""What is resident, the peak of that, and what of it are no pages of files."""


def process_memory(pid: int, kind: Kind) -> int:
    """Bytes; 0 when the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{kind}:"))
