"""Runs the shell lines that start a trainer, up to the program that they become."""

import subprocess
from pathlib import Path


def becomes(command: list[str], work: Path, **environment: str) -> list[str]:
    """The words of the program that a container's command ends as.

    Args:
        command: a shell, its flags and the script.
        work: what is mounted at /work.
        environment: variables of the container.
    """
    programs = work.parent / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("python", "torchrun"):
        (programs / name).write_text('#!/bin/sh\nprintf "%s\\n" "${0##*/}" "$@"\n', "utf-8")
        (programs / name).chmod(0o755)
    *shell, script = command
    done = subprocess.run(
        [*shell, script.replace("/work/", f"{work}/")],
        env={"PATH": f"{programs}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return done.stdout.splitlines()
