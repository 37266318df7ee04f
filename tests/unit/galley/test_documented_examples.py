"""Examples of the documentation: Galley accepts every one of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_text
from mast.galley.core.problem import Severity

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str]]:
    found = []
    for page in ("mixer-adapters.md", "on-demand.md", "telemetry.md", "wasm.md"):
        blocks = BLOCK.findall((DOCS / page).read_text())
        found += [(f"{page}-{number}", text) for number, text in enumerate(blocks)]
    return found


@pytest.mark.parametrize(("name", "text"), examples(), ids=lambda value: value[:20])
def test_examples_are_accepted(name: str, text: str) -> None:
    judged = judge(read_text(text, name, Defaults()))
    assert judged.objects
    assert [str(each) for each in judged.problems if each.severity is Severity.ERROR] == []
