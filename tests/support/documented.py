"""Manifests as the documentation has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documented_webhooks() -> list[dict[str, Any]]:
    """The webhook configurations that docs/webhooks.md tells users to install."""
    (text,) = BLOCK.findall((DOCS / "webhooks.md").read_text())
    return list(yaml.load_all(text, yaml.CSafeLoader))


def table(page: str, heading: str) -> Iterator[list[str]]:
    """The cells of each row below a heading of a page."""
    lines = (DOCS / page).read_text().splitlines()
    for line in lines[lines.index(heading) + 2 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split(" | ")]
