"""Manifests as the documentation has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documented_webhooks() -> list[dict[str, Any]]:
    """The webhook configurations that docs/webhooks.md tells users to install."""
    (text,) = BLOCK.findall((DOCS / "webhooks.md").read_text())
    return list(yaml.load_all(text, yaml.CSafeLoader))
