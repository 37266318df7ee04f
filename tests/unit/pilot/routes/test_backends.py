"""What destinations mean: clusters and what goes with them (pilot.md F, F4, F6, E11)."""

import pytest
from google.protobuf.message import Message

from istio.networking.v1alpha3.virtual_service_pb2 import Destination, RouteDestination
from mast.pilot.core.filters.alpn import ALPN_FILTER
from mast.pilot.core.filters.extensions import NO_EXTENSIONS, Direction, Spot
from mast.pilot.core.filters.persistent_sessions import STATEFUL_SESSION_FILTER
from mast.pilot.core.model.model import Port, Service
from mast.pilot.core.routes.backends import Backends, destination_port
from mast.pilot.core.routes.tcp_routes import TcpRoute
from tests.support.mesh_yaml import scope, sidecar_proxy
from tests.support.messages import made, plain, read

SERVICES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one, namespace: shop}
spec:
  hosts: [one.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8080, name: http, protocol: HTTP}]
---
apiVersion: registry.mast/v1
kind: Service
metadata: {name: two, namespace: shop}
spec:
  host: two.test
  namespace: shop
  labels: {istio.io/persistent-session: sticky}
  ports:
  - {name: http, number: 80, protocol: HTTP}
  - {name: any, number: 7000}
  - {name: tcp, number: 9000, protocol: TCP}
---
apiVersion: registry.mast/v1
kind: Service
metadata: {name: alias, namespace: shop}
spec:
  host: alias.test
  namespace: shop
  resolution: RESOLUTION_ALIAS
  alias_of: two.test
  ports: [{name: http, number: 80, protocol: HTTP}]
