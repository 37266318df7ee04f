"""Mutual TLS that callers use by themselves (pilot.md G6, H2)."""

import pytest

from tests.support.golden_view import resources_of
from tests.support.mesh_yaml import sidecar_proxy, world

CLUSTER = "outbound|80||web.shop.svc.cluster.local"
SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  endpoints:
  - {address: 10.0.0.1, labels: {app: new, security.istio.io/tlsMode: istio}}
  - {address: 10.0.0.2, labels: {app: old, security.istio.io/tlsMode: istio}}
  - {address: 10.0.0.3, labels: {app: new}}
---
"""
OFF = """
{apiVersion: security.istio.io/v1, kind: PeerAuthentication,
 metadata: {name: default, namespace: shop}, spec: {mtls: {mode: DISABLE}}}
---
"""
NEW = """
{apiVersion: security.istio.io/v1, kind: PeerAuthentication,
 metadata: {name: new, namespace: shop},
 spec: {selector: {matchLabels: {app: new}}, SETTINGS}}
---
"""
UNMANAGED = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system}, spec: {enableAutoMtls: false}}
---
"""


@pytest.mark.parametrize(
    ("texts", "encrypted"),
    [
        pytest.param([], {"10.0.0.1", "10.0.0.2"}, id="whoever-can"),
        pytest.param([OFF], set(), id="off"),
        pytest.param(
            [OFF, NEW.replace("SETTINGS", "mtls: {mode: STRICT}")], {"10.0.0.1"}, id="on-for-some"
        ),
        pytest.param(
            [OFF, NEW.replace("SETTINGS", "portLevelMtls: {'8080': {mode: PERMISSIVE}}")],
            {"10.0.0.1"},
            id="on-for-a-port",
        ),
        pytest.param(
            [OFF, NEW.replace("SETTINGS", "portLevelMtls: {'80': {mode: STRICT}}")],
            set(),
            id="on-for-another-port",
        ),
        pytest.param(
            [NEW.replace("SETTINGS", "mtls: {mode: DISABLE}")], {"10.0.0.2"}, id="off-for-some"
        ),
        pytest.param([UNMANAGED], set(), id="not-automatic"),
    ],
)
def test_callers_encrypt_for_those_who_take_it(texts: list[str], encrypted: set[str]) -> None:
    """The metadata of an endpoint chooses between two sockets, if anybody is to be encrypted."""
    found = resources_of(world(SERVICE, *texts).snapshot(1).view(sidecar_proxy("caller")))
    sockets = {each.name for each in found.clusters[CLUSTER].transport_socket_matches}
    assert "tlsMode-istio" in sockets or not encrypted
    chosen = {
        each.endpoint.address.socket_address.address
        for group in found.endpoints[CLUSTER].endpoints
        for each in group.lb_endpoints
        if sockets and each.metadata.filter_metadata["envoy.transport_socket_match"].fields
    }
    assert chosen == encrypted
