"""Inbound listeners of sidecars (pilot.md E8, E12 to E15)."""

from typing import Any

import pytest
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener

from mast.pilot.core.filters.extensions import NO_EXTENSIONS, Additions, NoExtensions, Spot
from mast.pilot.core.filters.header_operations import HeaderMutations
from mast.pilot.core.listeners import listeners
from mast.pilot.core.listeners.inbound_chains import Ends, Kind, inbound_chains
from mast.pilot.core.listeners.inbound_listeners import inbound
from mast.pilot.core.model.model import Protocol, Service
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.audience import own_targets
from mast.pilot.core.security.peer_authentication import Mode
from mast.pilot.core.security.transport_sockets import raw
from tests.support.mesh_yaml import reported, scope, sidecar_proxy
from tests.support.messages import plain, read


def service(name: str, *ports: str) -> str:
    """A service that selects `app: web`; ports as `NUMBER:TARGET/PROTOCOL`."""
    listed = []
    for port in ports:
        numbers, _, protocol = port.partition("/")
        number, _, target = numbers.partition(":")
        listed.append(
            f"{{name: p{number}, number: {number}, target_port: {target}, protocol: '{protocol}'}}"
        )
    return (
        f"{{apiVersion: registry.mast/v1, kind: Service, metadata: {{name: {name}}},"
        f" spec: {{host: {name}.test, namespace: shop, ports: [{', '.join(listed)}],"
        " selector: {app: web}}}"
    )


def authentication(spec: str, name: str = "default") -> str:
    return (
        "{apiVersion: security.istio.io/v1, kind: PeerAuthentication,"
        f" metadata: {{name: {name}, namespace: shop}}, spec: {spec}}}"
    )


def sidecar(*ingress: str) -> str:
    return (
        "{apiVersion: networking.istio.io/v1, kind: Sidecar,"
        f" metadata: {{name: s, namespace: shop}}, spec: {{ingress: [{', '.join(ingress)}]}}}}"
    )


def web(**metadata: object) -> Proxy:
    return sidecar_proxy(labels={"app": "web"}, **metadata)


def made(
    *texts: str, proxy: Proxy | None = None, extensions: NoExtensions = NO_EXTENSIONS
) -> dict[str, Listener]:
    chosen = proxy or web()
    seen = scope(chosen, *texts)
    found = listeners.inbound(seen, chosen, own_targets(chosen, seen, None), extensions)
    return {each.name: each for each in found}


def chain(found: FilterChain) -> str:
    """`PORT TRANSPORT ALPN... => KIND CLUSTER`, with `+mtls` if TLS ends here."""
    match = plain(found.filter_chain_match)
    criteria = [
        str(match.get("destination_port", "*")),
        match.get("transport_protocol", ""),
        *match.get("application_protocols", []),
    ]
    config: dict[str, Any] = plain(found.filters[-1])["typed_config"]
    if "route_config" in config:
        target = f"HTTP {config['route_config']['name']}"
    else:
        target = f"TCP {config['cluster']}"
    secured = " +mtls" if found.HasField("transport_socket") else ""
    return f"{' '.join(filter(None, criteria))} => {target}{secured}"


def chains(listener: Listener, port: int | None = None) -> list[str]:
    return [
        chain(each)
        for each in listener.filter_chains
        if port is None or each.filter_chain_match.destination_port.value == port
    ]


ISTIO = "istio istio-peer-exchange istio-http/1.0 istio-http/1.1 istio-h2"
ISTIO_OR_GRPC = f"{ISTIO} h2"
ISTIO_HTTP = "istio-http/1.0 istio-http/1.1 istio-h2"
ISTIO_TCP = "istio-peer-exchange istio"


