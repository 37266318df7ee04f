"""Outbound listeners of sidecars: sockets, and who shares them (pilot.md E1 to E8)."""

from collections.abc import Sequence
from typing import Any

import pytest
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener

from mast.pilot.core.filters.extensions import NO_EXTENSIONS
from mast.pilot.core.listeners import listeners
from mast.pilot.core.listeners.outbound_listeners import outbound
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.proxy import Proxy
from tests.support.mesh_yaml import reported, scope, sidecar_proxy
from tests.support.messages import plain

SIDECAR = "apiVersion: networking.istio.io/v1, kind: Sidecar"


def service(name: str, *ports: str, addresses: str = "", **spec: str) -> str:
    """A ServiceEntry `NAME.test`; ports as `NUMBER/PROTOCOL`, without protocol to be sniffed."""
    listed = ", ".join(
        f"{{number: {number}, name: p{number}, protocol: '{protocol}'}}"
        for number, _, protocol in (port.partition("/") for port in ports)
    )
    more = "".join(f", {key}: {value}" for key, value in {"resolution": "STATIC", **spec}.items())
    return (
        "{apiVersion: networking.istio.io/v1, kind: ServiceEntry,"
        f" metadata: {{name: {name}, namespace: shop}}, spec: {{hosts: [{name}.test],"
        f" addresses: [{addresses}], ports: [{listed}]{more}}}}}"
    )


def made(*texts: str, proxy: Proxy | None = None) -> dict[str, Listener]:
    chosen = proxy or sidecar_proxy()
    return {each.name: each for each in listeners.outbound(scope(chosen, *texts), chosen)}


def found_conflicts(*texts: str) -> Sequence[Finding]:
    proxy = sidecar_proxy()
    return reported(scope(proxy, *texts), lambda seen: outbound(seen, proxy, NO_EXTENSIONS))


def conflicts(*texts: str) -> list[str]:
    return [each.key for each in found_conflicts(*texts)]


def chain(found: FilterChain) -> str:
    """What a chain matches and where it leads: `MATCH -> CLUSTER` or `MATCH -> RDS NAME`."""
    match = plain(found.filter_chain_match)
    criteria = [
        *(
            f"{each['address_prefix']}/{each['prefix_len']}"
            for each in match.get("prefix_ranges", [])
        ),
        *match.get("server_names", []),
        match.get("transport_protocol", ""),
        *match.get("application_protocols", []),
        *([f":{match['destination_port']}"] if "destination_port" in match else []),
    ]
    config: dict[str, Any] = plain(found.filters[-1])["typed_config"]
    if "rds" in config:
        target = f"RDS {config['rds']['route_config_name']}"
    else:
        target = config.get("cluster") or config["stat_prefix"]
    return f"{' '.join(filter(None, criteria))} -> {target}".strip()


def chains(listener: Listener) -> list[str]:
    found = [chain(each) for each in listener.filter_chains]
    if listener.HasField("default_filter_chain"):
        found.append(f"else {chain(listener.default_filter_chain)}")
    return found


ANY = "0.0.0.0"  # noqa: S104 - expected, never bound by a test
HTTP_80 = "raw_buffer http/1.1 h2c -> RDS 80"
THROUGH = "else -> PassthroughCluster"


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
TO_A, TO_B = "outbound|80||a.test", "outbound|80||b.test"


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


def sidecar(*egress: str) -> str:
    return (
        f"{{{SIDECAR}, metadata: {{name: s, namespace: shop}},"
        f" spec: {{egress: [{', '.join(egress)}]}}}}"
    )


def names(*texts: str, proxy: Proxy | None = None) -> dict[str, list[str]]:
    found = made(*texts, proxy=proxy)
    found.pop("virtualOutbound", None)
    return {name: chains(each) for name, each in found.items()}


