"""Runs a Dockerfile's own steps without Docker: each stage in a root of its own, an overlay over this machine's.

It needs root. What this machine has already stands in for the base image.
"""

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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


@dataclass
class Container:
    """A root and how a process is started in it."""

    root: Path
    environment: dict[str, str]
    directory: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    def command(self, *program: str, mounts: dict[str, Path] | None = None, read_only: bool = True) -> list[str]:
        """A command line for root that runs a program as Docker would, as process 1.

        Args:
            mounts: what of this machine is at which path, read-only.
            read_only: whether the root is; the declared volumes are empty and writable.
        """
        uid, gid = self.user.split(":")
        root = shlex.quote(str(self.root))
        steps = ["set -e", f"mount --bind {root} {root}", f"mount --rbind /dev {root}/dev"]
        for path, source in (mounts or {}).items():
            steps += [f"mkdir -p {root}{path}", f"mount --bind {shlex.quote(str(source))} {root}{path}"]
            steps += [f"mount -o remount,ro,bind {root}{path}"]
        if read_only:
            steps += [f"mount -t tmpfs -o mode=1777 tmpfs {root}{path}" for path in self.volumes]
            steps += [f"mount -o remount,ro,bind {root} {root}"]
        steps += [f"mount -t proc proc {root}/proc"]
        drop = f"setpriv --reuid {uid} --regid {gid} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        inside = ["env", "-i", "-C", self.directory, *variables, *program]
        steps += [f"exec chroot {root} {'' if uid == '0' else drop}{shlex.join(inside)}"]
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(steps)]


@contextmanager
def built(target: str, directory: Path, environment: dict[str, str], **arguments: str) -> Iterator[Container]:
    """Run the steps that lead to a target; its root is there within the block.

    Args:
        directory: where the stages' roots are laid.
        environment: what the base image would bring, as PATH.
        arguments: as --build-arg.
    """
    defaults, stages = parse((ROOT / "Dockerfile").read_text("utf-8"))
    work = _Build({stage.name: stage for stage in stages}, directory, environment, defaults | arguments)
    try:
        yield work.stage(target)
    finally:
        for root in work.roots:
            subprocess.run(["umount", "-l", str(root)], check=True)


class _Build:
    def __init__(
        self, stages: dict[str, Stage], directory: Path, environment: dict[str, str], arguments: dict[str, str]
    ) -> None:
        self.stages, self.directory, self.environment, self.arguments = stages, directory, environment, arguments
        self.roots: list[Path] = []

    def stage(self, name: str) -> Container:
        stage = self.stages[name]
        if stage.parent in self.stages:
            container = self.stage(stage.parent)
        else:
            container = Container(self.overlay(), dict(self.environment))
        scope: dict[str, str] = {}
        for instruction, value in stage.instructions:
            self.step(container, scope, instruction, value)
        return container

    def overlay(self) -> Path:
        """A root that looks like this machine's, and takes what is written to it."""
        root, upper, work = (self.directory / f"{len(self.roots)}-{part}" for part in ("root", "upper", "work"))
        for folder in (root, upper, work):
            folder.mkdir(parents=True)
        options = f"lowerdir=/,upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)], check=True)
        self.roots.append(root)
        return root

    def step(self, container: Container, scope: dict[str, str], name: str, value: str) -> None:
        if name == "ARG":
            scope |= {key: self.arguments.get(key, default) for key, default in assignments(value).items()}
        elif name == "ENV":
            for key, content in assignments(value).items():
                container.environment[key] = re.sub(r"\$(\w+)", lambda m: container.environment[m[1]], content)
        elif name == "RUN":
            variables = Container(container.root, container.environment | scope, container.directory)
            subprocess.run(variables.command("sh", "-c", value, read_only=False), check=True)
        elif name == "WORKDIR":
            container.directory = value
            (container.root / value.removeprefix("/")).mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            self.copy(container, value)
        elif name == "USER":
            container.user = value
        elif name == "VOLUME":
            container.volumes += json.loads(value)
        elif name == "ENTRYPOINT":
            container.entrypoint = json.loads(value)
        elif name == "HEALTHCHECK":
            container.healthcheck = json.loads(value.split("CMD", 1)[1])
        elif name not in ("LABEL", "EXPOSE", "CMD"):
            raise ValueError(f"no {name} in this builder")

    def copy(self, container: Container, value: str) -> None:
        if value.startswith("--from="):
            stage, source, to = value.removeprefix("--from=").split()
            other = self.stage(stage)
            shutil.copytree(other.root / source.removeprefix("/"), container.root / to.removeprefix("/"), symlinks=True)
            return
        source, to = value.split()
        target = container.root / str(Path(container.directory) / to).removeprefix("/")
        for file in context_files():
            if file.is_relative_to(source):  # a folder's content, or the file itself
                inside = target / (file.name if str(file) == source else file.relative_to(source))
                inside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, inside)
