"""The README of the chart: what to know of it, and a table of its values."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tools.chart.values import Value, shown

HEAD = """\
# mast

The chart of the Mast service mesh: etcd, Citadel, Galley, Pilot, Mixer and gateways, with the
names, ports and values of Istio's charts. How to install, what starts in which order, secrets and
rights: [docs/install.md](../../docs/install.md).

```sh
kubectl create namespace istio-system
helm install mast charts/mast -n istio-system
helm test mast -n istio-system
```

This file is made: `python -m tools.chart` writes it, and `values.schema.json`, from `values.yaml`.
The schema refuses values that there are none of, and wrong ones.

## Profiles

`helm install -f charts/mast/profiles/NAME.yaml …`

| profile | what |
|---|---|
"""


def text(found: Iterable[Value], profiles: Path) -> str:
    """The file."""
    rows = [f"| `{path.stem}` | {_about(path)} |" for path in sorted(profiles.glob("*.yaml"))]
    parts = [HEAD + "\n".join(rows) + "\n\n## Values\n"]
    title = None
    for each in found:
        if each.path[0] != title and not each.leaf:
            title = each.path[0]
            about = f"{each.text}\n\n" if each.text else ""
            parts.append(f"\n### {title}\n\n{about}| value | default | |\n|---|---|---|\n")
        elif each.leaf and len(each.path) == 1 and title != "":
            title = ""
            parts.append("\n### Of the whole\n\n| value | default | |\n|---|---|---|\n")
        if each.leaf:
            told = each.text.replace("|", "\\|")
            default = shown(each.default).replace("|", "\\|")
            parts.append(f"| `{each.name}` | {default} | {told} |\n")
    return "".join(parts)


def _about(path: Path) -> str:
    """The comment at the head of a profile."""
    content = path.read_text()
    lines = []
    for line in content.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)
