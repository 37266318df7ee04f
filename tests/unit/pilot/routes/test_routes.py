"""Route configurations of sidecars (pilot.md C4 to C6, E, F1)."""

from collections.abc import Sequence

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from mast.pilot.core.filters.extensions import Additions, NoExtensions, Spot
from mast.pilot.core.filters.header_operations import ADD, HeaderMutations, header_addition
from mast.pilot.core.model.finding import Fault
from mast.pilot.core.model.model import Service
from mast.pilot.core.routes.routes import route_configuration
from tests.support.mesh_yaml import reported, scope, sidecar_proxy

SE = "apiVersion: networking.istio.io/v1, kind: ServiceEntry"
VS = "apiVersion: networking.istio.io/v1, kind: VirtualService"
SIDECAR = "apiVersion: networking.istio.io/v1, kind: Sidecar"
MESH_CONFIG = "apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig"

WEB = f"""
{{{SE}, metadata: {{name: web, namespace: shop}},
 spec: {{hosts: [web.shop.svc.cluster.local], addresses: [10.9.0.1, "2001:db8::1"],
        location: MESH_INTERNAL, resolution: STATIC,
        ports: [{{number: 80, name: http, protocol: HTTP}},
                {{number: 8080, name: grpc, protocol: GRPC}},
                {{number: 7000, name: any}},
                {{number: 9000, name: tcp, protocol: TCP}}]}}}}
"""
EXTERNAL = f"""
{{{SE}, metadata: {{name: api, namespace: other}},
 spec: {{hosts: [api.example.com], resolution: DNS,
        ports: [{{number: 80, name: http, protocol: HTTP}}]}}}}
"""


def rule(name: str, hosts: str, to: str = "web", namespace: str = "shop", **spec: str) -> str:
    more = "".join(f", {key}: {value}" for key, value in spec.items())
    http = spec.get("http", f"[{{name: {name}, route: [{{destination: {{host: {to}}}}}]}}]")
    more = "".join(f", {key}: {value}" for key, value in spec.items() if key != "http")
    return (
        f"{{{VS}, metadata: {{name: {name}, namespace: {namespace}}},"
        f" spec: {{hosts: {hosts}, http: {http}{more}}}}}"
    )


def config(
    name: str, *texts: str, namespace: str = "shop", **metadata: object
) -> RouteConfiguration:
    proxy = sidecar_proxy(namespace, labels={"app": "web"}, **metadata)
    found = route_configuration(name, scope(proxy, *texts), proxy)
    assert found is not None
    assert found.name == name
    return found


def domains(found: RouteConfiguration) -> dict[str, list[str]]:
    return {each.name: list(each.domains) for each in found.virtual_hosts}


def governing(found: RouteConfiguration) -> dict[str, Sequence[str]]:
    """Names of the routes of each virtual host."""
    return {each.name: [route.name for route in each.routes] for each in found.virtual_hosts}


WEB_NAMES = ["web.shop.svc.cluster.local", "web.shop.svc.cluster.local."]
LOCAL_NAMES = ["web", "web.shop.svc", "web.shop"]
VIPS = ["10.9.0.1", "[2001:db8::1]"]


@pytest.mark.parametrize("port", ["80", "8080", "7000"])
def test_a_port_has_its_http_services(port: str) -> None:
    found = config(port, WEB, EXTERNAL)
    expected = {f"web.shop.svc.cluster.local:{port}": [*WEB_NAMES, *LOCAL_NAMES, *VIPS]}
    if port == "80":
        expected["api.example.com:80"] = ["api.example.com", "api.example.com."]
    assert domains(found) == {**expected, "allow_any": ["*"]}
    assert found.ignore_port_in_host_matching
    assert found.HasField("validate_clusters")
    assert not found.validate_clusters.value
    assert found.max_direct_response_body_size_bytes.value == 1 << 20


@pytest.mark.parametrize("port", ["9000", "12345"])
def test_a_port_without_http_has_the_catch_all(port: str) -> None:
    assert domains(config(port, WEB)) == {"allow_any": ["*"]}


