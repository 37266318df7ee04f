"""Names that gRPC's xDS client asks for (pilot.md B29)."""

import pytest

from mast.pilot.core.proxyless.names import ServerAddress, server_address, target
from tests.support.mesh_yaml import scope, sidecar_proxy

SERVICES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop.svc.cluster.local, api.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8080, name: grpc, protocol: GRPC}, {number: 53, name: udp, protocol: UDP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: dialled, namespace: shop}
spec:
  hosts: [dialled.shop.svc.cluster.local]
  resolution: NONE
  ports: [{number: 8080, name: grpc, protocol: GRPC}]
"""
WEB = "web.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "namespace", "host"),
    [
        ("web:8080", "shop", WEB),
        ("web:8080", "bank", None),
        ("web.shop:8080", "bank", WEB),
        ("web.shop.svc:8080", "bank", WEB),
        (f"{WEB}:8080", "bank", WEB),
        (f"{WEB}.:8080", "bank", WEB),
        ("api.example.com:8080", "bank", "api.example.com"),
        ("api.example:8080", "bank", None),
        ("web:80", "shop", None),
        ("web:53", "shop", None),
        ("web", "shop", None),
        ("web:", "shop", None),
        ("web:99999", "shop", None),
        ("dialled:8080", "shop", None),
    ],
)
def test_targets(name: str, namespace: str, host: str | None) -> None:
    proxy = sidecar_proxy(namespace, GENERATOR="grpc")
    found = target(name, scope(proxy, SERVICES), proxy)
    assert (found.service.host if found else None) == host


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("xds.istio.io/grpc/lds/inbound/0.0.0.0:80", ServerAddress("0.0.0.0", 80)),  # noqa: S104
        ("xds.istio.io/grpc/lds/inbound/[::]:80", ServerAddress("::", 80)),
        ("xds.istio.io/grpc/lds/inbound/localhost:80", None),
        ("xds.istio.io/grpc/lds/inbound/10.0.0.1", None),
        ("10.0.0.1:80", None),
    ],
)
def test_addresses_of_servers(name: str, address: ServerAddress | None) -> None:
    assert server_address(name) == address
