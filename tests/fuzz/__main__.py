"""Has Envoy judge configuration that no test has seen: new cases of what Galley accepts.

    python -m tests.fuzz                          100,000 cases
    python -m tests.fuzz --cases 5000 --seed 7    the ones with these numbers

Cases come in series, each a test of `tests/property/test_accepted_configuration.py` that is named
after the seed it was drawn with; it stands for the same cases as long as the strategies do.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TEST = "tests/property/test_accepted_configuration.py"


def main() -> int:
    """The exit status of pytest."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    known, others = parser.parse_known_args()
    sys.stdout.write(f"python -m tests.fuzz --cases {known.cases} --seed {known.seed}\n")
    sys.stdout.flush()
    workers = str(len(os.sched_getaffinity(0)))
    command = [sys.executable, "-m", "pytest", "-n", workers, TEST, *others]
    chosen = {"MAST_CASES": str(known.cases), "MAST_SEED": str(known.seed)}
    return subprocess.run(command, env=os.environ | chosen, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
