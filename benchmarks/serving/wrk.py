"""Closed-loop load with wrk: so many connections, each of which sends when it has its answer."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SCRIPT = """
local bodies = {}
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
local next = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  next = next % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[next])
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %f %f\\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


class Load(NamedTuple):
    """What came of it."""

    requests: int
    per_second: float
    errors: int
    p50_ms: float
    p99_ms: float


def write_script(directory: Path, bodies: Sequence[bytes]) -> Path:
    """The script for wrk, and beside it the bodies, one a line."""
    (directory / "bodies").write_bytes(b"\n".join(bodies))
    script = directory / "load.lua"
    script.write_text(SCRIPT)
    return script


def run_wrk(script: Path, url: str, connections: int, seconds: int, core: int) -> Load:
    """Load the server from one core.

    Raises:
        RuntimeError: wrk failed.
    """
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    done = subprocess.run(
        [*command, "-s", str(script), url],
        capture_output=True,
        text=True,
        check=False,
        env={"BODIES": str(script.with_name("bodies")), "PATH": "/usr/bin:/bin:/usr/local/bin"},
    )
    found = re.search(r"RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+)", done.stdout)
    if found is None:
        raise RuntimeError(f"wrk failed: {done.stdout}{done.stderr}")
    requests, microseconds, errors = (int(found[i]) for i in (1, 2, 3))
    return Load(requests, requests / microseconds * 1e6, errors, float(found[4]) / 1000, float(found[5]) / 1000)
