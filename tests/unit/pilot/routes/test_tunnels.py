"""Tunnels through the forward proxy: where CONNECT requests may lead (pilot.md E8)."""

import pytest
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost

from mast.pilot.core.filters.extensions import NOTHING, Additions, NoExtensions, Spot
from mast.pilot.core.filters.header_operations import ADD, HeaderMutations, header_addition
from mast.pilot.core.model.model import Service
from mast.pilot.core.routes.routes import route_configuration
from tests.support.mesh_yaml import scope, sidecar_proxy

HOST = "web.shop.svc.cluster.local"
WEB = f"""
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: web, namespace: shop}},
 spec: {{hosts: [{HOST}], resolution: STATIC,
        ports: [{{number: 80, name: http, protocol: HTTP}},
                {{number: 443, name: tls, protocol: TLS}},
                {{number: 7000, name: any}},
                {{number: 9000, name: tcp, protocol: TCP}},
                {{number: 9001, name: udp, protocol: UDP}}]}}}}
"""
MESH = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system},
 spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}}
"""


def virtual_service(spec: str) -> str:
    return (
        "{apiVersion: networking.istio.io/v1, kind: VirtualService,"
        f" metadata: {{name: web, namespace: shop}}, spec: {{hosts: [web], {spec}}}}}"
    )


def virtual_hosts(*texts: str, extensions: NoExtensions | None = None) -> dict[str, VirtualHost]:
    proxy = sidecar_proxy("shop", labels={"app": "web"})
    seen = scope(proxy, WEB, *texts)
    found = route_configuration("http_proxy", seen, proxy, extensions or NoExtensions())
    assert found is not None
    return {each.name: each for each in found.virtual_hosts}


def tunnels(host: VirtualHost | None) -> list[Route]:
    return [each for each in host.routes if each.match.HasField("connect_matcher")] if host else []


@pytest.mark.parametrize(
    ("port", "tunnelled"), [(443, True), (9000, True), (7000, True), (80, False)]
)
def test_ports_that_are_not_http_can_be_tunnelled_to(port: int, tunnelled: bool) -> None:
    found = virtual_hosts()[f"{HOST}:{port}"]
    assert f"web:{port}" in found.domains
    made = tunnels(found)
    assert [each.route.cluster for each in made] == [f"outbound|{port}||{HOST}"] * tunnelled
    # Sniffed ports take requests as well.
    assert len(found.routes) == len(made) + (port in {80, 7000})
    for each in made:
        (upgrade,) = each.route.upgrade_configs
        assert upgrade.upgrade_type == "CONNECT"
        assert upgrade.HasField("connect_config")
        assert each.route.HasField("timeout")


def test_datagrams_cannot_be_tunnelled() -> None:
    assert f"{HOST}:9001" not in virtual_hosts()


@pytest.mark.parametrize(
    ("spec", "port", "expected"),
    [
        pytest.param(
            "tcp: [{match: [{port: 9000}], route: [{destination: {host: b.test}}]}]",
            9000,
            ["outbound|9000||b.test"],
            id="tcp",
        ),
        pytest.param(
            "tcp: [{match: [{sourceLabels: {app: other}}],"
            " route: [{destination: {host: b.test}}]}]",
            9000,
            [f"outbound|9000||{HOST}"],
            id="others",
        ),
        pytest.param(
            "tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}],"
            " route: [{destination: {host: b.test}}]}]",
            9000,
            [f"outbound|9000||{HOST}"],
            id="by-address",
        ),
        pytest.param(
            "tls: [{match: [{sniHosts: [x.test]}], route: [{destination: {host: x.test}}]},"
            " {match: [{sniHosts: ['*.shop.svc.cluster.local']}],"
            "   route: [{destination: {host: b.test}, weight: 3},"
            "           {destination: {host: c.test}, weight: 1}]}]",
            443,
            ["outbound|443||b.test 3", "outbound|443||c.test 1"],
            id="tls-by-name",
        ),
        pytest.param(
            "tls: [{match: [{sniHosts: [x.test]}], route: [{destination: {host: x.test}}]}]",
            443,
            [],
            id="other-names-only",
        ),
        pytest.param(
            "tcp: [{route: [{destination: {host: b.test}, weight: 0},"
            " {destination: {host: c.test}, weight: 0}]}]",
            9000,
            [],
            id="no-weight",
        ),
    ],
)
def test_tunnels_lead_where_connections_do(spec: str, port: int, expected: list[str]) -> None:
    made = tunnels(virtual_hosts(virtual_service(spec)).get(f"{HOST}:{port}"))
    leads = [each.route.cluster for each in made if each.route.cluster]
    for each in made:
        parts = each.route.weighted_clusters.clusters
        leads += [f"{part.name} {part.weight.value}" for part in parts]
    assert leads == expected


def test_unknown_hosts_follow_the_policy() -> None:
    (anywhere,) = tunnels(virtual_hosts()["allow_any"])
    assert anywhere.route.cluster == "PassthroughCluster"
    assert not tunnels(virtual_hosts(MESH)["block_all"])


def test_tunnels_take_what_extensions_add() -> None:
    class Marking(NoExtensions):
        def destination(self, spot: Spot, host: str, service: Service | None) -> Additions:
            if service is None:
                return NOTHING
            added = header_addition("x-port", str(spot.port), ADD)
            return Additions(mutations=HeaderMutations(request_add=(added,)))

    (made,) = tunnels(virtual_hosts(extensions=Marking())[f"{HOST}:443"])
    assert [each.header.value for each in made.request_headers_to_add] == ["443"]
