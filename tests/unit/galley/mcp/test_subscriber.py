"""The client's side of MCP over xDS: what is asked, what is kept, what is rejected (A5)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage

from istio.mcp.v1alpha1.resource_pb2 import Resource
from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.networking.v1alpha3.destination_rule_pb2 import DestinationRule
from mast.galley.core.mcp.subscriber import AWAITED, MESH_CONFIG, Subscriber
from mast.galley.core.objects import Defaults

RULES = "networking.istio.io/v1/DestinationRule"
NODE = "sidecar~127.0.0.1~galley.istio-system~istio-system.svc.cluster.local"
MADE = datetime(2026, 1, 2, tzinfo=UTC)


def item(name: str, host: str = "a.com", **labels: str) -> AnyMessage:
    resource = Resource()
    resource.metadata.name = name
    resource.metadata.labels.update(labels)
    resource.metadata.create_time.FromDatetime(MADE)
    resource.body.Pack(DestinationRule(host=host))
    return packed(resource)


def packed(message: Resource | MeshConfig | DestinationRule) -> AnyMessage:
    found = AnyMessage()
    found.Pack(message)
    return found


def response(*items: AnyMessage, type_url: str = RULES, version: str = "1") -> DiscoveryResponse:
    return DiscoveryResponse(type_url=type_url, version_info=version, nonce="n", resources=items)


def subscriber() -> Subscriber:
    return Subscriber(NODE, "canary", Defaults())


def hosts(found: Subscriber) -> dict[str, str]:
    objects, _ = found.tree.merged()
    return {f"{o.meta.namespace}/{o.meta.name}": o.spec.host for o in objects.values()}


def test_every_type_is_asked_for_as_a_whole() -> None:
    requests = list(subscriber().requests())
    asked = {each.type_url for each in requests}
    assert asked > AWAITED
    assert {MESH_CONFIG, "rbac.istio.io/v1alpha1/ServiceRole"} <= asked
    assert not {each for each in asked if each.endswith("/Secret")}
    assert len(asked) == len(requests)
    assert requests[0].node.id == NODE
    metadata = requests[0].node.metadata
    assert dict(metadata) == {"GENERATOR": "api", "ISTIO_REVISION": "canary"}
    assert {(tuple(r.resource_names), r.response_nonce) for r in requests} == {((), "")}


def test_the_state_of_a_type_replaces_the_one_before() -> None:
    found = subscriber()
    answer = found.receive(response(item("shop/a", app="x"), item("shop/b", "b.com")))
    assert answer == DiscoveryRequest(type_url=RULES, version_info="1", response_nonce="n")
    assert hosts(found) == {"shop/a": "a.com", "shop/b": "b.com"}
    objects, _ = found.tree.merged()
    first = next(iter(objects.values()))
    assert (first.meta.labels, first.created) == ({"app": "x"}, MADE)
    assert first.source == f"{RULES}:shop/a"
    known = found.tree.files[f"{RULES}:shop/b"]
    found.receive(response(item("shop/b", "b.com"), version="2"))
    assert hosts(found) == {"shop/b": "b.com"}
    assert found.tree.files[f"{RULES}:shop/b"] is known, "what is the same is not judged again"


def test_an_item_that_is_wrong_is_named_and_keeps_no_other_away() -> None:
    found = subscriber()
    found.receive(response(item("shop/a")))
    foreign = Resource()
    foreign.metadata.name = "shop/mesh"
    foreign.body.Pack(MeshConfig())
    broken = AnyMessage(type_url="type.googleapis.com/istio.mcp.v1alpha1.Resource", value=b"\xff")
    bad = (item("shop/bad", ""), packed(foreign), packed(DestinationRule()), broken)
    answer = found.receive(response(item("shop/good", "good.com"), *bad, version="2"))
    assert (answer.version_info, answer.response_nonce) == ("1", "n"), "not acknowledged"
    assert answer.error_detail.code == 3
    for word in ("shop/bad", "host", "shop/mesh", "is no istio.mcp.v1alpha1.Resource", "decoded"):
        assert word in answer.error_detail.message
    assert hosts(found) == {"shop/good": "good.com"}
    assert f"{RULES}:shop/bad" in found.tree.broken, "what was stored of it stays"


def test_the_settings_of_the_mesh_travel_bare() -> None:
    found = subscriber()
    found.receive(response(packed(MeshConfig(ingress_class="x")), type_url=MESH_CONFIG))
    (settings,) = found.tree.merged()[0].values()
    assert (settings.meta.namespace, settings.meta.name) == ("istio-system", "default")
    assert settings.spec.ingress_class == "x"


def test_synced_when_every_type_of_today_was_answered() -> None:
    found = subscriber()
    for type_url in sorted(AWAITED):
        assert not found.synced
        assert type_url in found.missing
        found.receive(response(type_url=type_url))
    assert found.synced
    assert "rbac.istio.io/v1alpha1/ServiceRole" in found.tree.untold
    assert not AWAITED & found.tree.untold


@pytest.mark.parametrize("type_url", ["", "core/v1/Secret", "nonsense"])
def test_what_nobody_asked_for_is_rejected(type_url: str) -> None:
    found = subscriber()
    answer = found.receive(response(item("shop/a"), type_url=type_url))
    assert "nobody asked" in answer.error_detail.message
    assert hosts(found) == {}
