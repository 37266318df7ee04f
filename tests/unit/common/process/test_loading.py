"""Modules that are loaded make no work for the collector, then or later."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import gc
import sys

runs = []
gc.callbacks.append(lambda phase, info: runs.append(phase))
from mast.common.process.loading import loading
try:
    with loading():
        del runs[:]
        kept = [[] for _ in range(100_000)]
        seen = list(runs)
        if sys.argv[1] == "fails":
            raise ImportError(sys.argv[1])
except ImportError:
    pass
print(seen, gc.isenabled(), gc.get_freeze_count() > len(kept))
"""


@pytest.mark.parametrize("ends", ["well", "fails"])
def test_nothing_is_collected_meanwhile_or_looked_at_afterwards(ends: str) -> None:
    line = [sys.executable, "-c", PROGRAM, ends]
    ended = subprocess.run(line, capture_output=True, text=True)
    assert ended.stdout == "[] True True\n", ended.stderr


@pytest.mark.parametrize("service", ["agent", "citadel", "galley", "mixer", "pilot"])
def test_every_service_is_loaded_so(service: str) -> None:
    program = f"import gc, mast.{service}.__main__ as program; "
    program += "print(callable(program.main), gc.get_freeze_count() > 10_000)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "True True\n", ended.stderr
