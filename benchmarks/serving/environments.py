"""Each peer's packages in an environment of its own, which sees those of this one behind them."""

import subprocess
import sys
import venv
from pathlib import Path
from site import getsitepackages


def make_environment(directory: Path, requirement: str) -> Path:
    """A Python with the requirement; made once.

    Raises:
        subprocess.CalledProcessError: the requirement cannot be installed.
    """
    python = directory / "bin" / "python"
    if not (directory / "made").exists():
        venv.create(directory, with_pip=True, clear=True)
        # after its own, so that what it installs wins; so torch is not installed once more
        site = next(directory.glob("lib/python*/site-packages"))
        (site / "outer.pth").write_text("\n".join(getsitepackages()) + "\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", requirement], check=True, stdout=sys.stderr)
        (directory / "made").touch()
    return python