@pytest.mark.parametrize(
    ("egress", "expected"),
    [
        pytest.param(
            "port: {number: 80, name: p, protocol: HTTP}",
            {"0.0.0.0_80": [HTTP_80, THROUGH]},
            id="http",
        ),
        pytest.param(
            "port: {number: 80, name: p, protocol: TCP}",
            {"10.9.0.1_80": [f"-> {TO_A}"]},
            id="protocol-of-the-listener",
        ),
        pytest.param(
            "port: {number: 80, name: p, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE",
            {"127.0.0.1_80": ["-> RDS 80"]},
            id="bound",
        ),
        pytest.param(
            "port: {number: 80, name: p, protocol: HTTP}, captureMode: NONE",
            {"127.0.0.1_80": ["-> RDS 80"]},
            id="bound-to-loopback",
        ),
        pytest.param(
            "port: {number: 80, name: p, protocol: HTTP}, bind: 10.5.5.5",
            {"10.5.5.5_80": ["-> RDS 80"]},
            id="captured-address",
        ),
        pytest.param(
            "port: {number: 80, name: p, protocol: HTTP}, bind: 'unix:///run/x'",
            {"/run/x": ["-> RDS /run/x"]},
            id="unix-socket",
        ),
        pytest.param("port: {number: 99, name: p, protocol: HTTP}", {}, id="nobody-there"),
    ],
)
def test_egress_listener_with_a_port(egress: str, expected: dict[str, list[str]]) -> None:
    texts = [
        service("a", "80/HTTP", "81/HTTP", addresses="10.9.0.1"),
        sidecar(f"{{{egress}, hosts: ['*/*']}}"),
    ]
    assert names(*texts) == expected


def test_egress_listener_on_another_port_than_its_only_service() -> None:
    """With one port only there is no doubt which is meant."""
    rule = """
    {apiVersion: networking.istio.io/v1, kind: VirtualService,
     metadata: {name: r, namespace: shop},
     spec: {hosts: [front.test],
            http: [{route: [{destination: {host: a.test, port: {number: 80}}}]}]}}
    """
    egress = sidecar("{port: {number: 99, name: p, protocol: TCP}, hosts: ['*/front.test']}")
    found = names(rule, service("a", "80/TCP"), egress)
    assert found == {"0.0.0.0_99": [f"-> {TO_A}"]}


def test_egress_listener_with_a_port_has_its_socket_for_itself() -> None:
    texts = [
        service("a", "80/TCP"),
        service("b", "80/HTTP"),
        sidecar(
            "{port: {number: 80, name: p, protocol: TCP}, hosts: ['*/a.test']}", "{hosts: ['*/*']}"
        ),
    ]
    assert names(*texts) == {"0.0.0.0_80": [f"-> {TO_A}"]}
    assert conflicts(*texts) == []


def test_bound_catch_all_egress_listener() -> None:
    texts = [service("a", "80/TCP", "15021/TCP"), sidecar("{bind: 127.0.0.9, hosts: ['*/*']}")]
    assert names(*texts) == {
        "127.0.0.9_80": [f"-> {TO_A}"],
        "127.0.0.9_15021": ["-> outbound|15021||a.test"],
    }


def unbound(**metadata: object) -> Proxy:
    return sidecar_proxy(INTERCEPTION_MODE="NONE", **metadata)


def test_without_capture() -> None:
    """No virtual listeners; what applications dial is bound (E8)."""
    texts = [
        service("a", "80/HTTP", "9000/TCP", addresses="10.9.0.1"),
        service("b", "80/HTTP", "9000/TCP", "443/TLS", "7000", "15021/TCP"),
    ]
    proxy = unbound(HTTP_PROXY_PORT="15080", OUTBOUND_BIND="127.2.0.1")
    found = made(*texts, proxy=proxy)
    assert {name: chains(each) for name, each in found.items()} == {
        "127.2.0.1_15080": ["-> RDS http_proxy"],
        "127.2.0.1_443": ["b.test -> outbound|443||b.test"],
        "127.2.0.1_7000": [
            "raw_buffer http/1.1 h2c -> RDS 7000",
            "else -> outbound|7000||b.test",
        ],
        "127.2.0.1_80": ["-> RDS 80"],
        "127.2.0.1_9000": ["-> outbound|9000||a.test"],
    }
    assert not any(each.HasField("bind_to_port") for each in found.values())
    forward = plain(found["127.2.0.1_15080"].filter_chains[0].filters[0])["typed_config"]
    options = {"allow_absolute_url": True, "accept_http_10": True}
    assert forward["http_protocol_options"] == options
    assert forward["stat_prefix"] == "outbound_127.2.0.1_15080;"


