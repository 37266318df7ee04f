"""Runs the benchmarks one after the other and writes one JSON file with machine and commit.

Each ``bench_NAME.py`` beside this file is a program of its own: it prints one JSON object a line
(``name``, ``value``, ``unit`` and whatever else it measured) and ends by itself.

    python -m tests.bench            all of them
    python -m tests.bench push csr   those whose name contains a word
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SECONDS = 3600


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def commit() -> str:
    """The commit measured, with ``+`` if the tree has changes."""

    def git(*arguments: str) -> str:
        line = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()

    dirty = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "--short=12", "HEAD") + ("+" if dirty else "")


def chosen(words: Sequence[str]) -> list[str]:
    """Names of the benchmarks to run."""
    names = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    return [name for name in names if not words or any(word in name for word in words)]


def measured(name: str) -> Iterator[dict[str, Any]]:
    """Run one benchmark and give its results."""
    line = [sys.executable, "-m", f"tests.bench.bench_{name}"]
    ended = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=SECONDS)
    if ended.returncode != 0:
        raise SystemExit(f"benchmark {name} ended with status {ended.returncode}")
    for text in ended.stdout.splitlines():
        if text.startswith("{"):
            yield {"benchmark": name, **json.loads(text)}


def main(words: Sequence[str]) -> None:
    """Run, show every result as it comes, and write bench-results/COMMIT.json."""
    results = []
    for name in chosen(words):
        sys.stderr.write(f"{name} ...\n")
        for result in measured(name):
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()
            results.append(result)
    when = datetime.now(tz=UTC).isoformat(timespec="seconds")  # noqa: TID251 - the edge
    record = {"commit": commit(), "time": when, "machine": machine(), "results": results}
    folder = ROOT / "bench-results"
    folder.mkdir(exist_ok=True)
    (folder / f"{record['commit']}.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