@pytest.mark.parametrize(
    ("mode", "protocol", "expected"),
    [
        ("STRICT", "HTTP", ["tls => HTTP +mtls"]),
        ("STRICT", "", [f"tls {ISTIO_HTTP} => HTTP +mtls", "tls => TCP +mtls"]),
        ("STRICT", "TCP", ["tls => TCP +mtls"]),
        ("PERMISSIVE", "HTTP", [f"tls {ISTIO_OR_GRPC} => HTTP +mtls", "raw_buffer => HTTP"]),
        (
            "PERMISSIVE",
            "",
            [
                f"tls {ISTIO_HTTP} => HTTP +mtls",
                "raw_buffer http/1.1 h2c => HTTP",
                f"tls {ISTIO_TCP} => TCP +mtls",
                "raw_buffer => TCP",
                "tls => TCP",
            ],
        ),
        ("PERMISSIVE", "TCP", [f"tls {ISTIO} => TCP +mtls", "tls => TCP", "raw_buffer => TCP"]),
        ("DISABLE", "HTTP", ["=> HTTP"]),
        ("DISABLE", "", ["raw_buffer http/1.1 h2c => HTTP", "raw_buffer => TCP", "tls => TCP"]),
        ("DISABLE", "TCP", ["=> TCP"]),
    ],
)
def test_chains_of_a_port(mode: str, protocol: str, expected: list[str]) -> None:
    """The table of E12."""
    texts = [service("a", f"80:8080/{protocol}"), authentication(f"{{mtls: {{mode: {mode}}}}}")]
    found = chains(made(*texts)["virtualInbound"], 8080)
    wanted = [
        f"8080 {each}".replace("HTTP", "HTTP inbound|8080||").replace("TCP", "TCP inbound|8080||")
        for each in expected
    ]
    assert found == wanted


def test_virtual_inbound() -> None:
    found = made(service("a", "80:8080/HTTP"), authentication("{mtls: {mode: STRICT}}"))
    listener = found["virtualInbound"]
    assert chains(listener) == [
        "15006 => TCP BlackHoleCluster",
        "8080 tls => HTTP inbound|8080|| +mtls",
        f"* tls {ISTIO_HTTP} => HTTP InboundPassthroughCluster +mtls",
        "* tls => TCP InboundPassthroughCluster +mtls",
    ]
    assert [each.name for each in listener.filter_chains] == [
        "virtualInbound-blackhole",
        "0.0.0.0_8080",
        "virtualInbound-catchall-http",
        "virtualInbound",
    ]
    rest = plain(listener)
    del rest["filter_chains"]
    assert rest == read("""
        name: virtualInbound
        address: {socket_address: {address: 0.0.0.0, port_value: 15006}}
        listener_filters:
        - name: envoy.filters.listener.original_dst
          typed_config:
            '@type': type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst
        - name: envoy.filters.listener.tls_inspector
          typed_config:
            '@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector
          filter_disabled: {destination_port_range: {start: 15006, end: 15007}}
        listener_filters_timeout: 0s
        continue_on_listener_filters_timeout: true
        traffic_direction: INBOUND
        max_connections_to_accept_per_socket_event: 1
    """)  # noqa: E501 - type URLs are long


@pytest.mark.parametrize(
    ("texts", "inspectors"),
    [
        pytest.param(
            [service("a", "80:8080/HTTP", "81:8081/TCP", "82:7000/")],
            {"tls_inspector": [15006], "http_inspector": [8080, 8081, 15006]},
            id="permissive",
        ),
        pytest.param(
            [
                service("a", "80:8080/HTTP", "82:7000/"),
                authentication("{mtls: {mode: DISABLE}}"),
            ],
            {"tls_inspector": [8080, 15006], "http_inspector": [8080, 15006]},
            id="disabled",
        ),
        pytest.param(
            [
                service("a", "80:8080/HTTP", "82:7000/"),
                authentication("{mtls: {mode: STRICT}}"),
                authentication(
                    "{selector: {matchLabels: {app: web}}, portLevelMtls: {7000: {mode: DISABLE}}}",
                    name="p",
                ),
            ],
            {"tls_inspector": [15006], "http_inspector": [8080, 15006]},
            id="only-where-needed",
        ),
    ],
)
def test_inspectors_are_off_where_nobody_asks(
    texts: list[str], inspectors: dict[str, list[int]]
) -> None:
    """Rule E7."""
    found = {}
    for each in plain(made(*texts)["virtualInbound"])["listener_filters"]:
        disabled = each.get("filter_disabled", {})
        rules = disabled.get("or_match", {}).get("rules", [disabled])
        ports = [rule["destination_port_range"]["start"] for rule in rules if rule]
        found[each["name"].removeprefix("envoy.filters.listener.")] = ports
    assert found == {"original_dst": [], **inspectors}


