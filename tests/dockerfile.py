"""A Dockerfile as its lines: stages, instructions, arguments, and what its context holds."""

import fnmatch
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Instruction(NamedTuple):
    """One line of a Dockerfile, continuations joined."""

    name: str
    value: str


@dataclass
class Stage:
    """What is between one FROM and the next."""

    name: str
    parent: str
    instructions: list[Instruction] = field(default_factory=list)


def parse(text: str) -> tuple[dict[str, str], list[Stage]]:
    """The arguments before the first FROM, and the stages in their order."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, value = line.split(maxsplit=1)
        if name == "FROM":
            parent, _, stage = value.split()
            stages.append(Stage(stage, parent))
        elif stages:
            stages[-1].instructions.append(Instruction(name, value.strip()))
        else:
            arguments |= assignments(value)
    return arguments, stages


def assignments(value: str) -> dict[str, str]:
    """NAME=VALUE as ARG, ENV and LABEL have them."""
    return {key: content for key, _, content in (pair.partition("=") for pair in shlex.split(value))}


def context_files() -> list[Path]:
    """What .dockerignore lets through, relative to the repository; its patterns are in the last-match-wins order."""
    patterns = [p for p in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if p and not p.startswith("#")]
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [
        Path(name) for name in tracked.stdout.splitlines() if (ROOT / name).is_file() and not is_ignored(name, patterns)
    ]


def is_ignored(name: str, patterns: list[str]) -> bool:
    """Whether the last pattern that matches the path, or a folder that it is in, excludes it."""
    ignored = False
    for pattern in patterns:
        bare = pattern.removeprefix("!").removeprefix("**/")
        paths = [name, *map(str, Path(name).parents)]
        anywhere = "**/" in pattern and bare in Path(name).parts
        if anywhere or any(fnmatch.fnmatchcase(path, bare) for path in paths):
            ignored = not pattern.startswith("!")
    return ignored