def test_without_capture_on_loopback() -> None:
    assert list(names(service("a", "80/HTTP"), proxy=unbound())) == ["127.0.0.1_80"]


def test_privileged_ports_are_left_out_if_they_cannot_be_bound() -> None:
    text = service("a", "80/HTTP", "8080/HTTP")
    proxy = unbound(UNPRIVILEGED_POD="true")
    assert list(names(text, proxy=proxy)) == ["127.0.0.1_8080"]
    captured = sidecar_proxy(UNPRIVILEGED_POD="true")
    assert list(names(text, proxy=captured)) == ["0.0.0.0_80", "0.0.0.0_8080"]


def test_forward_proxy_port_of_the_mesh() -> None:
    mesh = """
    {apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
     metadata: {name: default, namespace: istio-system}, spec: {proxyHttpPort: 15002}}
    """
    found = names(mesh, service("a", "15002/HTTP"), proxy=unbound())
    assert found == {"127.0.0.1_15002": ["-> RDS http_proxy"]}


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


def filters(found: FilterChain) -> list[str]:
    """Names of the network filters, and of the HTTP filters in place of a connection manager."""
    listed = []
    for each in found.filters:
        config = plain(each)["typed_config"]
        inner = [filter_["name"] for filter_ in config.get("http_filters", [])]
        listed += inner or [each.name]
    return [name.rpartition(".")[2] for name in listed]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([service("a", "80/HTTP")], ["stateful_session", "router"], id="nobody-asks"),
        pytest.param(
            [service("a", "80/HTTP"), service("b", "80/HTTP", resolution="DYNAMIC_DNS")],
            ["dynamic_forward_proxy", "router"],
            id="one-of-several",
        ),
        pytest.param(
            [service("b", "80/HTTP", resolution="DYNAMIC_DNS"), service("a", "80")],
            ["dynamic_forward_proxy", "router"],
            id="the-first",
        ),
    ],
)
def test_dynamic_hosts(texts: list[str], expected: list[str]) -> None:
    """Rule D, SE DYNAMIC_DNS: the proxy resolves the host of each request."""
    assert filters(made(*texts)["0.0.0.0_80"].filter_chains[0])[-2:] == expected
    forward = made(*texts, proxy=sidecar_proxy(HTTP_PROXY_PORT="15080"))["127.0.0.1_15080"]
    assert filters(forward.filter_chains[0])[-2:] == expected


def test_unknown_hosts_without_capture() -> None:
    """Nobody dialled an address that could be passed on: the proxy resolves the host."""
    found = made(service("a", "80/HTTP"), proxy=unbound(HTTP_PROXY_PORT="15080"))
    for name in ("127.0.0.1_80", "127.0.0.1_15080"):
        assert filters(found[name].filter_chains[0])[-2:] == ["dynamic_forward_proxy", "router"]


def test_dynamic_server_names() -> None:
    texts = [
        service("a", "443/TLS", "90/TCP", resolution="DYNAMIC_DNS"),
        service("b", "443/TLS"),
    ]
    found = made(*texts)
    a, b = found["0.0.0.0_443"].filter_chains
    assert filters(a) == ["sni_dynamic_forward_proxy", "tcp_proxy"]
    assert plain(a.filters[0])["typed_config"]["port_value"] == 443
    assert filters(b) == ["tcp_proxy"]
    assert filters(found["0.0.0.0_90"].filter_chains[0]) == ["tcp_proxy"]