def test_transparent_proxy_keeps_the_source() -> None:
    """Rule E8."""
    listener = made(proxy=web(INTERCEPTION_MODE="TPROXY"))["virtualInbound"]
    assert listener.transparent.value
    original_src = plain(listener)["listener_filters"][1]
    assert original_src["name"] == "envoy.filters.listener.original_src"
    assert original_src["typed_config"]["mark"] == 1337


def http_config(listener: Listener, port: int) -> dict[str, Any]:
    (first, *_) = [
        each
        for each in listener.filter_chains
        if each.filter_chain_match.destination_port.value == port
    ]
    config: dict[str, Any] = plain(first.filters[-1])["typed_config"]
    return config


NO_LIMIT = "{max_stream_duration: 0s, grpc_timeout_header_max: 0s}"


@pytest.mark.parametrize(
    ("protocol", "retries"),
    [("HTTP", "retry_policy: {retry_on: reset-before-request, num_retries: 2},"), ("GRPC", "")],
)
def test_inbound_route(protocol: str, retries: str) -> None:
    """Rules C (names) and E14."""
    config = http_config(made(service("a", f"80:8080/{protocol}"))["virtualInbound"], 8080)
    assert config["stat_prefix"] == "inbound_0.0.0.0_8080;"
    assert config["route_config"] == read(f"""
        name: inbound|8080||
        validate_clusters: false
        virtual_hosts:
        - name: inbound|http|80
          domains: ['*']
          routes:
          - name: default
            match: {{prefix: /}}
            decorator: {{operation: 'a.test:80/*'}}
            route:
              {{cluster: 'inbound|8080||', timeout: 0s, {retries} max_stream_duration: {NO_LIMIT}}}
    """)


def test_passthrough_route() -> None:
    config = http_config(made()["virtualInbound"], 0)
    assert config["stat_prefix"] == "InboundPassthroughCluster;"
    assert config["route_config"]["virtual_hosts"][0]["name"] == "inbound|http|0"
    route = config["route_config"]["virtual_hosts"][0]["routes"][0]
    assert route["route"]["cluster"] == "InboundPassthroughCluster"


def test_ports_with_their_own_mode() -> None:
    """A port that no service has gets passthrough chains of its own mode (E15)."""
    texts = [
        service("a", "80:8080/TCP"),
        authentication("{mtls: {mode: STRICT}}"),
        authentication(
            "{selector: {matchLabels: {app: web}},"
            " portLevelMtls: {8080: {mode: DISABLE}, 6000: {mode: DISABLE}}}",
            name="ports",
        ),
    ]
    listener = made(*texts)["virtualInbound"]
    assert chains(listener, 8080) == ["8080 => TCP inbound|8080||"]
    assert chains(listener, 6000) == [
        "6000 raw_buffer http/1.1 h2c => HTTP InboundPassthroughCluster",
        "6000 raw_buffer => TCP InboundPassthroughCluster",
        "6000 tls => TCP InboundPassthroughCluster",
    ]
    assert len(chains(listener, 0)) == 2


@pytest.mark.parametrize(
    ("texts", "expected", "conflicts"),
    [
        pytest.param(
            [service("a", "80:8080/TCP"), service("b", "81:8080/TCP")],
            ["a.test"],
            [],
            id="same-protocol",
        ),
        pytest.param(
            [service("b", "80:8080/TCP"), service("a", "81:8080/HTTP")],
            ["b.test"],
            ["8080 a.test:81"],
            id="oldest-wins",
        ),
        pytest.param([service("a", "80:8080/UDP")], [], [], id="udp-is-ignored"),
    ],
)
def test_services_on_one_port(texts: list[str], expected: list[str], conflicts: list[str]) -> None:
    """Rule E15."""

    class Owners(NoExtensions):
        def network_filters(self, spot: Spot) -> list[Any]:
            if spot.service:
                owners.append(spot.service.host)
            return []

    owners: list[str] = []
    proxy = web()
    seen = scope(proxy, *texts)
    targets = own_targets(proxy, seen, None)
    found = reported(seen, lambda own: inbound(own, proxy, targets, Owners()))
    assert list(dict.fromkeys(owners)) == expected
    assert [each.key for each in found] == conflicts


