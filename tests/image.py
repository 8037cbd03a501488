"""Builds the Dockerfile's targets with buildah, and runs what they make without a container engine.

Images of a registry cannot be had everywhere, so the base image is made here: the smallest Debian of the
release that the Dockerfile names, and its Python. Needs root, buildah and debootstrap, which Debian packages.
"""

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from dockerfile import ROOT, parse

RELEASE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"


@dataclass
class Container:
    """An image's files and configuration, and how a process is started in it."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    def command(self, *program: str, mounts: dict[str, Path] | None = None) -> list[str]:
        """A command line for root that runs a program on a read-only root as Docker would, as process 1.

        Args:
            mounts: what of this machine is at which path, read-only; the declared volumes are empty and writable.
        """
        uid, gid = self.user.split(":")
        root = shlex.quote(str(self.root))
        steps = ["set -e", f"mount --bind {root} {root}", f"mount --rbind /dev {root}/dev"]
        for path, source in (mounts or {}).items():
            steps += [f"mkdir -p {root}{path}", f"mount --bind {shlex.quote(str(source))} {root}{path}"]
            steps += [f"mount -o remount,ro,bind {root}{path}"]
        steps += [f"mount -t tmpfs -o mode=1777 tmpfs {root}{path}" for path in self.volumes]
        steps += [f"mount -o remount,ro,bind {root} {root}", f"mount -t proc proc {root}/proc"]
        drop = f"setpriv --reuid {uid} --regid {gid} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        inside = ["env", "-i", "-C", self.directory, *variables, *program]
        steps += [f"exec chroot {root} {drop}{shlex.join(inside)}"]
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(steps)]


class Builder:
    """A store of images of its own, which is gone after the block; it begins with the base image, in minutes.

    Args:
        directory: for images, and what they are made of.
    """

    def __init__(self, directory: Path) -> None:
        self._directory, self._images = directory, directory / "store"
        self._store = ("--root", str(self._images), "--runroot", str(directory / "run"))

    def __enter__(self) -> Self:
        try:
            self._make_base()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._buildah("rm", "--all")
        if (self._images / "overlay").is_mount():  # buildah mounts it over itself, and leaves it so
            _run("umount", str(self._images / "overlay"))
        shutil.rmtree(self._directory)

    def _make_base(self) -> None:
        """The image that the Dockerfile starts from, by its name."""
        tree = self._directory / "base"
        _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(tree))
        (tree / "usr/bin/python").symlink_to("python3")
        (tree / "etc/hosts").write_text("127.0.0.1 localhost\n")  # an engine brings one
        arguments, stages = parse((ROOT / "Dockerfile").read_text("utf-8"))
        container = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", container, str(tree), "/")
        shutil.rmtree(tree)
        self._buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", container)
        name = stages[0].parent.replace("${PYTHON}", arguments["PYTHON"])
        self._buildah("commit", "--quiet", "--rm", container, f"docker.io/library/{name}")

    @contextmanager
    def built(self, target: str, **arguments: str) -> Iterator[Container]:
        """Build a target; its files are there within the block."""
        flags = [flag for name, value in arguments.items() for flag in ("--build-arg", f"{name}={value}")]
        flags += ["--format", "docker", "--pull-never", "--layers", "--quiet"]
        flags += ["--isolation", "chroot", "--target", target, "--tag", target]
        self._buildah("bud", *flags, *self._pip(), str(ROOT))
        config = json.loads(self._buildah("inspect", "--type", "image", target))["Docker"]["config"]
        container = self._buildah("from", "--pull-never", target)
        try:
            yield Container(
                Path(self._buildah("mount", container)),
                dict(pair.split("=", 1) for pair in config["Env"]),
                config.get("WorkingDir") or "/",
                config["User"],
                config["Entrypoint"],
                config.get("Healthcheck", {}).get("Test", [])[1:],
                list(config.get("Volumes") or ()),
            )
        finally:
            self._buildah("rm", container)

    def _pip(self) -> list[str]:
        """Flags by which pip finds packages where it finds them here: its configuration, and what that names."""
        lines = _run("python3", "-m", "pip", "config", "list").splitlines()
        settings = {name.split(".")[-1]: shlex.split(value)[0] for name, _, value in (s.partition("=") for s in lines)}
        file = self._directory / "pip.conf"
        file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
        named = {Path(word.removeprefix("file://")) for value in settings.values() for word in value.split()}
        local = {path for path in named if path.is_absolute() and path.exists()}
        # the files that an index's pages name lie beside it
        paths = sorted({str(path.parent if path.name == "simple" else path) for path in local})
        return [f"--volume={file}:/etc/pip.conf:ro", *(f"--volume={path}:{path}:ro" for path in paths)]

    def _buildah(self, command: str, *arguments: str) -> str:
        return _run("buildah", *self._store, command, *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout.strip()
