"""Services of several clusters: one host, addresses and gateways of each (pilot.md D8, H4)."""

from __future__ import annotations

import pytest

from mast.pilot.core.scope.networks import gateways
from mast.pilot.core.world.name_table import name_table
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.xds.resources import LDS, RDS
from tests.support.mesh_yaml import changes, scope, sidecar_proxy, world

HOST = "a.shop.svc.cluster.local"


def service(cluster: str, more: str) -> str:
    return (
        f"---\napiVersion: registry.mast/v1\nkind: Service\nmetadata: {{name: a-{cluster}}}\n"
        f"spec: {{host: {HOST}, namespace: shop, name: a, registry: Kubernetes,"
        f" cluster: {cluster}, {more}}}\n"
    )


def dialled(snapshot: MeshSnapshot, cluster: str) -> tuple[set[str], set[str]]:
    """Addresses of listeners, and of domains of routes, for a proxy of a cluster."""
    view = snapshot.view(sidecar_proxy("web", CLUSTER_ID=cluster))
    listeners = {each.name.removesuffix("_82") for each in view.collection(LDS)}
    found = view.named(RDS, "80")
    routes = found.body if found else b""
    seen = {f"10.{net}.0.1" for net in (96, 97)}
    return seen & listeners, {each for each in seen if each.encode() in routes}


PORTS = "ports: [{name: tcp, number: 82, protocol: TCP}, {name: http, number: 80, protocol: HTTP}]"
EAST = service("east", f"addresses: [10.96.0.1], {PORTS}")
WEST = service("west", f"addresses: [10.97.0.1], {PORTS}")


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        pytest.param("east", {"10.96.0.1"}, id="own"),
        pytest.param("west", {"10.97.0.1"}, id="the-other-s-own"),
        pytest.param("north", {"10.96.0.1", "10.97.0.1"}, id="none-of-its-own"),
    ],
)
def test_callers_dial_the_addresses_of_their_cluster(cluster: str, expected: set[str]) -> None:
    """Proxies of one namespace share results, but not these."""
    snapshot = world(EAST, WEST).snapshot()
    for each in ("east", "west", "north"):
        dialled(snapshot, each)
    assert dialled(snapshot, cluster) == (expected, expected)


def test_a_cluster_comes_and_goes() -> None:
    made = world(EAST)
    assert dialled(made.snapshot(), "west")[0] == {"10.96.0.1"}
    made.apply(changes(WEST))
    assert dialled(made.snapshot(), "west")[0] == {"10.97.0.1"}
    made.apply(type(each)(each.key, None) for each in changes(WEST))
    assert dialled(made.snapshot(), "west")[0] == {"10.96.0.1"}


def test_of_services_of_one_age_the_first_cluster_leads() -> None:
    """Whatever order they come in, so that every Pilot does the same."""
    aged = "creationTimestamp: 2026-01-01T00:00:00Z"
    texts = [
        each.replace("metadata: {", f"metadata: {{{aged}, ").replace("PORT", protocol)
        for each, protocol in (
            (service("east", "ports: [{name: p, number: 80, protocol: PORT}]"), "HTTP"),
            (service("west", "ports: [{name: p, number: 80, protocol: PORT}]"), "TCP"),
        )
    ]
    for ordered in (texts, texts[::-1]):
        found = scope(sidecar_proxy("shop"), *ordered).service(HOST)
        assert found is not None
        assert [each.protocol for each in found.ports] == ["HTTP"]


def test_every_address_of_an_endpoint_of_a_headless_service() -> None:
    """Listeners and names, as far as the caller has the family."""
    headless = service("east", f"headless: true, resolution: RESOLUTION_PASSTHROUGH, {PORTS}")
    shard = (
        "---\napiVersion: registry.mast/v1\nkind: EndpointShard\nmetadata: {name: x}\n"
        f"spec: {{host: {HOST}, namespace: shop, shard: east, endpoints: [{{address: 10.9.0.1,"
        " additional_addresses: ['fd00::1'], ports: {tcp: 82}}]}\n"
    )
    snapshot = world(headless, shard).snapshot()
    for own, expected in (
        ("10.0.0.1", {"10.9.0.1"}),
        ("10.0.0.1,fd00::9", {"10.9.0.1", "fd00::1"}),
    ):
        caller = sidecar_proxy("web", CLUSTER_ID="east", INSTANCE_IPS=own)
        names = {each.name for each in snapshot.view(caller).collection(LDS)}
        assert {each.removesuffix("_82") for each in names if each.endswith("_82")} == expected
        table = name_table(snapshot.scope("web"), caller).table
        assert set(table[HOST].ips) == expected


GATES = "ports: [{name: tls, number: 15443}]"


def test_gateways_of_one_name_lead_into_the_network_of_their_cluster() -> None:
    """East-west gateways are called the same everywhere."""
    seen = scope(
        sidecar_proxy("web"),
        service("east", f"labels: {{topology.istio.io/network: n-east}},"
                        f" external_addresses: [203.0.113.1], {GATES}"),
        service("west", f"labels: {{topology.istio.io/network: n-west,"
                        f" networking.istio.io/gatewayPort: '443'}},"
                        f" external_addresses: [lb.west.test], {GATES}"),
    )  # fmt: skip
    assert [each[:2] for each in gateways(seen, "n-east")] == [("203.0.113.1", 15443)]
    assert [each[:2] for each in gateways(seen, "n-west")] == [("lb.west.test", 443)]
