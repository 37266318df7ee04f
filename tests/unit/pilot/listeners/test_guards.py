"""Security policies at their places in listeners (pilot.md E10)."""

from collections.abc import Iterator

import pytest
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.resources import LDS
from tests.support.guarded_envoy import gateway
from tests.support.mesh_yaml import sidecar_proxy, world
from tests.support.tokens import Issuer
from tests.support.view_mesh import config

MESH = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system},
 spec: {extensionProviders: [{name: authz, envoyExtAuthzGrpc: {service: web.test, port: 81}}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web, namespace: shop},
 spec: {hosts: [web.test], resolution: STATIC, addresses: [10.9.0.1], location: MESH_INTERNAL,
   workloadSelector: {labels: {app: web}},
   ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: tcp, protocol: TCP},
           {number: 82, name: any}]}}
---
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: gate, namespace: edge},
 spec: {selector: {istio: ingressgateway}, servers: [
   {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]},
   {port: {number: 443, name: tls, protocol: TLS}, hosts: ["*.test"], tls: {mode: PASSTHROUGH}},
   {port: {number: 8443, name: https, protocol: HTTPS}, hosts: ["*.test"],
    tls: {mode: SIMPLE, credentialName: web}},
   {port: {number: 15443, name: mesh, protocol: TLS}, hosts: ["*.test"],
    tls: {mode: AUTO_PASSTHROUGH}},
   {port: {number: 81, name: tcp, protocol: TCP}, hosts: ["*"]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: all, namespace: edge},
 spec: {hosts: ["*.test"], gateways: [gate],
   tls: [{match: [{sniHosts: ["*.test"]}], route: [{destination: {host: web.test}}]}],
   tcp: [{route: [{destination: {host: web.test}}]}]}}
"""


def plugins() -> Iterator[str]:
    for phase in ("AUTHN", "AUTHZ", "STATS"):
        for kind in ("HTTP", "NETWORK"):
            name = f"{phase}-{kind}".lower()
            spec = f"{{url: 'file:///x', type: {kind}, phase: {phase}}}"
            yield config("WasmPlugin", name, "istio-system", spec, "extensions")


def policies() -> Iterator[str]:
    for action in ("ALLOW", "DENY", "AUDIT", "CUSTOM"):
        more = "provider: {name: authz}, " if action == "CUSTOM" else ""
        spec = f"{{action: {action}, {more}rules: [{{}}]}}"
        yield config("AuthorizationPolicy", action.lower(), "istio-system", spec, "security")
    spec = f"{{jwtRules: [{{issuer: a, jwks: '{Issuer('a', 'ES256').jwks}'}}]}}"
    yield config("RequestAuthentication", "tokens", "istio-system", spec, "security")


WEB = sidecar_proxy("shop", labels={"app": "web"})
HTTP = [
    *("rbac", "rbac", "ext_authz", "authn-http", "jwt_authn", "authz-http"),
    *("rbac", "rbac", "rbac", "stats-http", "grpc_stats"),
]
"""What is said of ambiguous requests, CUSTOM; plugins, tokens; AUDIT, DENY, ALLOW."""
NETWORK = [
    *("rbac", "ext_authz", "authn-network", "authz-network", "rbac", "rbac", "rbac"),
    *("stats-network", "tcp_proxy"),
]


def listeners(proxy: Proxy) -> dict[str, Listener]:
    texts = "---\n".join([*plugins(), *policies()])
    view = world(MESH, texts).snapshot(1).view(proxy)
    return {each.name: Listener.FromString(each.body) for each in view.collection(LDS)}


def short(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2]


def of_http(chain: FilterChain) -> list[str]:
    """Short names of the HTTP filters of a chain, none if it carries bytes."""
    manager = HttpConnectionManager()
    if not chain.filters[-1].typed_config.Unpack(manager):
        return []
    return [short(each.name) for each in manager.http_filters]


def of_network(chain: FilterChain) -> list[str]:
    return [short(each.name) for each in chain.filters]


def test_every_chain_to_a_workload_is_guarded() -> None:
    (guard, *chains) = listeners(WEB)["virtualInbound"].filter_chains
    assert of_network(guard) == ["authn-network", "authz-network", "stats-network", "tcp_proxy"]
    requests = [each for each in chains if of_http(each)]
    streams = [each for each in chains if not of_http(each)]
    assert {each.name for each in requests} == {
        *("0.0.0.0_80", "0.0.0.0_82", "virtualInbound-catchall-http"),
    }
    assert {each.name for each in streams} == {"0.0.0.0_81", "0.0.0.0_82", "virtualInbound"}
    for each in requests:
        assert of_http(each)[: len(HTTP)] == HTTP
        assert of_network(each)[:-1] == ["authn-network", "authz-network", "stats-network"]
    for each in streams:
        assert of_network(each) == NETWORK


def test_callers_are_not_guarded() -> None:
    for name, each in listeners(WEB).items():
        if name != "virtualInbound":
            for chain in (*each.filter_chains, each.default_filter_chain):
                guards = {"rbac", "ext_authz", "jwt_authn"}
                assert not guards & {*of_network(chain), *(of_http(chain) if chain.filters else ())}


@pytest.mark.parametrize(
    ("port", "http"),
    [
        pytest.param(80, True, id="requests"),
        pytest.param(8443, True, id="https"),
        pytest.param(443, False, id="tls-that-is-passed-on"),
        pytest.param(15443, False, id="mutual-tls-that-is-passed-on"),
        pytest.param(81, False, id="bytes"),
    ],
)
def test_every_server_of_a_gateway_is_guarded(port: int, http: bool) -> None:
    chains = listeners(gateway())[f"0.0.0.0_{port}"].filter_chains
    assert chains
    for each in chains:
        if http:
            assert of_http(each)[: len(HTTP)] == HTTP
        else:
            assert of_network(each) == NETWORK