def test_names_in_another_namespace() -> None:
    found = config("80", WEB, namespace="other")
    assert domains(found)["web.shop.svc.cluster.local:80"] == [
        *WEB_NAMES,
        "web.shop",
        "web.shop.svc",
        *VIPS,
    ]


@pytest.mark.parametrize("flag", ["true", ""])
def test_automatic_addresses_are_for_who_learns_them(flag: str) -> None:
    found = config("80", EXTERNAL, DNS_CAPTURE=flag)
    automatic = [each for each in found.virtual_hosts[0].domains if each[0].isdigit()]
    assert bool(automatic) is bool(flag)


def test_catch_alls_are_last_and_hosts_sorted() -> None:
    names = [each.name for each in config("80", WEB, EXTERNAL).virtual_hosts]
    assert names == ["api.example.com:80", "web.shop.svc.cluster.local:80", "allow_any"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("{mode: REGISTRY_ONLY}", "block_all"),
        ("{mode: ALLOW_ANY}", "PassthroughCluster"),
        (
            "{mode: ALLOW_ANY, egressProxy: {host: web, port: {number: 80}, subset: s}}",
            "outbound|80|s|web.shop.svc.cluster.local",
        ),
        (
            "{mode: ALLOW_ANY, egressProxy: {host: gone.test, port: {number: 1}}}",
            "outbound|1||gone.test",
        ),
    ],
)
def test_unknown_hosts(policy: str, expected: str) -> None:
    sidecar = f"""
    {{{SIDECAR}, metadata: {{name: s, namespace: shop}},
     spec: {{outboundTrafficPolicy: {policy}}}}}
    """
    last = config("80", WEB, sidecar).virtual_hosts[-1]
    assert (last.routes[0].route.cluster or last.name) == expected


def test_unknown_hosts_of_the_mesh() -> None:
    mesh = f"""
    {{{MESH_CONFIG}, metadata: {{name: default, namespace: istio-system}},
     spec: {{outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}}}}}
    """
    assert list(domains(config("80", WEB, mesh)))[-1] == "block_all"


def test_retries_of_the_mesh() -> None:
    mesh = f"""
    {{{MESH_CONFIG}, metadata: {{name: default, namespace: istio-system}},
     spec: {{defaultHttpRetryPolicy: {{attempts: 5, retryOn: reset}}}}}}
    """
    route = config("80", WEB, mesh).virtual_hosts[0].routes[0].route
    assert (route.retry_policy.num_retries.value, route.retry_policy.retry_on) == (5, "reset")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param([], "default", id="none"),
        pytest.param([rule("a", "[web]")], "a", id="short-name"),
        pytest.param([rule("a", "['*.local']"), rule("b", "[web]")], "b", id="exact-wins"),
        pytest.param(
            [
                rule("a", "['*']"),
                rule("b", "['*.local']"),
                rule("c", "['*.shop.svc.cluster.local']"),
            ],
            "c",
            id="longest-wildcard-wins",
        ),
        pytest.param([rule("b", "[web]"), rule("a", "[web]")], "b", id="oldest-wins"),
        pytest.param(
            [rule("a", "[web.shop.svc.cluster.local]", namespace="other", exportTo="['.']")],
            "default",
            id="invisible",
        ),
        pytest.param(
            [
                rule(
                    "a",
                    "[web.shop.svc.cluster.local]",
                    namespace="other",
                    exportTo="[shop]",
                    to="web.shop.svc.cluster.local",
                )
            ],
            "a",
            id="exported-to-us",
        ),
        pytest.param([rule("a", "[web]", gateways="[front]")], "default", id="gateway-only"),
        pytest.param([rule("a", "[web]", gateways="[front, mesh]")], "a", id="mesh-too"),
        pytest.param(
            [rule("a", "[web]", http="[{match: [{sourceLabels: {app: x}}], redirect: {}}]")],
            "default",
            id="nothing-for-us",
        ),
        pytest.param([rule("a", "[web]", http="[]", tcp="[]")], "default", id="no-http-at-all"),
    ],
)
def test_which_rules_govern_a_service(rules: list[str], expected: str) -> None:
    found = config("80", WEB, *rules)
    assert governing(found)["web.shop.svc.cluster.local:80"] == [expected]


