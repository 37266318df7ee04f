"""What is in the way of an installation, of what a cluster says."""

from __future__ import annotations

from typing import Any

import pytest

from mast.galley.core.analysis.precheck import (
    RIGHTS,
    of_objects,
    of_rights,
    of_upgrade,
    of_version,
)
from mast.galley.core.analysis.reading import observed

BUNDLE = "gateway.networking.k8s.io/bundle-version"


@pytest.mark.parametrize(
    ("told", "message"),
    [
        pytest.param({"gitVersion": "v1.22.0-eks"}, "", id="new-enough"),
        pytest.param({"gitVersion": "v2.0"}, "", id="newer"),
        pytest.param({"gitVersion": "v1.21.9"}, "Kubernetes v1.21.9 is not", id="old"),
        pytest.param({}, "Kubernetes of an unknown version is not", id="unknown"),
    ],
)
def test_versions(told: dict[str, str], message: str) -> None:
    found = list(of_version(told))
    assert [each.code for each in found] == (["IST0142"] if message else [])
    assert all(each.text.startswith(message) for each in found)


def test_rights() -> None:
    told = [each.text for each in of_rights([("", "secrets"), ("apps", "deployments")])]
    assert told == [
        "there is no right to create secrets",
        "there is no right to create deployments.apps",
    ]
    assert len({right[:2] for right in RIGHTS}) == len(RIGHTS)


@pytest.mark.parametrize(
    ("version", "codes"),
    [
        ("1.4.10", {"IST0169"}),
        ("1.0", {"IST0169"}),
        ("1.24.1", set()),
        ("2.0", {"IST0168"}),
        ("latest", {"IST0168"}),
    ],
)
def test_upgrades(version: str, codes: set[str]) -> None:
    assert {each.code for each in of_upgrade(version)} == codes


def definition(group: str, kind: str, bundle: str = "", **versions: bool) -> dict[str, Any]:
    """A definition with versions that are served, or not."""
    annotations = {"annotations": {BUNDLE: bundle}} if bundle else {}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.lower()}s.{group}", **annotations},
        "spec": {
            "group": group,
            "names": {"kind": kind},
            "versions": [{"name": name, "served": on} for name, on in versions.items()],
        },
    }


@pytest.mark.parametrize(
    ("found", "codes"),
    [
        pytest.param(definition("networking.istio.io", "Gateway", v1=True), [], id="ours"),
        pytest.param(definition("networking.istio.io", "Gateway", v0=True), ["IST0106"], id="old"),
        pytest.param(
            definition("networking.istio.io", "Gateway", v1=False), ["IST0106"], id="not-served"
        ),
        pytest.param(definition("x.io", "Thing", v0=True), [], id="somebody-elses"),
        pytest.param(
            definition("gateway.networking.k8s.io", "Gateway", "v0.8.0", v1=True),
            ["IST0156"],
            id="release-that-is-not-understood",
        ),
        pytest.param(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": "a"},
                "webhooks": [
                    {"name": f"{each}.sidecar-injector.istio.io"} for each in ("one", "two")
                ],
            },
            ["IST0139"],
            id="injectors-that-overlap",
        ),
    ],
)
def test_what_is_there(found: dict[str, Any], codes: list[str]) -> None:
    told = {each.code for each in of_objects(observed(found))}
    assert sorted(told) == codes
