"""Which namespaces get which roots in which map (citadel-and-agent.md A9)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from mast.galley.core.root_maps import (
    LABELS,
    MapNames,
    Trust,
    changed_map,
    is_served,
    joined,
    new_map,
    says,
    wanted_maps,
)

NAMES = MapNames()
TRUST = Trust("roots\n")


@pytest.mark.parametrize(
    ("namespace", "served"),
    [
        pytest.param({"metadata": {"name": "shop"}}, True, id="any"),
        pytest.param({"metadata": {"name": "kube-system"}}, True, id="kube-system"),
        pytest.param({"metadata": {"name": "kube-public"}}, False, id="kube-public"),
        pytest.param({"metadata": {"name": "kube-node-lease"}}, False, id="kube-node-lease"),
        pytest.param({"metadata": {"name": "local-path-storage"}}, False, id="local-path-storage"),
        pytest.param(
            {"metadata": {"name": "shop"}, "status": {"phase": "Terminating"}}, False, id="phase"
        ),
        pytest.param(
            {"metadata": {"name": "shop", "deletionTimestamp": "now"}}, False, id="deleted"
        ),
    ],
)
def test_served(namespace: dict[str, Any], served: bool) -> None:
    assert is_served(namespace) is served


def test_roots_everywhere_and_lists_if_there_are_any() -> None:
    assert wanted_maps("shop", TRUST, NAMES) == {
        "istio-ca-root-cert": {"root-cert.pem": "roots\n"},
        "istio-ca-crl": {},
    }
    with_crl = wanted_maps("shop", Trust("roots\n", "crl\n"), MapNames("a", "b"))
    assert with_crl == {"a": {"root-cert.pem": "roots\n"}, "b": {"ca-crl.pem": "crl\n"}}


def test_the_map_of_old_is_in_citadels_namespace_only() -> None:
    names = MapNames(legacy_namespace="istio-system")
    assert names.all == ("istio-ca-root-cert", "istio-ca-crl", "istio-security")
    legacy = wanted_maps("istio-system", TRUST, names)["istio-security"]
    assert base64.b64decode(legacy["caTLSRootCert"]) == b"roots\n"
    assert "istio-security" not in wanted_maps("shop", TRUST, names)


def test_what_others_wrote_stays() -> None:
    data = {"root-cert.pem": "new"}
    found = {
        "metadata": {"name": "m", "labels": {"team": "a"}},
        "data": {"root-cert.pem": "old", "more": "x"},
    }
    assert not says(found, data)
    changed = changed_map(found, data)
    assert changed["data"] == {"root-cert.pem": "new", "more": "x"}
    assert changed["metadata"]["labels"] == {"team": "a", **LABELS}
    assert says(changed, data)
    assert found["data"]["root-cert.pem"] == "old"
    assert says(new_map("shop", "m", data), data)
    assert not says({"metadata": {}, "data": data}, data)  # our label is missing


def test_roots_are_sorted_and_none_comes_twice() -> None:
    assert joined(["b\n", "a", "b"]) == "a\nb\n"
