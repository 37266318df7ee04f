"""Time from ``mastctl up`` to a ready mesh, and what its idle processes weigh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 3


def mastctl(home: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command on a mesh of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mast.cli.main", *arguments],
        env={**os.environ, "MAST_HOME": home},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Three starts in loopback mode; the median is the result."""
    seconds, memory = [], {}
    for _ in range(RUNS):
        home = tempfile.mkdtemp(prefix="mast-bench-")
        began = time.monotonic()
        try:
            mastctl(home, "up", "--mode", "loopback")
            seconds.append(time.monotonic() - began)
            services = json.loads(mastctl(home, "status", "-o", "json").stdout)["services"]
            memory = {s["name"]: round(resident_mib(s["pid"])) for s in services}
        finally:
            mastctl(home, "down")
    median = sorted(seconds)[len(seconds) // 2]
    sys.stdout.write(
        json.dumps(
            {
                "name": "mastctl up to ready",
                "value": round(median, 2),
                "unit": "s",
                "runs": [round(s, 2) for s in seconds],
                "resident_mib": memory,
            }
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
