"""Routes of connections (pilot.md F6)."""

import pytest

from istio.networking.v1alpha3.virtual_service_pb2 import RouteDestination, VirtualService
from mast.pilot.core.model.model import Config, ConfigMeta, Port, Protocol, Service
from mast.pilot.core.routes.tcp_routes import Site, TcpRoute, tcp_routes, weighted
from mast.pilot.core.scope.matches import Caller
from tests.support.messages import made

META = ConfigMeta(
    collection="c", group="g", api_version="v1", kind="VirtualService", namespace="shop", name="vs"
)
TCP = Port(name="tcp", number=9000, target_port=9000, protocol=Protocol.TCP)
TLS = Port(name="tls", number=443, target_port=443, protocol=Protocol.TLS)
SERVICE = Service(host="a.test", namespace="shop", ports=(TCP, TLS), aliases=("alias.test",))


def site(port: int = 9000, *subnets: str, shared: bool = False) -> Site:
    caller = Caller(port=port, namespace="shop", labels={"app": "web"})
    return Site(caller=caller, subnets=subnets, shared=shared)


def summary(routes: list[TcpRoute]) -> list[tuple[list[str], tuple[str, ...], tuple[str, ...]]]:
    """Destination hosts, subnets and server names of each route."""
    return [
        ([each.destination.host for each in route.destinations], route.subnets, route.snis)
        for route in routes
    ]


def config(text: str) -> Config[VirtualService]:
    return Config(META, made(VirtualService, text))


TO_B, TO_C = "[{destination: {host: b}}]", "[{destination: {host: c}}]"


@pytest.mark.parametrize(
    ("tcp", "expected"),
    [
        pytest.param("[]", [(["a.test"], (), ())], id="no-rule"),
        pytest.param(f"[{{route: {TO_B}}}, {{route: {TO_C}}}]", [(["b"], (), ())], id="catch-all"),
        pytest.param(f"[{{match: [{{port: 9000}}], route: {TO_B}}}]", [(["b"], (), ())], id="port"),
        pytest.param(
            f"[{{match: [{{port: 1}}], route: {TO_B}}}]", [(["a.test"], (), ())], id="other-port"
        ),
        pytest.param(
            f"[{{match: [{{sourceLabels: {{app: x}}}}], route: {TO_B}}}, {{route: {TO_C}}}]",
            [(["c"], (), ())],
            id="first-that-matches",
        ),
        pytest.param("[{match: [{port: 9000}]}]", [(["a.test"], (), ())], id="no-destinations"),
        pytest.param(
            f"[{{match: [{{destinationSubnets: [10.0.0.0/8]}},"
            f" {{destinationSubnets: [10.0.0.0/8, 172.16.0.0/12]}}], route: {TO_B}}}]",
            [(["b"], ("10.0.0.0/8", "172.16.0.0/12"), ()), (["a.test"], (), ())],
            id="subnets-and-the-rest",
        ),
        pytest.param(
            f"[{{match: [{{destinationSubnets: [10.0.0.0/8]}}, {{}}], route: {TO_B}}}]",
            [(["b"], (), ())],
            id="one-match-of-everything",
        ),
    ],
)
def test_tcp(tcp: str, expected: list[object]) -> None:
    governing = config(f"tcp: {tcp}")
    assert summary(tcp_routes(SERVICE, TCP, governing, site())) == expected


