"""Names and references (mixer.md D2; checklist 24)."""

from __future__ import annotations

from typing import Any

import pytest

from mast.mixer.core.config.names import candidates, canonical, fqn, is_fqn, short_name
from tests.support.mixer_vectors import vectors


@pytest.mark.parametrize("case", vectors("names"))
def test_conformance(case: Any) -> None:
    """D2: names of Istio's own tests."""
    expected = case["expected"]
    if "is_fqn" in expected:
        assert is_fqn(case["name"]) is expected["is_fqn"]
    elif "canonical" in expected:
        assert canonical(case["name"], case["kind"], case["namespace"]) == expected["canonical"]
    else:
        assert short_name(case["name"]) == expected["short"]


@pytest.mark.parametrize(
    ("reference", "means"),
    [
        pytest.param("a", ["a.handler.ns"], id="short"),
        pytest.param("a.b.c", ["a.b.c"], id="fully-qualified"),
        pytest.param("a.b", ["a.b.ns", "a.handler.b"], id="kind-or-namespace"),
        pytest.param("a.b.c.d", ["a.b.c.d"], id="verbatim"),
    ],
)
def test_references(reference: str, means: list[str]) -> None:
    """D2, L24: what each form may mean, best first."""
    assert list(candidates(reference, "handler", "ns")) == means


def test_fqn() -> None:
    assert fqn("a", "rule", "ns") == "a.rule.ns"
