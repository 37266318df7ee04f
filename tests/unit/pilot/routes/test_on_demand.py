"""Virtual hosts that a proxy asks for because of a request (pilot.md B25)."""

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.routes.on_demand import Asked, asked, virtual_host
from mast.pilot.core.routes.routes import route_configuration
from tests.support.mesh_yaml import scope, sidecar_proxy

MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: NAME, namespace: NS}
spec:
  hosts: [NAME.NS.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 9000, name: tcp, protocol: TCP}]
"""
WILDCARD = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: all, namespace: bank}
spec:
  hosts: ["*.example.com"]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
"""
ALONE = """
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v, namespace: bank},
 spec: {hosts: [alone.test], http: [{route: [{destination: {host: pay}}]}]}}
"""
SIDECAR = """
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: default, namespace: shop},
 spec: {egress: [{hosts: ["./*"]}], outboundTrafficPolicy: {mode: MODE}}}
"""


def mesh(mode: str = "REGISTRY_ONLY") -> tuple[str, ...]:
    web, pay = (
        MESH.replace("NAME", name).replace("NS", namespace)
        for name, namespace in (("web", "shop"), ("pay", "bank"))
    )
    return web, pay, WILDCARD, ALONE, SIDECAR.replace("MODE", mode)


def found(name: str, mode: str = "REGISTRY_ONLY") -> dict[str, Any] | None:
    proxy = sidecar_proxy("shop", MAST_ON_DEMAND="true")
    made = virtual_host(name, scope(proxy, *mesh(mode)), proxy)
    return MessageToDict(made, preserving_proto_field_name=True) if made else None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("80/web", Asked("web", "web", 80, forward_proxy=False)),
        ("80/web:8080", Asked("web:8080", "web", 80, forward_proxy=False)),
        ("http_proxy/web:8080", Asked("web:8080", "web", 8080, forward_proxy=True)),
        ("http_proxy/web", Asked("web", "web", 80, forward_proxy=True)),
        ("80/[::1]:8080", Asked("[::1]:8080", "[::1]", 80, forward_proxy=False)),
        ("80/[::1]", Asked("[::1]", "[::1]", 80, forward_proxy=False)),
        ("web.shop:80/web", None),
        ("80/", None),
        ("web", None),
    ],
)
def test_asked(name: str, expected: Asked | None) -> None:
    assert asked(name) == expected


@pytest.mark.parametrize(
    ("name", "cluster"),
    [
        ("80/pay.bank", "outbound|80||pay.bank.svc.cluster.local"),
        ("80/pay.bank.svc:80", "outbound|80||pay.bank.svc.cluster.local"),
        ("http_proxy/pay.bank.svc.cluster.local", "outbound|80||pay.bank.svc.cluster.local"),
        ("http_proxy/pay.bank:9000", "outbound|9000||pay.bank.svc.cluster.local"),
        ("80/a.example.com", "outbound|80||*.example.com"),
        ("80/alone.test", "outbound|80||pay.bank.svc.cluster.local"),
        pytest.param("80/pay", None, id="short-name-of-another-namespace"),
        pytest.param("8080/pay.bank", None, id="other-port"),
        pytest.param("8080/alone.test", None, id="without-services-only-on-80"),
        pytest.param("9000/pay.bank", None, id="tcp"),
        pytest.param("80/web", None, id="declared"),
        pytest.param("80/web.shop:80", None, id="declared-with-port"),
        pytest.param("80/nobody", None, id="unknown"),
        pytest.param("pay.bank:80/pay.bank", None, id="sniffed-port"),
    ],
)
def test_hosts_beyond_the_sidecar(name: str, cluster: str | None) -> None:
    made = found(name)
    assert (made["routes"][0]["route"]["cluster"] if made else None) == cluster
    if made:
        assert made["name"] == name
        assert made["domains"] == [name.partition("/")[2]]


@pytest.mark.parametrize(("route", "tunnels"), [("80", False), ("http_proxy", True)])
def test_unknown_hosts_pass_where_they_may(route: str, tunnels: bool) -> None:
    made = found(f"{route}/nobody.test", "ALLOW_ANY")
    assert made is not None
    assert made["domains"] == ["nobody.test"]
    assert {each["route"]["cluster"] for each in made["routes"]} == {"PassthroughCluster"}
    assert any("connect_matcher" in each["match"] for each in made["routes"]) is tunnels


def test_the_routes_themselves_have_declared_hosts_only() -> None:
    proxy = sidecar_proxy("shop", MAST_ON_DEMAND="true")
    made = route_configuration("80", scope(proxy, *mesh("ALLOW_ANY")), proxy)
    assert made is not None
    assert [each.name for each in made.virtual_hosts] == ["web.shop.svc.cluster.local:80"]
    assert {"web", "web:80"} <= set(made.virtual_hosts[0].domains)
    assert not made.ignore_port_in_host_matching
    timeout = made.vhds.config_source.initial_fetch_timeout
    assert 0 < timeout.ToMilliseconds() <= 100