@pytest.mark.parametrize(
    ("tcp", "expected"),
    [
        pytest.param("[]", [(["a.test"], ("10.0.0.0/8",), ())], id="no-rule"),
        pytest.param(f"[{{route: {TO_B}}}]", [(["b"], ("10.0.0.0/8",), ())], id="catch-all"),
        pytest.param(
            f"[{{match: [{{destinationSubnets: [10.0.0.0/8]}}], route: {TO_B}}}]",
            [(["b"], ("10.0.0.0/8",), ())],
            id="same-subnet",
        ),
        pytest.param(
            f"[{{match: [{{destinationSubnets: [10.1.0.0/16]}}], route: {TO_B}}}]",
            [(["b"], ("10.1.0.0/16",), ()), (["a.test"], ("10.0.0.0/8",), ())],
            id="within-the-subnet",
        ),
    ],
)
def test_tcp_of_a_service_with_a_cidr(tcp: str, expected: list[object]) -> None:
    governing = config(f"tcp: {tcp}")
    assert summary(tcp_routes(SERVICE, TCP, governing, site(9000, "10.0.0.0/8"))) == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        pytest.param(site(443), [(["a.test"], (), ())], id="on-its-vip"),
        pytest.param(
            site(443, shared=True), [(["a.test"], (), ("a.test", "alias.test"))], id="shared"
        ),
        pytest.param(
            site(443, "10.0.0.0/8"),
            [(["a.test"], ("10.0.0.0/8",), ("a.test", "alias.test"))],
            id="cidr",
        ),
    ],
)
def test_tls_without_rule(where: Site, expected: list[object]) -> None:
    assert summary(tcp_routes(SERVICE, TLS, None, where)) == expected
    only_tcp = config(f"tcp: [{{route: {TO_B}}}]")
    assert summary(tcp_routes(SERVICE, TLS, only_tcp, where)) == expected


def test_tls_of_any_host_has_no_server_name() -> None:
    anything = Service(host="*", namespace="shop", ports=(TLS,))
    assert summary(tcp_routes(anything, TLS, None, site(443, shared=True))) == [(["*"], (), ())]


def test_tls_rules() -> None:
    governing = config(f"""
        tls:
        - match: [{{sniHosts: [x.test, y.test]}}, {{sniHosts: [z.test], port: 1}}]
          route: {TO_B}
        - {{match: [{{sniHosts: [z.test], destinationSubnets: [10.9.0.0/16]}}], route: {TO_C}}}
        - {{match: [{{sniHosts: ['*']}}], route: {TO_C}}}
        - {{match: [{{sniHosts: [nobody.test]}}]}}
    """)
    assert summary(tcp_routes(SERVICE, TLS, governing, site(443, "10.0.0.0/8"))) == [
        (["b"], ("10.0.0.0/8",), ("x.test", "y.test")),
        (["c"], ("10.9.0.0/16",), ("z.test",)),
        (["c"], ("10.0.0.0/8",), ()),
    ]


def test_prefix_of_statistics() -> None:
    (route,) = tcp_routes(SERVICE, TCP, config(f"tcp: [{{route: {TO_B}}}]"), site())
    (default,) = tcp_routes(SERVICE, TCP, None, site())
    assert (route.prefix, default.prefix) == ("vs.shop", "")
    assert default.destinations[0].destination.port.number == 9000


@pytest.mark.parametrize(
    ("weights", "expected"), [([0], [0]), ([0, 5], [5]), ([0, 0], []), ([1, 2], [1, 2])]
)
def test_weighted(weights: list[int], expected: list[int]) -> None:
    found = weighted([RouteDestination(weight=each) for each in weights])
    assert [each.weight for each in found] == expected


def test_connections_may_be_told_apart_by_their_source() -> None:
    found = tcp_routes(
        SERVICE,
        TCP,
        config(
            "{tcp: [{match: [{sourceSubnet: 10.0.0.0/8}, {sourceSubnet: 10.0.0.0/8,"
            " destinationSubnets: [10.9.0.0/16]}, {sourceSubnet: 10.1.0.1,"
            f" destinationSubnets: [10.9.0.0/16]}}], route: {TO_B}}}, {{route: {TO_C}}}]}}"
        ),
        site(),
    )
    assert [(*each, route.sources) for each, route in zip(summary(found), found, strict=True)] == [
        (["b"], (), (), ("10.0.0.0/8",)),
        (["b"], ("10.9.0.0/16",), (), ("10.1.0.1",)),
        (["c"], (), (), ()),
    ]


def test_tls_connections_may_be_told_apart_by_their_source() -> None:
    text = (
        f"{{tls: [{{match: [{{sniHosts: [a.test], sourceSubnet: 10.0.0.0/8}}], route: {TO_B}}}]}}"
    )
    (found,) = tcp_routes(SERVICE, TLS, config(text), site(443))
    assert (found.snis, found.sources) == (("a.test",), ("10.0.0.0/8",))