@pytest.mark.parametrize(
    ("port", "hosts", "expected"),
    [
        pytest.param("80", "[alone.test]", {"alone.test:80": ["alone.test"]}, id="alone"),
        pytest.param("8080", "[alone.test]", {}, id="alone-on-port-80-only"),
        pytest.param(
            "8080", "[alone.test, web]", {"alone.test:8080": ["alone.test"]}, id="with-a-service"
        ),
        pytest.param(
            "80", "[alone.test, web]", {"alone.test:80": ["alone.test"]}, id="with-it-on-80"
        ),
        pytest.param("9000", "[alone.test, web]", {}, id="not-on-its-tcp-port"),
        pytest.param("80", "['*.test']", {"*.test:80": ["*.test"]}, id="wildcard"),
        pytest.param("80", "['*.svc.cluster.local']", {}, id="wildcard-of-services"),
        pytest.param("1234", "['*.svc.cluster.local']", {}, id="wildcard-elsewhere"),
    ],
)
def test_hosts_that_are_no_service(port: str, hosts: str, expected: dict[str, list[str]]) -> None:
    found = domains(config(port, WEB, rule("a", hosts)))
    del found["allow_any"]
    found.pop(f"web.shop.svc.cluster.local:{port}", None)
    assert found == expected


def test_hosts_whose_services_are_on_other_ports_only() -> None:
    """A service without port 80 keeps the other hosts of its rules from port 80 (pilot.md C6)."""
    other = f"""
    {{{SE}, metadata: {{name: o, namespace: shop}}, spec: {{hosts: [o.test], resolution: DNS,
     ports: [{{number: 81, name: http, protocol: HTTP}}]}}}}
    """
    both = rule("a", "[o.test, alone.test]", to="o.test")
    assert domains(config("80", other, both)) == {"allow_any": ["*"]}
    assert "alone.test:81" in domains(config("81", other, both))
    wild = rule("a", "['*.test']", to="o.test")
    assert domains(config("80", other, wild)) == {"allow_any": ["*"]}


def test_rules_without_routes_for_us_make_no_virtual_host() -> None:
    alone = rule("a", "[alone.test]", http="[{match: [{port: 1}], redirect: {}}]")
    assert domains(config("80", alone)) == {"allow_any": ["*"]}


def test_sniffed_service() -> None:
    found = config("web.shop.svc.cluster.local:7000", WEB, rule("a", "[web]"))
    assert domains(found) == {"web.shop.svc.cluster.local:7000": ["*"]}
    assert governing(found) == {"web.shop.svc.cluster.local:7000": ["a"]}


@pytest.mark.parametrize("name", ["gone.test:7000", "web.shop.svc.cluster.local:1"])
def test_sniffed_service_that_is_gone(name: str) -> None:
    assert domains(config(name, WEB)) == {"allow_any": ["*"]}


def test_forward_proxy() -> None:
    """Ports are part of the domains, and count (pilot.md C5)."""
    found = config("http_proxy", EXTERNAL, WEB, rule("a", "[alone.test]"))
    assert not found.ignore_port_in_host_matching
    names = domains(found)
    assert names["api.example.com:80"] == [
        "api.example.com",
        "api.example.com:80",
        "api.example.com.",
        "api.example.com.:80",
    ]
    assert names["web.shop.svc.cluster.local:8080"][:3] == [
        "web.shop.svc.cluster.local:8080",
        "web.shop.svc.cluster.local.:8080",
        "web:8080",
    ]
    assert names["alone.test:80"] == ["alone.test", "alone.test:80"]


def test_forward_proxy_has_port_80_even_without_a_service() -> None:
    found = config("http_proxy", rule("a", "[alone.test]", to="b.test"))
    assert list(domains(found)) == ["alone.test:80", "allow_any"]


