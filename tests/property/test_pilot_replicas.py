"""Two replicas make the same bytes of the same mesh, whatever their hash seeds (pilot.md B13)."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
from hashlib import sha256
from tests.property.pilot_meshes import BASE
from tests.property.test_pilot_world import PROXIES, bodies, everything
from tests.support.mesh_yaml import world

snapshot = world(BASE).snapshot()
digest = sha256()
for proxy in PROXIES:
    view = snapshot.view(proxy)
    digest.update(str(view.key).encode())
    for key, each in sorted(everything(view).items()):
        digest.update(repr((key, each.version, each.body, sorted(each.requires))).encode())
print(digest.hexdigest())
"""


def outcome(seed: str) -> str:
    """The digest of everything, made by a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONHASHSEED": seed},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    assert len({outcome(seed) for seed in ("1", "2", "3")}) == 1
