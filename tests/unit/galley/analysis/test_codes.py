"""Every code that objects can show: told of what is bad, not of what is good, not if suppressed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from mast.galley.core.analysis.analysis import analyse
from mast.galley.core.analysis.analyzers import ANALYZERS, VERBOSE
from mast.galley.core.analysis.codes import CODES
from mast.galley.core.analysis.reading import read
from mast.galley.core.analysis.snapshot import SUPPRESS, Item, Message, Snapshot
from mast.galley.core.analysis.suppression import suppression
from mastapi.galley.v1 import config_pb2
from tests.support import (
    analysis_legacy,
    analysis_platform,
    analysis_policies,
    analysis_routes,
    analysis_traffic,
)
from tests.support.analysis_case import Case

CASES = (
    *analysis_routes.CASES,
    *analysis_traffic.CASES,
    *analysis_policies.CASES,
    *analysis_platform.CASES,
    *analysis_legacy.CASES,
)
INTERNAL = "IST0001"


def items(text: str) -> Sequence[Item]:
    content = read([config_pb2.Source(name="mesh.yaml", text=text)], "default")
    assert not content.problems, content.problems
    return content.items


def told(found: Iterable[Item], code: str, origin: str) -> list[Message]:
    """What is said with a code about an object."""
    messages = analyse((*ANALYZERS, *VERBOSE), Snapshot(found)).messages
    assert not [m.text for m in messages if m.code == INTERNAL]
    return [m for m in messages if (m.code, m.origin) == (code, origin)]


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{c.code}-{c.id}") for c in CASES])
def test_code(case: Case) -> None:
    found = items(case.bad)
    messages = told(found, case.code, case.origin)
    assert messages, [str(m) for m in analyse(ANALYZERS, Snapshot(found)).messages]
    file, _, line = messages[0].reference.partition(":")
    assert (file, int(line) > 0) == ("mesh.yaml", True)
    assert not told(items(case.good), case.code, case.origin)

    quiet = [
        replace(item, annotations={**item.annotations, SUPPRESS: f"IST0000, {case.code}"})
        if item.origin == case.origin
        else item
        for item in found
    ]
    assert not told(quiet, case.code, case.origin)
    assert suppression(f"{case.code}={case.origin}").covers(messages[0])


def test_every_code_has_a_sample() -> None:
    shown = {code for code, each in CODES.items() if each.seen_in == "objects"} - {INTERNAL}
    assert {case.code for case in CASES} == shown


def test_analyzers_tell_the_codes_they_declare() -> None:
    declared = {code for analyzer in (*ANALYZERS, *VERBOSE) for code in analyzer.codes}
    assert declared == {case.code for case in CASES}


def test_names_of_analyzers_are_their_own() -> None:
    names = [analyzer.name for analyzer in (*ANALYZERS, *VERBOSE)]
    assert len(names) == len(set(names))
