"""What one proxy sees and serves, as operators are shown it (pilot.md M1)."""

from mast.pilot.core.debug import proxies
from tests.support.mesh_yaml import sidecar_proxy, world

TEXT = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web, namespace: shop},
 spec: {hosts: [web.test], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}],
        endpoints: [{address: 10.1.0.7, ports: {http: 8080}}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: db, namespace: bank},
 spec: {hosts: [db.test], resolution: STATIC, ports: [{number: 90, name: tcp, protocol: TCP}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v, namespace: shop},
 spec: {hosts: [web.test, alone.test], http: [{redirect: {uri: /}}]}}
"""
SIDECAR = """
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: own, namespace: shop},
 spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ["shop/*"]}]}}
"""


def test_without_a_sidecar_it_sees_everything() -> None:
    found = proxies.sidecar_scope(world(TEXT).snapshot(1), sidecar_proxy())
    assert (found["namespace"], found["sidecar"]) == ("shop", "")
    (egress,) = found["egressListeners"]
    assert egress["listener"] == {}
    assert [each["host"] for each in egress["services"]] == ["db.test", "web.test"]
    assert egress["virtualServices"] == {"web.test": "shop/v", "alone.test": "shop/v"}


def test_a_sidecar_narrows_it_down() -> None:
    found = proxies.sidecar_scope(world(TEXT, SIDECAR).snapshot(1), sidecar_proxy())
    assert found["sidecar"] == "shop/own"
    assert found["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}
    (egress,) = found["egressListeners"]
    assert egress["listener"] == {"hosts": ["shop/*"]}
    assert [each["host"] for each in egress["services"]] == ["web.test"]


def test_what_it_serves() -> None:
    assert proxies.served(world(TEXT).snapshot(1), sidecar_proxy()) == [
        {"service": "web.test", "namespace": "shop", "port": 80, "targetPort": 8080}
    ]
