"""The table of kinds agrees with the CRD tables (crds.txt) and the MCP collections (mcp.txt)."""

import pytest
from google.protobuf.any_pb2 import Any

from istio.networking.v1alpha3 import virtual_service_pb2
from mast.common import kinds


def test_collections_and_group_kinds_are_unique() -> None:
    assert len(kinds.BY_COLLECTION) == len(kinds.BY_GROUP_KIND) == len(kinds.KINDS)


@pytest.mark.parametrize(
    ("group", "kind", "collection", "message"),
    [
        (
            "networking.istio.io",
            "VirtualService",
            "istio/networking/v1alpha3/virtualservices",
            "istio.networking.v1alpha3.VirtualService",
        ),
        (
            "authentication.istio.io",
            "MeshPolicy",
            "istio/authentication/v1alpha1/meshpolicies",
            "istio.authentication.v1alpha1.Policy",
        ),
        (
            "config.istio.io",
            "rule",
            "istio/policy/v1beta1/rules",
            "istio.policy.v1beta1.Rule",
        ),
        (
            "config.istio.io",
            "QuotaSpec",
            "istio/mixer/v1/config/client/quotaspecs",
            "istio.mixer.v1.config.client.QuotaSpec",
        ),
        (
            "gateway.networking.k8s.io",
            "Gateway",
            "k8s/gateway_api/v1/gateways",
            "mastapi.kubernetes.v1.GatewaySpec",
        ),
        (
            "",
            "Namespace",
            "k8s/core/v1/namespaces",
            "mastapi.kubernetes.v1.NamespaceSpec",
        ),
        (
            "config.istio.io",
            "metric",
            "istio/config/v1alpha2/legacy/metrics",
            "google.protobuf.Struct",
        ),
    ],
)
def test_known_kinds(group: str, kind: str, collection: str, message: str) -> None:
    found = kinds.BY_GROUP_KIND[group, kind]
    assert (found.collection, found.message.DESCRIPTOR.full_name) == (collection, message)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vs", ["networking.istio.io/VirtualService"]),
        ("virtualservices", ["networking.istio.io/VirtualService"]),
        ("gateway", ["networking.istio.io/Gateway", "gateway.networking.k8s.io/Gateway"]),
        ("gw", ["networking.istio.io/Gateway"]),
        ("gtw", ["gateway.networking.k8s.io/Gateway"]),
        ("gateways.gateway.networking.k8s.io", ["gateway.networking.k8s.io/Gateway"]),
        ("namespaces", ["Namespace"]),
        ("VIRTUALSERVICE", ["networking.istio.io/VirtualService"]),
        ("authentication.istio.io/Policy", ["authentication.istio.io/Policy"]),
        ("rule", ["config.istio.io/rule"]),
        ("nonsense", []),
        ("rbac.istio.io/VirtualService", []),
    ],
)
def test_users_may_name_a_kind_loosely(text: str, expected: list[str]) -> None:
    assert [str(kind) for kind in kinds.named(text)] == expected


def test_unpack_returns_the_message() -> None:
    body = Any()
    body.Pack(virtual_service_pb2.VirtualService(hosts=["reviews"]))
    (kind,) = kinds.named("vs")
    assert kinds.unpack(kind, body).hosts == ["reviews"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (Any(type_url="type.googleapis.com/istio.networking.v1alpha3.Gateway"), "expected"),
        (
            Any(
                type_url="type.googleapis.com/istio.networking.v1alpha3.VirtualService",
                value=b"\xff",
            ),
            "cannot be decoded",
        ),
    ],
)
def test_unpack_refuses_other_bodies(body: Any, reason: str) -> None:
    (kind,) = kinds.named("vs")
    with pytest.raises(ValueError, match=reason):
        kinds.unpack(kind, body)