def test_sidecar_ingress_replaces_services() -> None:
    texts = [
        service("a", "80:8080/HTTP", "90:9090/TCP"),
        sidecar(
            "{port: {number: 8080, name: p, protocol: TCP}, defaultEndpoint: 127.0.0.1:1}",
            "{port: {number: 8080, name: q, protocol: HTTP}, defaultEndpoint: 127.0.0.1:2}",
            "{port: {number: 90, name: r, protocol: HTTP}, defaultEndpoint: 127.0.0.1:3}",
            "{port: {number: 7777, name: s, protocol: HTTP}}",
        ),
        authentication("{mtls: {mode: DISABLE}}"),
    ]
    listener = made(*texts)["virtualInbound"]
    assert chains(listener)[1:4] == [
        "90 => HTTP inbound|90||",
        "7777 => HTTP inbound|7777||",
        "8080 => TCP inbound|8080||",
    ]
    operations = [
        http_config(listener, port)["route_config"]["virtual_hosts"][0]["routes"][0]["decorator"]
        for port in (90, 7777)
    ]
    assert [each["operation"] for each in operations] == [
        "a.test:90/*",
        "inbound|7777||:7777/*",
    ]


@pytest.mark.parametrize(
    ("ingress", "name"),
    [
        ("captureMode: NONE", "10.1.0.7_8080"),
        ("captureMode: NONE, bind: 127.0.0.5", "127.0.0.5_8080"),
        ("captureMode: IPTABLES", "virtualInbound"),
        ("captureMode: DEFAULT, bind: 127.0.0.5", "virtualInbound"),
    ],
)
def test_capture_mode_of_an_ingress_listener(ingress: str, name: str) -> None:
    text = sidecar(f"{{port: {{number: 8080, name: p, protocol: HTTP}}, {ingress}}}")
    found = made(text, authentication("{mtls: {mode: DISABLE}}"))
    assert any("inbound|8080||" in each for each in chains(found[name]))
    if name != "virtualInbound":
        assert chains(found[name]) == ["* => HTTP inbound|8080||"]
        assert not any("8080" in each for each in chains(found["virtualInbound"]))


@pytest.mark.parametrize(
    ("mode", "protocol", "tls", "expected"),
    [
        ("DISABLE", "HTTPS", "{mode: SIMPLE}", ["8080 tls => TCP inbound|8080|| +mtls"]),
        ("DISABLE", "HTTP", "{mode: SIMPLE}", ["8080 tls => HTTP inbound|8080|| +mtls"]),
        ("DISABLE", "", "{mode: MUTUAL}", ["8080 tls => TCP inbound|8080|| +mtls"]),
        ("DISABLE", "HTTP", "{mode: PASSTHROUGH}", ["8080 => HTTP inbound|8080||"]),
        ("STRICT", "HTTP", "{mode: SIMPLE}", ["8080 tls => HTTP inbound|8080|| +mtls"]),
    ],
)
def test_tls_of_an_ingress_listener(
    mode: str, protocol: str, tls: str, expected: list[str]
) -> None:
    files = tls.replace("}", ", serverCertificate: /c, privateKey: /k}")
    text = sidecar(f"{{port: {{number: 8080, name: p, protocol: '{protocol}'}}, tls: {files}}}")
    listener = made(text, authentication(f"{{mtls: {{mode: {mode}}}}}"))["virtualInbound"]
    assert chains(listener, 8080) == expected
    own = "file-cert:/c~/k" in str(listener)
    assert own is (mode == "DISABLE" and "PASS" not in tls)


