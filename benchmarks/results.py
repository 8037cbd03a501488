"""A result's file: where it lies, the work is done, so it is there whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write JSON; the directory is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(json.dumps(result, indent=1), "utf-8")
    os.replace(draft, path)


def read_result(path: Path) -> dict[str, Any]:
    """What ``write_result`` wrote."""
    return json.loads(path.read_text("utf-8"))
