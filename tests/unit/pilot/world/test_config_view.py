"""Configuration as resources, for other control planes (pilot.md B27)."""

import pytest

from istio.mcp.v1alpha1.resource_pb2 import Resource
from mast.pilot.core.xds.resources import MCP
from tests.support.mesh_yaml import changes, world

GATEWAY = "networking.istio.io/v1/Gateway"


def gateway(name: str, namespace: str = "shop") -> str:
    return f"""
{{apiVersion: networking.istio.io/v1, kind: Gateway,
 metadata: {{name: {name}, namespace: {namespace}, annotations: {{note: x}}}},
 spec: {{selector: {{app: gate}}}}}}
"""


def test_objects_have_name_metadata_and_content() -> None:
    view = world(gateway("a")).snapshot(1).configuration()
    found = view.named(GATEWAY, "shop/a")
    assert found is not None
    assert found.type_url == MCP
    message = Resource.FromString(found.body)
    assert message.metadata.name == "shop/a"
    assert dict(message.metadata.annotations) == {"note": "x"}
    assert message.body.type_url == "type.googleapis.com/istio.networking.v1alpha3.Gateway"
    assert view.named(GATEWAY, "shop/b") is None


def test_objects_without_namespace_are_named_so() -> None:
    text = """
{apiVersion: authentication.istio.io/v1alpha1, kind: MeshPolicy, metadata: {name: default},
 spec: {peers: [{mtls: {}}]}}
"""
    view = world(text).snapshot(1).configuration()
    assert view.named("authentication.istio.io/v1alpha1/MeshPolicy", "default") is not None


@pytest.mark.parametrize(
    "type_url",
    ["networking.istio.io/v9/Gateway", "networking.istio.io/v1/Gate", "x/y/z", "Gateway", ""],
)
def test_unknown_kinds_are_empty(type_url: str) -> None:
    view = world(gateway("a")).snapshot(1).configuration()
    assert not view.collection(type_url).resources


def test_what_did_not_change_is_the_same_object() -> None:
    held = world(gateway("a"), gateway("b", "bank"))
    before = held.snapshot(1).configuration().collection(GATEWAY)
    held.apply(changes(gateway("c", "bank")))
    after = held.snapshot(2).configuration().collection(GATEWAY)
    assert after.resources.keys() == {"shop/a", "bank/b", "bank/c"}
    for name in before.resources:
        assert after.resources[name] is before.resources[name]
    assert held.snapshot(3).configuration().collection(GATEWAY) is after


def test_views_tell_their_generation() -> None:
    held = world(gateway("a"))
    first = held.snapshot(1).configuration()
    held.apply(changes(gateway("b")))
    second = held.snapshot(2).configuration()
    assert second.generation > first.generation
    assert first.key == second.key
    assert first.family(GATEWAY) is None
    assert first.renewed(GATEWAY, 0) is None
