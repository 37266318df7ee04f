"""Outbound listeners of sidecars: sockets, and who shares them (pilot.md E1 to E8)."""

import pytest

from mast.pilot.core.listeners import listeners
from mast.pilot.core.model.finding import Fault
from tests.support.mesh_yaml import scope, sidecar_proxy
from tests.support.messages import plain
from tests.support.outbound_listeners import (
    ANY,
    HTTP_80,
    SIDECAR,
    THROUGH,
    TO_A,
    TO_B,
    chains,
    conflicts,
    found_conflicts,
    made,
    names,
    service,
    unbound,
)


def test_virtual_outbound() -> None:
    found = made()["virtualOutbound"]
    assert chains(found) == [":15001 -> BlackHoleCluster", "-> PassthroughCluster"]
    assert [each.name for each in found.filter_chains] == [
        "virtualOutbound-blackhole",
        "virtualOutbound-catchall-tcp",
    ]
    rest = plain(found)
    del rest["filter_chains"]
    assert rest == {
        "name": "virtualOutbound",
        "address": {"socket_address": {"address": ANY, "port_value": 15001}},
        "use_original_dst": True,
        "continue_on_listener_filters_timeout": True,
        "listener_filters_timeout": "0s",
        "traffic_direction": "OUTBOUND",
        "max_connections_to_accept_per_socket_event": 1,
    }


@pytest.mark.parametrize(
    ("policy", "cluster"),
    [
        ("{mode: REGISTRY_ONLY}", "BlackHoleCluster"),
        ("{mode: ALLOW_ANY, egressProxy: {host: p.test, port: {number: 1}}}", "outbound|1||p.test"),
    ],
)
def test_outbound_policy(policy: str, cluster: str) -> None:
    sidecar = (
        f"{{{SIDECAR}, metadata: {{name: s, namespace: shop}},"
        f" spec: {{outboundTrafficPolicy: {policy}}}}}"
    )
    found = made(sidecar, service("a", "80/HTTP"))
    assert chains(found["virtualOutbound"])[-1] == f"-> {cluster}"
    assert chains(found["0.0.0.0_80"])[-1] == f"else -> {cluster}"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(
            [service("a", "80/HTTP", addresses="10.9.0.1")],
            {"0.0.0.0_80": [HTTP_80, THROUGH]},
            id="E2-http-on-any-address",
        ),
        pytest.param(
            [service("a", "80/TCP", addresses="10.9.0.1")],
            {"10.9.0.1_80": ["-> outbound|80||a.test"]},
            id="E3-tcp-on-its-vip",
        ),
        pytest.param(
            [service("a", "80/TCP", addresses="10.9.0.1, 10.9.0.2")],
            {
                "10.9.0.1_80": ["-> outbound|80||a.test"],
                "10.9.0.2_80": ["-> outbound|80||a.test"],
            },
            id="E3-each-vip",
        ),
        pytest.param(
            [service("a", "80/TCP")],
            {"0.0.0.0_80": ["-> outbound|80||a.test"]},
            id="E3-tcp-without-vip",
        ),
        pytest.param(
            [service("a", "80/TCP", addresses=ANY)],
            {"0.0.0.0_80": ["-> outbound|80||a.test"]},
            id="E3-unspecified-is-none",
        ),
        pytest.param(
            [service("a", "80", addresses="10.9.0.1")],
            {
                "10.9.0.1_80": [
                    "raw_buffer http/1.1 h2c -> RDS a.test:80",
                    "else -> outbound|80||a.test",
                ]
            },
            id="E3-sniffed-on-its-vip",
        ),
        pytest.param(
            [service("a", "80")],
            {"0.0.0.0_80": [HTTP_80, "else -> outbound|80||a.test"]},
            id="E3-sniffed-without-vip",
        ),
        pytest.param(
            [service("a", "80/TCP", addresses="10.0.0.0/8")],
            {"0.0.0.0_80": ["10.0.0.0/8 -> outbound|80||a.test", THROUGH]},
            id="E4-cidr",
        ),
        pytest.param(
            [service("a", "80/TCP", addresses="10.9.0.1, 172.16.0.0/12")],
            {
                "0.0.0.0_80": ["172.16.0.0/12 -> outbound|80||a.test", THROUGH],
                "10.9.0.1_80": ["-> outbound|80||a.test"],
            },
            id="E4-cidr-and-vip",
        ),
        pytest.param(
            [service("a", "443/TLS")],
            {"0.0.0.0_443": ["a.test -> outbound|443||a.test", THROUGH]},
            id="F6-tls-by-server-name",
        ),
        pytest.param(
            [service("a", "443/HTTPS", addresses="10.9.0.1")],
            {"10.9.0.1_443": ["-> outbound|443||a.test"]},
            id="F6-tls-on-its-vip",
        ),
        pytest.param([service("a", "80/UDP")], {}, id="D5-udp-is-ignored"),
        pytest.param(
            [service("a", "15001/TCP", "15006/TCP", "15021/TCP", "15090/HTTP", "15010/TCP")],
            {"0.0.0.0_15010": ["-> outbound|15010||a.test"]},
            id="E6-ports-of-the-proxy",
        ),
    ],
)
def test_sockets(texts: list[str], expected: dict[str, list[str]]) -> None:
    found = made(*texts)
    del found["virtualOutbound"]
    assert {name: chains(each) for name, each in found.items()} == expected
    assert not any(each.bind_to_port.value for each in found.values())


