"""docs/analysis.md: every code as the table has it, and examples that are as bad as they claim."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mast.galley.core.analysis.analysis import analyse
from mast.galley.core.analysis.analyzers import ANALYZERS, VERBOSE
from mast.galley.core.analysis.assumed import completed
from mast.galley.core.analysis.codes import CODES, DOCUMENTATION
from mast.galley.core.analysis.reading import read
from mast.galley.core.analysis.snapshot import Snapshot
from mastapi.galley.v1 import config_pb2

PAGE = (Path(__file__).parents[4] / DOCUMENTATION).read_text()
SECTIONS = {
    text.partition("\n")[0]: text for text in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
}
EXAMPLE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = [code for code, each in CODES.items() if each.seen_in == "objects" and code != "IST0001"]


def test_every_code_is_explained() -> None:
    assert list(SECTIONS) == list(CODES)
    for number, text in SECTIONS.items():
        assert f"**{CODES[number].name}**, {CODES[number].level.label}. " in text
        assert "*What to do*: " in text


def test_addresses_lead_there() -> None:
    assert CODES["IST0101"].documentation == f"{DOCUMENTATION}#ist0101"


@pytest.mark.parametrize("code", SHOWN)
def test_example(code: str) -> None:
    (example,) = EXAMPLE.findall(SECTIONS[code])
    content = read([config_pb2.Source(name="a.yaml", text=example)], "default")
    assert not content.problems
    messages = analyse((*ANALYZERS, *VERBOSE), Snapshot(completed(content.items))).messages
    assert code in {message.code for message in messages}
