"""Requests that servers read in two ways: refused where rules hold, let alone elsewhere."""

from __future__ import annotations

import pytest
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
    HttpFilter,
)

from mast.cli.explain.rbac import Arrival, ruling
from mast.cli.explain.traffic import Connection, Request
from mast.pilot.core.security.ambiguity import AMBIGUOUS_HOST, AMBIGUOUS_PATH, single_reading
from tests.support.authorization_cases import LABELS, NAMESPACE, Case
from tests.support.authorization_envoy import gateway, inbound
from tests.support.authorization_reference import Document, Place
from tests.support.mesh_yaml import world


def unpacked(each: HttpFilter) -> RBAC:
    """The rules of a filter; none if it is another one."""
    found = RBAC()
    each.typed_config.Unpack(found)
    return found


CONNECTION = Connection(address="10.0.0.1", port=80, source_address="192.0.2.1")
NONE = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system},
 spec: {pathNormalization: {normalization: NONE}}}
"""


@pytest.mark.parametrize(
    ("host", "path", "refused"),
    [
        pytest.param("shop.test", "/a", "", id="ordinary"),
        pytest.param("shop.test:8080", "/a;b=c/d", "", id="parameters"),
        pytest.param("[::1]:80", "/a/..x/...;", "", id="no-dot-segments"),
        pytest.param("shop.test", "/a?b=/..;/c", "", id="in-the-query"),
        pytest.param("shop.test,other", "/", AMBIGUOUS_HOST, id="two-hosts"),
        pytest.param("x@shop.test", "/", AMBIGUOUS_HOST, id="a-name"),
        pytest.param("shop.test", "/a/..;/b", AMBIGUOUS_PATH, id="dots"),
        pytest.param("shop.test", "/.;a/b", AMBIGUOUS_PATH, id="one-dot"),
        pytest.param("shop.test", "/a/..;", AMBIGUOUS_PATH, id="at-the-end"),
    ],
)
def test_what_is_refused(host: str, path: str, refused: str) -> None:
    rules = unpacked(single_reading(world().snapshot(1).index.mesh)).rules
    said = ruling(rules, Arrival(CONNECTION, Request(authority=host, path=path)))
    assert said.decided == refused


def test_paths_that_nobody_normalises_are_let_alone() -> None:
    rules = unpacked(single_reading(world(NONE).snapshot(1).index.mesh)).rules
    assert set(rules.policies) == {AMBIGUOUS_HOST}


def managers(*policies: Document) -> list[HttpConnectionManager]:
    """Those of a workload and of a gateway that the policies are for."""
    case = Case(Place(namespace=NAMESPACE, labels=LABELS), policies, ())
    found = []
    for listener in (inbound(case), gateway(case)):
        for chain in listener.filter_chains:
            manager = HttpConnectionManager()
            if chain.filters[-1].typed_config.Unpack(manager):
                found.append(manager)
    return found


def policy(action: str, *, dry: bool = False) -> Document:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {
            "name": "one",
            "namespace": NAMESPACE,
            "annotations": {"istio.io/dry-run": "true"} if dry else {},
        },
        "spec": {"action": action, "rules": [{}]},
    }


@pytest.mark.parametrize(
    ("policies", "guarded"),
    [
        pytest.param([], False, id="no-policy"),
        pytest.param([policy("DENY")], True, id="denies"),
        pytest.param([policy("ALLOW")], True, id="allows"),
        pytest.param([policy("DENY", dry=True)], False, id="only-tried"),
    ],
)
def test_where_rules_hold(policies: list[Document], guarded: bool) -> None:
    """First of all guards, and the last dot of the host is cut off before."""
    found = managers(*policies)
    assert len(found) >= 3
    for each in found:
        first = unpacked(each.http_filters[0])
        assert (AMBIGUOUS_HOST in first.rules.policies) is guarded
        assert each.strip_trailing_host_dot is guarded