POD = """
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: w, namespace: shop},
 spec: {address: ADDRESS, labels: {app: a}}}
"""


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(
            [service("a", "80/TCP", resolution="NONE")], ["0.0.0.0_80"], id="nobody-knows"
        ),
        pytest.param(
            [service("a", "80/TCP", resolution="NONE", workloadSelector="{labels: {app: a}}")],
            [],
            id="selector-without-workloads",
        ),
        pytest.param(
            [
                service("a", "80/TCP", resolution="NONE", workloadSelector="{labels: {app: a}}"),
                POD.replace("ADDRESS", "10.1.0.8"),
            ],
            ["10.1.0.8_80"],
            id="each-endpoint",
        ),
        pytest.param(
            [
                service("a", "80", resolution="NONE", workloadSelector="{labels: {app: a}}"),
                POD.replace("ADDRESS", "10.1.0.8"),
            ],
            ["10.1.0.8_80"],
            id="sniffed-too",
        ),
        pytest.param(
            [
                service("a", "80/TCP", resolution="NONE", workloadSelector="{labels: {app: a}}"),
                POD.replace("ADDRESS", "10.1.0.7"),
            ],
            [],
            id="not-itself",
        ),
        pytest.param(
            [
                service("a", "80/HTTP", resolution="NONE", workloadSelector="{labels: {app: a}}"),
                POD.replace("ADDRESS", "10.1.0.8"),
            ],
            ["0.0.0.0_80"],
            id="http-by-host",
        ),
        pytest.param(
            [
                "{apiVersion: registry.mast/v1, kind: Service, metadata: {name: a},"
                " spec: {host: a.test, namespace: shop, registry: Kubernetes, headless: true,"
                " ports: [{name: t, number: 80, protocol: TCP}]}}"
            ],
            [],
            id="kubernetes-without-endpoints",
        ),
    ],
)
def test_headless(texts: list[str], expected: list[str]) -> None:
    """Rule E5."""
    assert [name for name in made(*texts) if name != "virtualOutbound"] == expected


HTTP, TCP, AUTO, TLS, MONGO = "80/HTTP", "80/TCP", "80", "80/TLS", "80/MONGO"


