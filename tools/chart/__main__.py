"""Writes what is made of charts/mast/values.yaml; ``--check`` only says what is out of date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.chart import dashboards, readme, schema
from tools.chart.values import values

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "mast"
DEFAULTS = ROOT / "services" / "mixer" / "src" / "mast" / "mixer" / "defaults"


def files() -> Mapping[str, str]:
    """Contents by path below the chart."""
    found = values((CHART / "values.yaml").read_text())
    made = {
        "README.md": readme.text(found, CHART / "profiles"),
        "values.schema.json": schema.text(found),
    }
    made |= {f"files/mixer/{path.name}": path.read_text() for path in DEFAULTS.glob("*.yaml")}
    made |= {f"files/dashboards/{name}.json": text for name, text in dashboards.texts().items()}
    return made


def outdated() -> list[str]:
    """Paths below the chart that are not as they should be."""
    made = files()
    there = {
        str(path.relative_to(CHART)) for path in (CHART / "files").rglob("*") if path.is_file()
    }
    changed = [
        name
        for name, text in made.items()
        if not (CHART / name).exists() or (CHART / name).read_text() != text
    ]
    return sorted({*changed, *(there - made.keys())})


def main() -> int:
    """0 if everything is as it should be (now), else 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.chart", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    made = files()
    for name in outdated():
        sys.stdout.write(f"{name}\n")
        if check:
            continue
        path = CHART / name
        if name in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made[name])
        else:
            path.unlink()
    return int(check and bool(outdated()))


if __name__ == "__main__":
    sys.exit(main())
