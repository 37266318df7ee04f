"""MeshConfig, MeshNetworks, ProxyConfig: accepted, rejected and warned of (B3)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import pytest

from tests.support.galley_rules import found
from tests.support.pki import Ca

ROOT = Ca.root()
YAML_PEM, YAML_LEAF = (
    pem.decode().replace("\n", "\n\n") for pem in (ROOT.pem, ROOT.leaf(dns=["a"]).chain)
)
"""As flow scalars have it: a line break is an empty line."""


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{}", [], id="empty"),
        pytest.param("{connectTimeout: 1h, protocolDetectionTimeout: 0s, trustDomain: td,"
                     " rootNamespace: root, mixerCheckServer: 'istio-policy.ns:15004'}", [],
                     id="good"),
        pytest.param("{dnsRefreshRate: 1ms}", ["error spec.dnsRefreshRate duration"],
                     id="dns-refresh-rate"),
        pytest.param("{connectTimeout: 61m}", ["error spec.connectTimeout duration"],
                     id="connect-timeout"),
        pytest.param("{connectTimeout: 0s}", ["error spec.connectTimeout duration"],
                     id="no-connect-timeout"),
        pytest.param("{proxyListenPort: 70000, trustDomain: 'a b', rootNamespace: A}",
                     ["error spec.proxyListenPort port", "error spec.rootNamespace name",
                      "error spec.trustDomain trust-domain"], id="names"),
        pytest.param("{proxyListenPort: 15006, proxyInboundListenPort: 15001}", [],
                     id="ports-exchanged"),
        pytest.param("{proxyListenPort: 15006, proxyHttpPort: 15021}",
                     ["error spec.proxyHttpPort port", "error spec.proxyListenPort port"],
                     id="ports-taken"),
        pytest.param("{proxyInboundListenPort: 80, proxyHttpPort: 80}",
                     ["error spec.proxyHttpPort port", "error spec.proxyInboundListenPort port"],
                     id="one-port-for-two"),
        pytest.param("{mixerCheckServer: a, mixerReportServer: 'a:0'}",
                     ["error spec.mixerCheckServer address",
                      "error spec.mixerReportServer address"], id="mixer"),
        pytest.param("{caCertificates: [{pem: '%s', trustDomains: [b.example]},"
                     " {spiffeBundleUrl: 'https://b.example:8443/bundle',"
                     " trustDomains: [b.example, c.example]}]}" % YAML_PEM, [], id="other-cas"),
        pytest.param("{caCertificates: [{}, {pem: nothing}, {pem: '%s'},"
                     " {spiffeBundleUrl: 'http://b.example'}, {spiffeBundleUrl: 'https://'},"
                     " {spiffeBundleUrl: 'https://[b'}, {spiffeBundleUrl: 'https://b:x'}]}"
                     % YAML_LEAF,
                     ["error spec.caCertificates[0] required",
                      "error spec.caCertificates[1].pem certificate",
                      "error spec.caCertificates[2].pem certificate",
                      "error spec.caCertificates[3].spiffeBundleUrl url",
                      "error spec.caCertificates[4].spiffeBundleUrl url",
                      "error spec.caCertificates[5].spiffeBundleUrl url",
                      "error spec.caCertificates[6].spiffeBundleUrl url"], id="no-cas"),
        pytest.param("{caCertificates: [{spiffeBundleUrl: 'https://b.example',"
                     " trustDomains: ['a b', b, b], certSigners: [c]}]}",
                     ["error spec.caCertificates[0].certSigners unsupported",
                      "error spec.caCertificates[0].trustDomains[0] trust-domain",
                      "error spec.caCertificates[0].trustDomains[2] duplicate"],
                     id="domains-of-cas"),
        pytest.param("{trustDomainAliases: [a, a]}",
                     ["error spec.trustDomainAliases[1] duplicate"], id="aliases"),
        pytest.param("{defaultConfig: {drainDuration: 1500ms, concurrency: -1,"
                     " discoveryAddress: x, statusPort: 70000}}",
                     ["error spec.defaultConfig.concurrency number",
                      "error spec.defaultConfig.discoveryAddress address",
                      "error spec.defaultConfig.drainDuration duration",
                      "error spec.defaultConfig.statusPort port"], id="default-config"),
        pytest.param("{defaultConfig: {discoveryAddress: 'istiod.istio-system.svc:15012',"
                     " tracing: {datadog: {address: '$(HOST_IP):8126'}, sampling: 10},"
                     " terminationDrainDuration: 0s}}", [], id="agent-settings"),
        pytest.param("{defaultConfig: {discoveryAddress: '[::1]:15012'},"
                     " extensionProviders: [{name: a, envoyFileAccessLog: {path: /dev/stdout}}],"
                     " discoverySelectors: [{matchExpressions: [{key: a, operator: In,"
                     " values: [b]}, {key: c, operator: Exists}]}]}",
                     [], id="more"),
        pytest.param("{defaultConfig: {tracing: {stackdriver: {}}}}",
                     ["error spec.defaultConfig.tracing.stackdriver unsupported"],
                     id="stackdriver"),
        pytest.param("{defaultConfig: {tracing: {zipkin: {address: zipkin}, sampling: 200}}}",
                     ["error spec.defaultConfig.tracing.sampling percentage",
                      "error spec.defaultConfig.tracing.zipkin.address address"], id="tracing"),
        pytest.param("{extensionProviders: [{name: a, envoyFileAccessLog: {}},"
                     " {name: a, envoyFileAccessLog: {}}]}",
                     ["error spec.extensionProviders[1].name duplicate"], id="providers-twice"),
        pytest.param("{extensionProviders: [{name: z, zipkin: {service: a.b, port: 1}}]}", [],
                     id="provider"),
        pytest.param("{extensionProviders: [{name: a}, {envoyExtAuthzGrpc: {service: 'ns/a.b',"
                     " port: 1}}, {name: c, zipkin: {}}]}",
                     ["error spec.extensionProviders[0] required",
                      "error spec.extensionProviders[1].name required",
                      "error spec.extensionProviders[2].zipkin.port port",
                      "error spec.extensionProviders[2].zipkin.service required"],
                     id="providers"),
        pytest.param("{meshMTLS: {ecdhCurves: [P-256, X, P-256], cipherSuites: [Y, AES128-SHA]}}",
                     ["error spec.meshMTLS.ecdhCurves[1] curve",
                      "error spec.meshMTLS.ecdhCurves[2] duplicate",
                      "warning spec.meshMTLS.cipherSuites[0] cipher"], id="tls"),
        pytest.param("{discoverySelectors: [{matchExpressions: [{key: a, operator: In},"
                     " {key: a, operator: Exists, values: [b]}, {key: a, operator: Like}]}]}",
                     ["error spec.discoverySelectors[0].matchExpressions[0].values required",
                      "error spec.discoverySelectors[0].matchExpressions[1].values not-allowed",
                      "error spec.discoverySelectors[0].matchExpressions[2].operator operator"],
                     id="selectors"),
        pytest.param("{serviceSettings: [{hosts: ['*.a.com', 'b c']}]}",
                     ["error spec.serviceSettings[0].hosts[1] host"], id="service-settings"),
        pytest.param("{localityLbSetting: {distribute: [{from: a, to: {b: 1}}]}}",
                     ["error spec.localityLbSetting.distribute[0].to locality"], id="locality"),
    ],
)  # fmt: skip
def test_mesh_config(spec: str, expected: list[str]) -> None:
    assert sorted(found("MeshConfig", spec, name="default")) == expected


GATEWAY = "gateways: [{address: 1.1.1.1, port: 15443}]"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{networks: {n1: {endpoints: [{fromRegistry: a}, {fromCidr: 10.0.0.0/8}],"
                     " %s}}}" % GATEWAY, [], id="good"),
        pytest.param("{networks: {n1: {endpoints: [{fromRegistry: a}],"
                     " gateways: [{registryServiceName: a.b, port: 1}]}}}", [], id="by-service"),
        pytest.param("{}", [], id="none"),
        pytest.param("{networks: {}}", [], id="as-charts-write-it"),
        pytest.param("{networks: {N_1: {endpoints: [{}, {fromCidr: x}],"
                     " gateways: [{port: 1}, {address: 'a b', port: 70000}, {address: a}]}}}",
                     ["error spec.networks.N_1 name",
                      "error spec.networks.N_1.endpoints[0] required",
                      "error spec.networks.N_1.endpoints[1].fromCidr cidr",
                      "error spec.networks.N_1.gateways[0] required",
                      "error spec.networks.N_1.gateways[1].address address",
                      "error spec.networks.N_1.gateways[1].port port",
                      "error spec.networks.N_1.gateways[2].port required"], id="bad"),
    ],
)  # fmt: skip
def test_mesh_networks(spec: str, expected: list[str]) -> None:
    assert sorted(found("MeshNetworks", spec, name="default")) == expected


def test_proxy_config() -> None:
    assert found("ProxyConfig", "{concurrency: 0, selector: {matchLabels: {a: b}}}") == []
    assert found("ProxyConfig", "{concurrency: -1}") == ["error spec.concurrency number"]
