"""Servers of Gateways merged per socket: who shares, who loses, who is told (pilot.md I1, I2)."""

from collections.abc import Sequence

import pytest
from envoy.config.core.v3.base_pb2 import Node

from mast.pilot.core.gateways.servers import (
    Carries,
    SharedPort,
    Translation,
    shared_ports,
    translation,
)
from mast.pilot.core.model.model import Port, Protocol, Service, Target
from mast.pilot.core.model.proxy import Proxy, parse
from mast.pilot.core.scope.memo import Reads
from mast.pilot.core.scope.scope import Scope
from tests.support.mesh_yaml import world

TLS = "tls: {mode: SIMPLE, credentialName: c}"


def router(**metadata: object) -> Proxy:
    node = Node(id="router~10.1.0.7~in-1.edge~edge.svc.cluster.local")
    node.metadata.update({"NAMESPACE": "edge", "LABELS": {"istio": "in"}, **metadata})
    return parse(node)


def gateway(name: str, *servers: str, selector: str = "istio: in") -> str:
    listed = "".join(f"\n  - {{{each}}}" for each in servers)
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: edge}}
spec:
  selector: {{{selector}}}
  servers:{listed}
"""


def server(number: int, protocol: str, *hosts: str, name: str = "p", more: str = "") -> str:
    port = f"port: {{number: {number}, name: {name}, protocol: {protocol}}}"
    return f"{port}, hosts: [{', '.join(repr(each) for each in hosts)}], {more}"


def merged(
    *texts: str, proxy: Proxy | None = None, ports: Translation = ()
) -> tuple[Sequence[SharedPort], list[str]]:
    """The shared ports, and the messages of what was refused."""
    reads = Reads()
    scope: Scope = world("\n---\n".join(texts)).snapshot(1).scope("edge", reads)
    found = shared_ports(scope, proxy or router(), ports)
    return found, sorted(each.message for each in reads.findings)


def shown(found: Sequence[SharedPort]) -> list[tuple[str, Carries, list[tuple[str, ...]]]]:
    return [(each.socket.name, each.carries, [s.hosts for s in each.servers]) for each in found]


def test_plain_http_shares_a_port() -> None:
    found, refused = merged(
        gateway("a", server(80, "HTTP", "a.test")),
        gateway("b", server(80, "HTTP2", "a.test", "b.test"), server(81, "GRPC", "*")),
    )
    assert shown(found) == [
        ("0.0.0.0_80", Carries.HTTP, [("a.test",), ("a.test", "b.test")]),
        ("0.0.0.0_81", Carries.HTTP, [("*",)]),
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        pytest.param(
            server(80, "HTTP", "a.test"),
            server(80, "HTTPS", "a.test", more=TLS),
            "the port carries plain HTTP already, it cannot carry TLS",
            id="http-and-tls",
        ),
        pytest.param(
            server(80, "TCP", "a.test"),
            server(80, "HTTP", "a.test"),
            "the port carries plain TCP already, it cannot carry plain HTTP",
            id="tcp-and-http",
        ),
        pytest.param(
            server(80, "TCP", "*"),
            server(80, "MONGO", "a.test"),
            "plain TCP cannot share a port",
            id="tcp-and-tcp",
        ),
        pytest.param(
            server(443, "HTTPS", "*.test", more=TLS),
            server(443, "TLS", "*.TEST", more="tls: {mode: PASSTHROUGH}"),
            "an older server of the port has these hosts",
            id="tls-host",
        ),
    ],
)
def test_who_comes_later_loses(first: str, second: str, reason: str) -> None:
    found, refused = merged(gateway("a", first), gateway("b", second))
    assert len(found) == 1
    assert [each.gateway.name for each in found[0].servers] == ["a"]
    (message,) = refused
    assert message.startswith("Gateway edge/b does not get ")
    assert message.endswith(f": {reason}.")


def test_hosts_that_are_free_are_kept() -> None:
    found, refused = merged(
        gateway("a", server(443, "HTTPS", "a.test", more=TLS)),
        gateway("b", server(443, "HTTPS", "a.test", "b.test", more=TLS)),
    )
    assert shown(found) == [("0.0.0.0_443", Carries.TLS, [("a.test",), ("b.test",)])]
    assert refused == [
        "Gateway edge/b does not get a.test on port 443: "
        "an older server of the port has these hosts."
    ]


def test_port_names_tell_https_servers_of_a_gateway_apart() -> None:
    servers = (server(443, "HTTPS", f"{each}.test", more=TLS) for each in "ab")
    found, refused = merged(gateway("a", *servers))
    assert shown(found) == [("0.0.0.0_443", Carries.TLS, [("a.test",)])]
    assert "is not unique" in refused[0]


def test_what_is_meant_for_services_takes_no_names() -> None:
    auto = "tls: {mode: AUTO_PASSTHROUGH}"
    found, refused = merged(
        gateway("a", server(443, "TLS", "*.local", more=auto)),
        gateway("b", server(443, "HTTPS", "*.local", more=TLS)),
    )
    assert refused == []
    (shared,) = found
    owner = shared.owner("a.local")
    assert owner is not None
    assert owner.gateway.name == "b"
    assert shared.owner("a.test") is None


def test_the_closest_host_owns_a_name() -> None:
    hosts = ("*", "*.a.test", "x.a.test")
    servers = (server(443, "HTTPS", each, name=f"p{n}", more=TLS) for n, each in enumerate(hosts))
    ((shared,), _) = merged(gateway("a", *servers))
    for name, expected in (("x.a.test", 2), ("y.a.test", 1), ("z.test", 0), ("*.a.test", 1)):
        assert shared.owner(name) is shared.servers[expected]


def test_binds_tell_sockets_apart() -> None:
    found, refused = merged(
        gateway("a", server(80, "HTTP", "a.test"), server(80, "TCP", "*", more="bind: 10.0.0.1")),
        gateway("b", server(0, "HTTP", "*", more="bind: 'unix:///run/s'")),
        gateway("c", server(80, "HTTP", "c.test", more="bind: 0.0.0.0")),
    )
    assert refused == []
    assert shown(found) == [
        ("/run/s", Carries.HTTP, [("*",)]),
        ("0.0.0.0_80", Carries.HTTP, [("a.test",), ("c.test",)]),
        ("10.0.0.1_80", Carries.TCP, [("*",)]),
    ]
    assert [each.route_name for each in found[:2]] == ["http.0.unix:///run/s", "http.80"]


def test_a_router_that_has_an_address_binds_to_it() -> None:
    found, _ = merged(
        gateway("a", server(80, "HTTP", "*")), proxy=router(OUTBOUND_BIND="127.64.0.1")
    )
    assert found[0].socket.name == "127.64.0.1_80"


@pytest.mark.parametrize(
    ("number", "metadata"),
    [(15021, {}), (15090, {}), (80, {"UNPRIVILEGED_POD": "true"})],
)
def test_ports_that_a_proxy_cannot_have(number: int, metadata: dict[str, object]) -> None:
    found, refused = merged(gateway("a", server(number, "HTTP", "*")), proxy=router(**metadata))
    assert not found
    assert f"cannot listen on port {number}" in refused[0]


def test_selectors() -> None:
    found, _ = merged(
        gateway("a", server(80, "HTTP", "a.test"), selector="istio: out"),
        gateway("b", server(80, "HTTP", "b.test"), selector=""),
        gateway("c", server(80, "HTTP", "c.test"), selector="istio: in, more: x"),
    )
    assert shown(found) == [("0.0.0.0_80", Carries.HTTP, [("b.test",)])]


def test_ports_of_services_lead_to_those_behind() -> None:
    found, _ = merged(
        gateway("a", server(80, "HTTP", "a.test"), server(90, "HTTP", "b.test", name="q")),
        ports=((80, 8080), (80, 8081)),
    )
    assert [each.route_name for each in found] == ["http.90", "http.8080", "http.8081"]


def target(number: int, behind: int, **labels: str) -> Target:
    port = Port(name="p", number=number, target_port=behind, protocol=Protocol.HTTP)
    service = Service(host="in.edge", namespace="edge", ports=(port,), labels=labels)
    return Target(service=service, port=port, target_port=behind)


def test_translation() -> None:
    off = {"experimental.istio.io/disable-gateway-port-translation": "true"}
    assert translation([target(443, 8443), target(80, 8080), target(90, 9090, **off)]) == (
        (80, 8080),
        (443, 8443),
    )
