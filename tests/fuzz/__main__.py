"""Tries what no test has seen: configuration on an Envoy, rules of access, parsers on noise.

    python -m tests.fuzz                          100,000 cases
    python -m tests.fuzz --cases 5000 --seed 7    the configuration with these numbers
    python -m tests.fuzz --of parsers             Citadel's parsers of CSRs, tokens and headers only
    python -m tests.fuzz --of access              calls to workloads with drawn policies only
    python -m tests.fuzz --of injector            pods and annotations for the sidecar injector only
    python -m tests.fuzz --of converter           objects of a cluster, and their changes, only
    python -m tests.fuzz --of reviews             reviews for Galley's webhooks only

Configuration comes in series, each a test of `tests/property/test_accepted_configuration.py` that
is named after the seed it was drawn with; it stands for the same cases as long as the strategies
do. So do calls, by `tests/property/test_authorization.py`. Of parsers every test of
`tests/property/test_citadel_parsers.py` draws a tenth of the number, and so do those of
Galley's decoder (`tests/property/test_galley_hostile.py`), of the injector
(`tests/property/test_injection.py`), of service discovery (`tests/property/test_discovery.py`) and
of the webhooks (`tests/property/test_reviews.py`).
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TESTS = {
    "access": "tests/property/test_authorization.py",
    "configuration": "tests/property/test_accepted_configuration.py",
    "converter": "tests/property/test_discovery.py",
    "decoder": "tests/property/test_galley_hostile.py",
    "injector": "tests/property/test_injection.py",
    "parsers": "tests/property/test_citadel_parsers.py",
    "reviews": "tests/property/test_reviews.py",
}


def main() -> int:
    """The exit status of pytest."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--of", choices=sorted(TESTS), action="append")
    known, others = parser.parse_known_args()
    sys.stdout.write(f"python -m tests.fuzz --cases {known.cases} --seed {known.seed}\n")
    sys.stdout.flush()
    workers = str(len(os.sched_getaffinity(0)))
    chosen = [TESTS[name] for name in known.of or sorted(TESTS)]
    unlimited = ["--timeout", "0"]
    command = [sys.executable, "-m", "pytest", "-n", workers, *unlimited, *chosen, *others]
    drawn = {
        "MAST_CASES": str(known.cases),
        "MAST_SEED": str(known.seed),
        "MAST_PARSER_CASES": str(known.cases // 10),
    }
    return subprocess.run(command, env=os.environ | drawn, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