EGRESS = f"""
{{{SIDECAR}, metadata: {{name: s, namespace: shop}},
 spec: {{egress: [
   {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["other/*"]}},
   {{port: {{number: 8080, name: sock, protocol: HTTP}}, bind: "unix:///run/out",
     hosts: ["shop/*"]}},
   {{hosts: ["shop/*"]}}]}}}}
"""


def test_egress_listener_of_the_port() -> None:
    assert list(domains(config("80", WEB, EXTERNAL, EGRESS))) == ["api.example.com:80", "allow_any"]
    assert list(domains(config("7000", WEB, EXTERNAL, EGRESS))) == [
        "web.shop.svc.cluster.local:7000",
        "allow_any",
    ]


def test_egress_listener_of_a_socket() -> None:
    found = config("/run/out", WEB, EGRESS)
    # Ports of requests are ignored, so that both forms of a name match (pilot.md C5).
    assert found.ignore_port_in_host_matching
    assert domains(found)["web.shop.svc.cluster.local:8080"][:2] == [
        "web.shop.svc.cluster.local",
        "web.shop.svc.cluster.local.",
    ]


def test_without_an_egress_listener_for_the_port() -> None:
    only = f"""
    {{{SIDECAR}, metadata: {{name: s, namespace: shop}}, spec: {{egress: [
     {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["shop/*"]}}]}}}}
    """
    assert domains(config("7000", WEB, only)) == {"allow_any": ["*"]}
    assert domains(config("http_proxy", WEB, only)) == {"allow_any": ["*"]}
    name = "web.shop.svc.cluster.local:7000"
    assert domains(config(name, WEB, only)) == {"allow_any": ["*"]}


@pytest.mark.parametrize("name", ["", "inbound|80||", "web", "/no/such/socket", "web:http"])
def test_names_that_are_none(name: str) -> None:
    proxy = sidecar_proxy()
    assert route_configuration(name, scope(proxy, WEB), proxy) is None


def test_contested_domains() -> None:
    """An external service that is called like a short name (pilot.md C6)."""
    squatter = f"""
    {{{SE}, metadata: {{name: x, namespace: shop}}, spec: {{hosts: [web.shop], resolution: DNS,
     ports: [{{number: 80, name: http, protocol: HTTP}}]}}}}
    """
    proxy = sidecar_proxy()
    (found,) = reported(
        scope(proxy, WEB, squatter), lambda seen: route_configuration("80", seen, proxy)
    )
    assert found.fault is Fault.DUPLICATE_DOMAIN
    assert found.key == "web.shop web.shop.svc.cluster.local:80"
    assert found.winner == ("istio/networking/v1alpha3/serviceentries", "shop", "x")
    assert found.subject is not None
    assert found.subject.name == "web"


class Extra(NoExtensions):
    """Leaves its mark on virtual hosts and routes."""

    def virtual_host(self, spot: Spot, service: Service | None) -> Additions:
        return self._mark(f"{spot.port}.{service.host if service else '-'}")

    def destination(self, spot: Spot, host: str, service: Service | None) -> Additions:
        return self._mark(f"{spot.port}.{host}.{service is not None}")

    @staticmethod
    def _mark(text: str) -> Additions:
        return Additions(mutations=HeaderMutations(request_add=(header_addition("x", text, ADD),)))


def test_extensions_mark_hosts_and_routes() -> None:
    proxy = sidecar_proxy()
    seen = scope(proxy, EXTERNAL, rule("a", "[alone.test]", to="api.example.com"))
    found = route_configuration("80", seen, proxy, Extra())
    assert found is not None
    marks = {
        each.name: [
            header.header.value
            for target in (each, *each.routes)
            for header in target.request_headers_to_add
        ]
        for each in found.virtual_hosts
    }
    assert marks == {
        "alone.test:80": ["80.-", "80.api.example.com.True"],
        "api.example.com:80": ["80.api.example.com", "80.api.example.com.True"],
        "allow_any": ["0.PassthroughCluster.False"],
    }
