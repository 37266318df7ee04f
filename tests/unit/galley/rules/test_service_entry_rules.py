"""ServiceEntry, WorkloadEntry, WorkloadGroup: accepted, rejected and warned of (B2)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import pytest

from tests.support.galley_rules import found

HTTP = "ports: [{number: 80, name: http, protocol: HTTP}]"
TCP = "ports: [{number: 80, name: tcp, protocol: TCP}]"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{hosts: [a.com], %s}" % HTTP, [], id="none"),
        pytest.param("{%s}" % HTTP, ["error spec.hosts required"], id="no-hosts"),
        pytest.param("{hosts: ['*'], %s}" % HTTP, ["error spec.hosts[0] host"], id="any-host"),
        pytest.param("{hosts: [a.com, a.com], %s}" % HTTP, ["error spec.hosts[1] duplicate"],
                     id="host-twice"),
        pytest.param("{hosts: ['*.a.com'], resolution: STATIC, endpoints: [{address: 1.1.1.1}],"
                     " %s}" % HTTP, ["warning spec.hosts[0] wildcard-host"],
                     id="wildcard-with-endpoints"),
        pytest.param("{hosts: [a.com], exportTo: ['~'], %s}" % HTTP, [], id="export-to-none"),
        pytest.param("{hosts: [a.com], addresses: [10.0.0.0/8, 1.1.1.1, x], %s}" % HTTP,
                     ["error spec.addresses[2] cidr"], id="addresses"),
        pytest.param("{hosts: [a.com], addresses: [10.0.0.0/8], resolution: DNS, %s}" % HTTP,
                     ["error spec.addresses[0] cidr"], id="network-with-dns"),
        pytest.param("{hosts: [a.com], ports: [{number: 80, name: a}, {number: 80, name: a}]}",
                     ["warning spec.ports[0].protocol addresses",
                      "error spec.ports[1].number duplicate",
                      "error spec.ports[1].name duplicate",
                      "warning spec.ports[1].protocol addresses"], id="ports-twice"),
        pytest.param("{hosts: [a.com], ports: [{number: 80, protocol: HTTP}]}",
                     ["error spec.ports[0].name required"], id="port-without-name"),
        pytest.param("{hosts: [a.com], ports: [{number: 80, name: A_B, protocol: XX}]}",
                     ["error spec.ports[0].name port-name",
                      "error spec.ports[0].protocol protocol"], id="port-words"),
        pytest.param("{hosts: [a.com, b.com], resolution: DNS, %s}" % TCP,
                     ["error spec.ports[0].protocol protocol"], id="hosts-share-tcp"),
        pytest.param("{hosts: [a.com, b.com], addresses: [1.1.1.1], %s}" % TCP, [],
                     id="hosts-share-tcp-by-original-destination"),
        pytest.param("{hosts: [a.com, b.com], resolution: STATIC,"
                     " endpoints: [{address: 1.1.1.1}], ports: [{number: 1, name: u,"
                     " protocol: UDP}]}",
                     ["error spec.ports[0].protocol protocol"], id="hosts-share-udp"),
        pytest.param("{hosts: [a.com], ports: [{protocol: HTTP}, {protocol: HTTP}]}",
                     [f"error spec.ports[{n}].{field} required" for n in (0, 1)
                      for field in ("number", "name")], id="empty-ports"),
        pytest.param("{hosts: [a.com], %s}" % TCP,
                     ["warning spec.ports[0].protocol addresses"], id="tcp-without-addresses"),
        pytest.param("{hosts: ['*.a.com'], resolution: STATIC, endpoints: [{address: 1.1.1.1}],"
                     " %s}" % TCP,
                     ["warning spec.hosts[0] wildcard-host",
                      "warning spec.ports[0].protocol addresses"], id="tcp-of-a-wildcard"),
        pytest.param("{hosts: [a.com], resolution: STATIC, endpoints: [{address: 1.1.1.1}], %s}"
                     % TCP, [], id="tcp-with-allocation"),
        pytest.param("{hosts: [a.com], endpoints: [{address: 1.1.1.1}], %s}" % HTTP,
                     ["error spec.endpoints not-allowed"], id="none-with-endpoints"),
        pytest.param("{hosts: [a.com], workloadSelector: {labels: {a: b}}, %s}" % HTTP,
                     ["warning spec.workloadSelector without-effect"], id="none-with-selector"),
        pytest.param("{hosts: [a.com], resolution: STATIC, workloadSelector: {labels: {a: b}},"
                     " endpoints: [{address: 1.1.1.1}], %s}" % HTTP,
                     ["error spec.endpoints one-of"], id="selector-and-endpoints"),
        pytest.param("{hosts: [a.com], resolution: STATIC, endpoints: [{address: b.com}], %s}"
                     % HTTP, ["error spec.endpoints[0].address address"], id="static-name"),
        pytest.param("{hosts: [a.com], resolution: STATIC,"
                     " endpoints: [{address: 'unix:///a'}], %s}" % HTTP, [], id="static-unix"),
        pytest.param("{hosts: [a.com], resolution: STATIC, endpoints: [{address: 'unix:///a'}],"
                     " ports: [{number: 80, name: a, protocol: HTTP},"
                     " {number: 81, name: b, protocol: HTTP}]}",
                     ["error spec.endpoints[0].address address"], id="unix-for-two-ports"),
        pytest.param("{hosts: [a.com], resolution: STATIC, endpoints: [{address: 1.1.1.1,"
                     " ports: {http: 8080}}, {address: 1.1.1.2, ports: {x: 8080}}], %s}" % HTTP,
                     ["error spec.endpoints[1].ports.x port"], id="unknown-endpoint-port"),
        pytest.param("{hosts: [a.com], resolution: STATIC, endpoints: [{labels: {a: b}}], %s}"
                     % HTTP, ["error spec.endpoints[0].address required"],
                     id="endpoint-without-address"),
        pytest.param("{hosts: ['*.a.com'], resolution: DNS, %s}" % HTTP,
                     ["warning spec.hosts[0] wildcard-host", "error spec.hosts[0] host"],
                     id="dns-of-wildcard"),
        pytest.param("{hosts: [a.com], resolution: DNS, endpoints: [{address: 'b c'}], %s}" % HTTP,
                     ["error spec.endpoints[0].address address"], id="dns-endpoint"),
        pytest.param("{hosts: [a.com], resolution: DNS_ROUND_ROBIN, %s,"
                     " endpoints: [{address: b.com}, {address: c.com}]}" % HTTP,
                     ["error spec.endpoints endpoints"], id="round-robin"),
        pytest.param("{hosts: ['*.a.com'], resolution: DYNAMIC_DNS, %s}" % HTTP, [],
                     id="dynamic"),
        pytest.param("{hosts: [a.com], resolution: DYNAMIC_DNS, addresses: [1.1.1.1], %s}" % TCP,
                     ["error spec.hosts[0] host", "error spec.addresses not-allowed",
                      "error spec.ports[0].protocol protocol"], id="dynamic-badly"),
    ],
)  # fmt: skip
def test_service_entry(spec: str, expected: list[str]) -> None:
    assert sorted(found("ServiceEntry", spec)) == sorted(expected)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{address: 10.0.0.1, ports: {http: 8080}, labels: {app: a}}", [], id="ip"),
        pytest.param("{address: vm.example.com}", [], id="name"),
        pytest.param("{address: 'unix:///a'}", [], id="unix"),
        pytest.param("{address: 'unix:///a', ports: {http: 1}}", ["error spec.ports not-allowed"],
                     id="unix-with-ports"),
        pytest.param("{}", ["error spec.address required"], id="nowhere"),
        pytest.param("{network: n2}", ["warning spec.address address"], id="other-network"),
        pytest.param("{address: 10.0.0.1, ports: {HTTP: 0}}", ["error spec.ports.HTTP port",
                     "error spec.ports.HTTP port-name"], id="ports"),
        pytest.param("{address: 10.0.0.1, labels: {app: 'a b'}}", ["error spec.labels.app label"],
                     id="labels"),
    ],
)  # fmt: skip
def test_workload_entry(spec: str, expected: list[str]) -> None:
    assert sorted(found("WorkloadEntry", spec)) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{template: {serviceAccount: a}}", [], id="template"),
        pytest.param("{metadata: {labels: {a: b}}}", ["error spec.template required"],
                     id="no-template"),
        pytest.param("{template: {address: 10.0.0.1}}",
                     ["warning spec.template.address without-effect"], id="address"),
        pytest.param("{template: {}, metadata: {labels: {a: 'b c'}}}",
                     ["error spec.metadata.labels.a label"], id="labels"),
        pytest.param("{template: {}, probe: {periodSeconds: 1}}", ["error spec.probe required"],
                     id="probe-of-nothing"),
        pytest.param("{template: {}, probe: {httpGet: {port: 80}, timeoutSeconds: -1}}",
                     ["error spec.probe.timeoutSeconds number"], id="probe-numbers"),
        pytest.param("{template: {}, probe: {httpGet: {port: 80, scheme: FTP}}}",
                     ["error spec.probe.httpGet.scheme scheme"], id="probe-scheme"),
        pytest.param("{template: {}, probe: {tcpSocket: {}}}",
                     ["error spec.probe.tcpSocket.port required"], id="probe-port"),
        pytest.param("{template: {}, probe: {exec: {}}}",
                     ["error spec.probe.exec.command required"], id="probe-command"),
        pytest.param("{template: {}, probe: {grpc: {port: 70000}}}",
                     ["error spec.probe.grpc.port port"], id="probe-grpc"),
        pytest.param("{template: {}, probe: {httpGet: {port: 80}, tcpSocket: {port: 80}}}",
                     ["error spec.probe.tcpSocket one-of"], id="two-probes"),
    ],
)  # fmt: skip
def test_workload_group(spec: str, expected: list[str]) -> None:
    assert found("WorkloadGroup", spec) == expected