"""


def rule(policy: str, host: str = "two.test") -> str:
    return f"""
    {{apiVersion: networking.istio.io/v1, kind: DestinationRule,
      metadata: {{name: r, namespace: shop}},
      spec: {{host: {host}, trafficPolicy: {policy}, subsets: [{{name: v1}}]}}}}
    """


def backends(*texts: str) -> tuple[Backends, Spot]:
    proxy = sidecar_proxy()
    seen = scope(proxy, SERVICES, *texts)
    spot = Spot(proxy=proxy, direction=Direction.OUTBOUND, port=1234)
    return Backends(seen, seen.egress[0], NO_EXTENSIONS), spot


@pytest.mark.parametrize(
    ("destination", "cluster"),
    [
        ("{host: one.test, port: {number: 99}}", "outbound|99||one.test"),
        ("{host: one.test}", "outbound|8080||one.test"),
        ("{host: two.test}", "outbound|1234||two.test"),
        ("{host: two.test, subset: v1, port: {number: 80}}", "outbound|80|v1|two.test"),
        ("{host: gone.test}", "outbound|1234||gone.test"),
        ("{host: alias.test, port: {number: 80}}", "outbound|80||two.test"),
    ],
    ids=["own-port", "only-port", "listener-port", "subset", "unknown", "alias"],
)
def test_cluster(destination: str, cluster: str) -> None:
    where, spot = backends()
    assert where.http(made(Destination, destination), spot).cluster == cluster
    route = TcpRoute(destinations=(RouteDestination(destination=made(Destination, destination)),))
    proxy = where.tcp(route, spot)
    assert proxy is not None
    assert (proxy.cluster, proxy.stat_prefix) == (cluster, cluster)


def test_destination_port() -> None:
    one = Service(host="a", namespace="n", ports=(Port(name="p", number=1, target_port=1),))
    assert destination_port(Destination(), one, 9) == 1
    assert destination_port(Destination(), None, 9) == 9


def filters(destination: str, *texts: str) -> set[str]:
    where, spot = backends(*texts)
    found = where.http(made(Destination, destination), spot)
    return set(found.additions.typed_per_filter_config)


SNIFFED = "{host: two.test, port: {number: 7000}}"
WEB = "{host: two.test, port: {number: 80}}"


@pytest.mark.parametrize(
    ("destination", "texts", "expected"),
    [
        pytest.param("{host: one.test}", [], set(), id="fixed-protocol"),
        pytest.param(WEB, [], {STATEFUL_SESSION_FILTER}, id="session"),
        pytest.param(SNIFFED, [], {STATEFUL_SESSION_FILTER, ALPN_FILTER}, id="sniffed"),
        pytest.param(
            WEB,
            [rule("{connectionPool: {http: {useClientProtocol: true}}}")],
            {STATEFUL_SESSION_FILTER, ALPN_FILTER},
            id="protocol-of-the-client",
        ),
        pytest.param(
            SNIFFED, [rule("{tls: {mode: SIMPLE}}")], {STATEFUL_SESSION_FILTER}, id="foreign-tls"
        ),
        pytest.param(
            SNIFFED,
            [rule("{tls: {mode: ISTIO_MUTUAL}}")],
            {STATEFUL_SESSION_FILTER, ALPN_FILTER},
            id="mesh-tls",
        ),
        pytest.param(
            "{host: two.test, port: {number: 99}}", [], {STATEFUL_SESSION_FILTER}, id="no-such-port"
        ),
        pytest.param("{host: gone.test}", [], set(), id="unknown"),
    ],
)
def test_filter_configuration(destination: str, texts: list[str], expected: set[str]) -> None:
    assert filters(destination, *texts) == expected


@pytest.mark.parametrize(
    ("policy", "header"),
    [
        ("{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}", "x-user"),
        ("{loadBalancer: {simple: RANDOM}}", None),
        ("{}", None),
    ],
)
def test_hash(policy: str, header: str | None) -> None:
    where, spot = backends(rule(policy))
    found = where.http(made(Destination, WEB), spot).hash
    assert (found.http_header_name if found else None) == header


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("{connectionPool: {tcp: {idleTimeout: 5s}}}", "idle_timeout: 5s"),
        (
            "{connectionPool: {tcp: {maxConnectionDuration: 9s}}}",
            "max_downstream_connection_duration: 9s",
        ),
        (
            "{loadBalancer: {consistentHash: {useSourceIp: true}}}",
            "hash_policy: [{source_ip: {}}]",
        ),
        ("{loadBalancer: {consistentHash: {httpHeaderName: a}}}", "{}"),
        (
            "{tunnel: {protocol: POST, targetHost: out.test, targetPort: 443}}",
            "tunneling_config: {hostname: 'out.test:443', use_post: true}",
        ),
        (
            "{tunnel: {targetHost: out.test, targetPort: 443}}",
            "tunneling_config: {hostname: 'out.test:443'}",
        ),
        ("{}", "{}"),
    ],
)
def test_policy_of_connections(policy: str, expected: str) -> None:
    where, spot = backends(rule(policy))
    route = TcpRoute(destinations=(made(RouteDestination, f"destination: {WEB}"),))
    proxy = where.tcp(route, spot)
    assert proxy is not None
    assert without(proxy, "cluster", "stat_prefix") == read(expected)


def without(message: Message, *fields: str) -> object:
    return {key: value for key, value in plain(message).items() if key not in fields}


def test_weighted_connections() -> None:
    where, spot = backends(rule("{connectionPool: {tcp: {idleTimeout: 5s}}}"))
    destinations = [
        "{destination: {host: two.test, port: {number: 80}}, weight: 30}",
        "{destination: {host: one.test}, weight: 70}",
        "{destination: {host: gone.test}, weight: 0}",
    ]
    route = TcpRoute(
        destinations=tuple(made(RouteDestination, each) for each in destinations), prefix="vs.shop"
    )
    proxy = where.tcp(route, spot)
    assert proxy is not None
    assert plain(proxy) == read("""
        stat_prefix: vs.shop
        weighted_clusters:
          clusters:
          - {name: 'outbound|80||two.test', weight: 30}
          - {name: 'outbound|8080||one.test', weight: 70}
        idle_timeout: 5s
    """)


def test_connections_without_weight_go_nowhere() -> None:
    where, spot = backends()
    nothing = RouteDestination(destination=Destination(host="one.test"))
    assert where.tcp(TcpRoute(destinations=(nothing, nothing)), spot) is None