@pytest.mark.parametrize(
    ("older", "newer", "expected", "lost"),
    [
        pytest.param(HTTP, HTTP, [HTTP_80, THROUGH], False, id="http-http"),
        pytest.param(HTTP, TCP, [HTTP_80, f"else -> {TO_B}"], False, id="http-tcp"),
        pytest.param(HTTP, AUTO, [HTTP_80, THROUGH], False, id="http-auto"),
        pytest.param(TCP, HTTP, [HTTP_80, f"else -> {TO_A}"], False, id="tcp-http"),
        pytest.param(TCP, TCP, [f"-> {TO_A}"], True, id="tcp-tcp"),
        pytest.param(TCP, AUTO, [HTTP_80, f"else -> {TO_A}"], False, id="tcp-auto"),
        pytest.param(AUTO, HTTP, [HTTP_80, f"else -> {TO_A}"], False, id="auto-http"),
        pytest.param(AUTO, TCP, [HTTP_80, f"else -> {TO_A}"], True, id="auto-tcp"),
        pytest.param(AUTO, AUTO, [HTTP_80, f"else -> {TO_A}"], False, id="auto-auto"),
        pytest.param(
            TCP, TLS, [f"b.test -> {TO_B}", f"else -> {TO_A}"], False, id="tcp-with-server-name"
        ),
        pytest.param(
            TLS, TLS, [f"a.test -> {TO_A}", f"b.test -> {TO_B}", THROUGH], False, id="tls-tls"
        ),
        pytest.param(TLS, HTTP, [HTTP_80, f"a.test -> {TO_A}", THROUGH], False, id="tls-http"),
        pytest.param(MONGO, HTTP, [f"-> {TO_A}"], True, id="mongo-http"),
        pytest.param(MONGO, TCP, [f"-> {TO_A}"], True, id="mongo-tcp"),
        pytest.param(MONGO, AUTO, [f"-> {TO_A}"], True, id="mongo-auto"),
        pytest.param(HTTP, MONGO, [HTTP_80, f"else -> {TO_B}"], False, id="http-mongo"),
    ],
)
def test_two_services_on_a_socket(older: str, newer: str, expected: list[str], lost: bool) -> None:
    """The table of E6; the older service is a, the newer one b."""
    texts = service("a", older), service("b", newer)
    assert chains(made(*texts)["0.0.0.0_80"]) == expected
    assert conflicts(*texts) == (["0.0.0.0_80 b.test:80"] if lost else [])


@pytest.mark.parametrize(
    ("older", "newer", "fault"),
    [
        pytest.param(TCP, TCP, Fault.TCP_OVER_TCP, id="tcp-over-tcp"),
        pytest.param("80/MONGO", "80/HTTP", Fault.HTTP_OVER_TCP, id="http-over-tcp"),
    ],
)
def test_who_loses_to_whom_is_told(older: str, newer: str, fault: Fault) -> None:
    """N10: with names."""
    (found,) = found_conflicts(service("a", older), service("b", newer))
    assert found.fault is fault
    assert found.subject == ("istio/networking/v1alpha3/serviceentries", "shop", "b")
    assert found.winner == ("istio/networking/v1alpha3/serviceentries", "shop", "a")
    assert "port 80 (" in found.message
    assert "a.test was there first" in found.message


def test_a_vip_of_two_services() -> None:
    texts = [service(name, TCP, addresses="10.9.0.1") for name in ("a", "b")]
    assert chains(made(*texts)["10.9.0.1_80"]) == [f"-> {TO_A}"]
    assert conflicts(*texts) == ["10.9.0.1_80 b.test:80"]


def test_subnets_of_two_services() -> None:
    texts = [
        service("a", TCP, addresses="10.0.0.0/8"),
        service("b", TCP, addresses="10.0.0.0/8, 172.16.0.0/12"),
    ]
    assert chains(made(*texts)["0.0.0.0_80"]) == [
        f"10.0.0.0/8 -> {TO_A}",
        f"172.16.0.0/12 -> {TO_B}",
        THROUGH,
    ]
    assert conflicts(*texts) == ["0.0.0.0_80 b.test:80"]


def test_grpc_web_among_http_services() -> None:
    texts = [service("a", "80/HTTP"), service("b", "80/GRPC-WEB"), service("c", "80/GRPC")]
    (http, *_) = made(*texts)["0.0.0.0_80"].filter_chains
    names = [each["name"] for each in plain(http.filters[0])["typed_config"]["http_filters"]]
    assert names[0] == "envoy.filters.http.grpc_web"


def test_rules_of_connections() -> None:
    rule = """
    {apiVersion: networking.istio.io/v1, kind: VirtualService,
     metadata: {name: r, namespace: shop},
     spec: {hosts: [a.test], tcp: [
       {match: [{port: 80, sourceLabels: {app: web}}], route: [
         {destination: {host: a.test, subset: v1}, weight: 1},
         {destination: {host: a.test, subset: v2}, weight: 1}]},
       {match: [{port: 81}], route: [{destination: {host: x.test}}, {destination: {host: y.test}}]}
       ]}}
    """
    proxy = sidecar_proxy(labels={"app": "web"})
    found = made(rule, service("a", "80/TCP", "81/TCP", addresses="10.9.0.1"), proxy=proxy)
    assert chains(found["10.9.0.1_80"]) == ["-> r.shop"]
    assert "10.9.0.1_81" not in found


