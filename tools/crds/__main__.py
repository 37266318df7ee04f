"""Writes charts/mast/crds, or with ``--check`` only says what is not as it should be."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.crds.manifests import files

CRDS = Path(__file__).parents[2] / "charts" / "mast" / "crds"


def main() -> int:
    """0 if the directory is as it should be (now), else 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.crds", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    wanted = files()
    for name, complaint in differences(wanted, CRDS):
        sys.stdout.write(f"{name}: {complaint}\n")
        if check:
            continue
        if name in wanted:
            CRDS.mkdir(parents=True, exist_ok=True)
            (CRDS / name).write_text(wanted[name])
        else:
            (CRDS / name).unlink()
    return int(check and any(differences(wanted, CRDS)))


def differences(wanted: Mapping[str, str], directory: Path) -> Iterator[tuple[str, str]]:
    """Files that are missing, say something else, or belong to no kind."""
    present = {path.name for path in directory.glob("*.yaml")}
    for name in sorted(wanted.keys() | present):
        if name not in wanted:
            yield name, "no kind has it any more"
        elif name not in present:
            yield name, "missing"
        elif (directory / name).read_text() != wanted[name]:
            yield name, "differs from what protos/ say"


if __name__ == "__main__":
    sys.exit(main())
