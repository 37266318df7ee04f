"""Routes of gateways: who answers for a host, and for whom nobody does (pilot.md C, F8, I6)."""

from collections.abc import Mapping

import pytest
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from mast.pilot.core.filters.extensions import NO_EXTENSIONS
from mast.pilot.core.gateways.routes import route_configuration
from mast.pilot.core.model.finding import Fault
from mast.pilot.core.scope.memo import Reads
from tests.support.mesh_yaml import world
from tests.unit.pilot.gateways.test_servers import TLS, gateway, router, server


def virtual_service(name: str, hosts: str, http: str, gateways: str = "edge/a") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec: {{hosts: [{hosts}], gateways: [{gateways}], http: [{http}]}}
"""


def configuration(name: str, *texts: str) -> RouteConfiguration | None:
    scope = world("\n---\n".join(texts)).snapshot(1).scope("edge", Reads())
    return route_configuration(name, scope, router(), (), NO_EXTENSIONS)


def hosts(name: str, *texts: str) -> Mapping[str, VirtualHost]:
    """Virtual hosts by domain."""
    found = configuration(name, *texts)
    assert found is not None
    assert found.name == name
    return {domain: each for each in found.virtual_hosts for domain in each.domains}


def statuses(found: Mapping[str, VirtualHost]) -> dict[str, list[int]]:
    """Statuses that the routes of each domain answer with."""
    return {
        domain: [route.direct_response.status for route in each.routes]
        for domain, each in found.items()
    }


def answer(status: int, match: str = "") -> str:
    matching = f"match: [{match}], " if match else ""
    return f"{{{matching}directResponse: {{status: {status}}}}}"


PLAIN = gateway("a", server(80, "HTTP", "*.a.test", "b.test"))


def test_a_port_without_routes_knows_nobody() -> None:
    found = hosts("http.80", PLAIN)
    assert statuses(found) == {"*": []}
    assert found["*"].name == "blackhole:80"


@pytest.mark.parametrize("name", ["http.81", "https.443.p.a.edge", "80", "http.80.10.0.0.1"])
def test_other_names_are_none_of_a_routers(name: str) -> None:
    assert configuration(name, PLAIN) is None


@pytest.mark.parametrize(
    ("match", "position"),
    [
        pytest.param("", 1, id="none"),
        pytest.param("{uri: {prefix: /}}", 1, id="prefix"),
        pytest.param("{uri: {regex: '.*'}}", 1, id="regex"),
        pytest.param("{uri: {regex: '/a.*'}}", 0, id="some-regex"),
        pytest.param("{uri: {prefix: /a}}", 0, id="some-prefix"),
        pytest.param("{uri: {prefix: /}, headers: {a: {exact: b}}}", 0, id="headers"),
        pytest.param("{queryParams: {a: {exact: b}}}", 0, id="query"),
        pytest.param("{headers: {'@request.auth.claims.a': {exact: b}}}", 0, id="claims"),
    ],
)
def test_what_takes_everything_stands_last(match: str, position: int) -> None:
    """Of two services the older one comes first, unless nothing would be left for the other."""
    found = hosts(
        "http.80",
        PLAIN,
        virtual_service("old", "x.a.test", answer(201, match)),
        virtual_service("new", "x.a.test", answer(202, "{uri: {prefix: /new}}")),
    )
    expected = [202]
    expected.insert(position, 201)
    assert statuses(found) == {"x.a.test": expected}


def test_of_two_that_take_everything_the_older_counts() -> None:
    services = (virtual_service(f"v{status}", "b.test", answer(status)) for status in (201, 202))
    assert statuses(hosts("http.80", PLAIN, *services)) == {"b.test": [201]}


def test_a_service_without_routes_here_leaves_no_host_behind() -> None:
    elsewhere = virtual_service("v", "b.test", answer(201, "{port: 81}"))
    assert statuses(hosts("http.80", PLAIN, elsewhere)) == {"*": []}


def test_redirects_hold_for_all_hosts_of_a_server() -> None:
    redirect = server(80, "HTTP", "a.test", "b.test", more="tls: {httpsRedirect: true}")
    service = virtual_service("v", "b.test, c.test", answer(201))
    other = server(80, "HTTP", "c.test")
    found = hosts("http.80", gateway("a", redirect, other), service)
    assert {domain: each.require_tls for domain, each in found.items()} == {
        "a.test": VirtualHost.ALL,
        "b.test": VirtualHost.ALL,
        "c.test": VirtualHost.NONE,
    }


SECURE = gateway(
    "a",
    server(443, "HTTPS", "*.a.test", name="wild", more=TLS),
    server(443, "HTTPS", "x.a.test", name="exact", more=TLS),
    server(443, "TLS", "passed.test", name="passed", more="tls: {mode: PASSTHROUGH}"),
    server(443, "TLS", "*.local", name="mesh", more="tls: {mode: AUTO_PASSTHROUGH}"),
)


def test_hosts_of_other_servers_are_misdirected() -> None:
    service = virtual_service("v", "'*.a.test', y.a.test, x.a.test", answer(201))
    found = hosts("https.443.wild.a.edge", SECURE, service)
    assert statuses(found) == {
        "*.a.test": [201],
        "y.a.test": [201],
        "x.a.test": [421],
        "passed.test": [421],
    }


def test_own_hosts_without_routes_are_unknown_not_misdirected() -> None:
    found = hosts("https.443.exact.a.edge", SECURE)
    assert statuses(found) == {"x.a.test": [], "*.a.test": [421], "passed.test": [421]}


def test_an_only_server_without_routes_knows_nobody() -> None:
    alone = gateway("a", server(443, "HTTPS", "a.test", more=TLS))
    assert statuses(hosts("https.443.p.a.edge", alone)) == {"*": []}


CLAIMS = virtual_service(
    "claims",
    "a.test",
    answer(200, "{headers: {'@request.auth.claims.group': {exact: admin}}}"),
)
TOKENS = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: NAMESPACE}
spec: {jwtRules: [{issuer: a}]}
"""


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([CLAIMS], [Fault.CLAIMS_WITHOUT_TOKENS], id="no-policy"),
        pytest.param(
            [CLAIMS, TOKENS.replace("NAMESPACE", "shop")],
            [Fault.CLAIMS_WITHOUT_TOKENS],
            id="policy-of-another-namespace",
        ),
        pytest.param([CLAIMS, TOKENS.replace("NAMESPACE", "edge")], [], id="policy"),
        pytest.param([virtual_service("plain", "a.test", answer(200))], [], id="no-claims"),
    ],
)
def test_claims_that_nobody_has_are_told(texts: list[str], expected: list[Fault]) -> None:
    reads = Reads()
    every = [gateway("a", server(80, "HTTP", "*")), *texts]
    scope = world("\n---\n".join(every)).snapshot(1).scope("edge", reads)
    assert route_configuration("http.80", scope, router(), (), NO_EXTENSIONS) is not None
    assert [each.fault for each in reads.findings] == expected