def test_rules_for_one_server_name() -> None:
    rules = [
        "{apiVersion: networking.istio.io/v1, kind: VirtualService,"
        f" metadata: {{name: {name}, namespace: shop}}, spec: {{hosts: [{name}.test],"
        f" tls: [{{match: [{{sniHosts: [x.test]}}],"
        f" route: [{{destination: {{host: {name}.test}}}}]}}]}}}}"
        for name in ("a", "b")
    ]
    texts = [service("a", TLS), service("b", TLS), *rules]
    assert chains(made(*texts)["0.0.0.0_80"]) == [f"x.test -> {TO_A}", THROUGH]
    assert conflicts(*texts) == ["0.0.0.0_80 b.test:80"]


def test_transparent_proxy() -> None:
    found = made(service("a", "80/TCP"), proxy=sidecar_proxy(INTERCEPTION_MODE="TPROXY"))
    assert found["virtualOutbound"].transparent.value
    assert not found["0.0.0.0_80"].HasField("transparent")


@pytest.mark.parametrize(
    ("port", "inspectors"),
    [
        ("80/TCP", []),
        ("80/TLS", ["tls_inspector"]),
        ("80/HTTP", ["tls_inspector", "http_inspector"]),
        ("80", ["tls_inspector", "http_inspector"]),
    ],
)
def test_listener_filters(port: str, inspectors: list[str]) -> None:
    """Rule E7."""
    mesh = """
    {apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
     metadata: {name: default, namespace: istio-system}, spec: {protocolDetectionTimeout: 5s}}
    """
    found = made(mesh, service("a", port))["0.0.0.0_80"]
    prefix = "envoy.filters.listener."
    assert [each.name.removeprefix(prefix) for each in found.listener_filters] == inspectors
    expected = 5 if "http_inspector" in inspectors else 0
    assert found.listener_filters_timeout.seconds == expected


@pytest.mark.parametrize(
    ("ips", "address", "also"),
    [
        ("10.1.0.7", ANY, []),
        ("2001:db8::7", "::", []),
        ("10.1.0.7,2001:db8::7", ANY, ["::"]),
    ],
)
def test_ip_versions(ips: str, address: str, also: list[str]) -> None:
    found = made(service("a", "80/HTTP"), proxy=sidecar_proxy(INSTANCE_IPS=ips))
    for each in found.values():
        assert each.address.socket_address.address == address
        others = [more.address.socket_address.address for more in each.additional_addresses]
        assert others == also
    assert f"{address}_80" in found


@pytest.mark.parametrize(
    ("ips", "expected"),
    [
        ("10.1.0.7", ["10.9.0.1_80"]),
        ("2001:db8::7", ["2001:db8::1_80"]),
        ("10.1.0.7,2001:db8::7", ["10.9.0.1_80", "2001:db8::1_80"]),
    ],
)
def test_addresses_of_a_family_that_the_proxy_lacks(ips: str, expected: list[str]) -> None:
    text = service("a", "80/TCP", addresses="10.9.0.1, '2001:db8::1'")
    found = made(text, proxy=sidecar_proxy(INSTANCE_IPS=ips))
    assert sorted(found.keys() - {"virtualOutbound"}) == expected


def test_ipv6_loopback() -> None:
    proxy = unbound(INSTANCE_IPS="2001:db8::7")
    assert list(names(service("a", "80/HTTP"), proxy=proxy)) == ["::1_80"]


def test_exact_balance() -> None:
    found = made(proxy=sidecar_proxy(OUTBOUND_LISTENER_EXACT_BALANCE="true"))
    assert plain(found["virtualOutbound"])["connection_balance_config"] == {"exact_balance": {}}


def test_order_of_objects_does_not_matter() -> None:
    proxy = sidecar_proxy()
    stamped = [
        service(name, "80/TCP", "81").replace(
            "namespace: shop}", f"namespace: shop, creationTimestamp: 2020-01-0{day}T00:00:00Z}}"
        )
        for day, name in enumerate("abc", 1)
    ]
    forward = listeners.outbound(scope(proxy, *stamped), proxy)
    backward = listeners.outbound(scope(proxy, *reversed(stamped)), proxy)
    assert forward == backward
