"""Which versions follow which, and definitions that would lose versions."""

from __future__ import annotations

import pytest

from mast.cli.install.versions import all_lost, kubernetes_refused, step_refused


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("1.4.0", "1.4.0", ""),
        ("1.4.0", "1.4.9", ""),
        ("1.4.9", "1.5.0", ""),
        ("1.9.3", "2.0.0", ""),
        ("1.4.0-rc.1", "1.4.0", ""),
        ("v1.4", "1.4.1+build", ""),
        ("1.4.0", "1.6.0", "1.6.0 skips versions: 1.4.0 is installed"),
        ("1.4.0", "2.1.0", "2.1.0 skips versions"),
        ("1.4.0", "3.0.0", "3.0.0 skips versions"),
        ("1.5.0", "1.4.9", "1.4.9 is older than 1.5.0, which is installed"),
        ("1.4.0", "1.4.0-rc.1", "1.4.0-rc.1 is older than 1.4.0"),
        ("main", "1.4.0", "'main' is no version, such as 1.4.2"),
        ("1.4.0", "main", "'main' is no version"),
        ("main", "main", ""),
    ],
)
def test_steps(before: str, after: str, problem: str) -> None:
    told = step_refused(before, after)
    assert told.startswith(problem) if problem else told == ""


@pytest.mark.parametrize(
    ("wanted", "found", "refused"),
    [
        (">=1.27.0-0", "v1.27.3", False),
        (">=1.27.0-0", "v1.33.1-gke.12", False),
        (">=1.27.0-0", "v1.26.15", True),
        (">= 1.27", "v2.0.0", False),
        ("", "v1.1.1", False),
        ("1.27 - 1.29", "v1.1.1", False),
    ],
)
def test_kubernetes(wanted: str, found: str, refused: bool) -> None:
    problem = kubernetes_refused(wanted, found)
    told = f"Kubernetes {found} is too old for the chart; want {wanted}"
    assert problem == (told if refused else "")


def test_a_version_that_objects_are_stored_in_must_not_vanish() -> None:
    def definition(*names: str) -> dict[str, object]:
        return {"metadata": {"name": "a"}, "spec": {"versions": [{"name": n} for n in names]}}

    there = {"a": {"status": {"storedVersions": ["v1alpha1", "v1"]}}}
    assert list(all_lost([definition("v1", "v1alpha1")], there)) == []
    assert list(all_lost([definition("v1")], {})) == []
    (problem,) = all_lost([definition("v1")], there)
    assert problem.startswith(
        "CustomResourceDefinition a: status.storedVersions has v1alpha1, and the chart has v1 only"
    )