def test_without_capture() -> None:
    """Own ports that the proxy says an application is behind (E8); mTLS needs no destination."""
    proxy = web(
        INTERCEPTION_MODE="NONE",
        INSTANCE_IPS="127.1.0.7",
        APP_ENDPOINTS={"8080": "127.0.0.1:4000", "80": "127.0.0.1:4001"},
    )
    texts = [service("a", "80:8080/HTTP", "81:8081/HTTP"), service("b", "90:80/TCP")]
    found = made(*texts, proxy=proxy)
    assert list(found) == ["127.1.0.7_80", "127.1.0.7_8080"]
    assert chains(found["127.1.0.7_8080"]) == [
        f"* tls {ISTIO_OR_GRPC} => HTTP inbound|8080|| +mtls",
        "* raw_buffer => HTTP inbound|8080||",
    ]
    inspectors = [each.name for each in found["127.1.0.7_8080"].listener_filters]
    assert inspectors == ["envoy.filters.listener.tls_inspector"]
    config = plain(found["127.1.0.7_8080"].filter_chains[0].filters[0])["typed_config"]
    assert config["stat_prefix"] == "inbound_127.1.0.7_8080;"
    unprivileged = web(
        INTERCEPTION_MODE="NONE",
        INSTANCE_IPS="127.1.0.7",
        UNPRIVILEGED_POD="true",
        APP_ENDPOINTS={"8080": "127.0.0.1:4000", "80": "127.0.0.1:4001"},
    )
    assert list(made(*texts, proxy=unprivileged)) == ["127.1.0.7_8080"]


def test_exact_balance() -> None:
    found = made(proxy=web(INBOUND_LISTENER_EXACT_BALANCE="true"))
    assert found["virtualInbound"].connection_balance_config.HasField("exact_balance")


class Extra(NoExtensions):
    """Removes a header before the application sees it."""

    def destination(self, spot: Spot, host: str, service: Service | None) -> Additions:
        assert spot.service is service
        return Additions(mutations=HeaderMutations(request_remove=(f"x-{host}",)))

    def virtual_host(self, spot: Spot, service: Service | None) -> Additions:
        return Additions(mutations=HeaderMutations(response_remove=("y",)))


def test_extensions_mark_inbound_routes() -> None:
    listener = made(service("a", "80:8080/HTTP"), extensions=Extra())["virtualInbound"]
    (host,) = http_config(listener, 8080)["route_config"]["virtual_hosts"]
    assert host["response_headers_to_remove"] == ["y"]
    assert host["routes"][0]["request_headers_to_remove"] == ["x-a.test"]
    (host,) = http_config(listener, 0)["route_config"]["virtual_hosts"]
    assert host["routes"][0]["request_headers_to_remove"] == ["x-InboundPassthroughCluster"]


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("mode", list(Mode))
def test_every_transport_of_a_port_is_decided(kind: Kind, mode: Mode) -> None:
    """Envoy looks no further once it has found a port: no hole may be left but those meant."""
    ends = Ends(port=1, http_name="h", tcp_name="t", http=(), tcp=(), http_tls=raw(), tcp_tls=raw())
    found = inbound_chains(kind, mode, ends)
    open_ended = {each.transport for each in found if not each.alpns}
    holes = {"tls", "raw_buffer"} - (open_ended if "" not in open_ended else {"tls", "raw_buffer"})
    if mode is Mode.STRICT:
        assert holes == {"raw_buffer"}
    elif mode is Mode.PERMISSIVE and kind is Kind.HTTP:
        assert holes == {"tls"}
    else:
        assert not holes


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        (Protocol.HTTP, Kind.HTTP),
        (Protocol.GRPC_WEB, Kind.HTTP),
        (Protocol.AUTO, Kind.AUTO),
        (Protocol.TLS, Kind.TCP),
        (Protocol.MONGO, Kind.TCP),
    ],
)
def test_kind_of_a_protocol(protocol: Protocol, kind: Kind) -> None:
    assert Kind.of(protocol) is kind
