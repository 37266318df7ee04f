"""Outbound listeners in a real Envoy: who gets a captured connection (pilot.md E1 to E8, C5)."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from mast.pilot.core import names
from mast.pilot.core.model.finding import Fault
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.resources import LDS
from tests.support.envoy_server import complaints, envoy_server
from tests.support.envoy_static import cluster
from tests.support.golden_view import resources_of, static
from tests.support.http_probe import echo_server, fetch
from tests.support.mesh_yaml import sidecar_proxy, world
from tests.support.outbound_envoy import Outbound, answering, bound_anywhere, outbound_envoy

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESH = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web},
 spec: {hosts: [web.default.svc.cluster.local], addresses: [10.9.0.1], resolution: STATIC,
        ports: [{number: 80, name: http, protocol: HTTP},
                {number: 8080, name: web, protocol: HTTP}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: tcp},
 spec: {hosts: [tcp.default.svc.cluster.local], addresses: [10.9.0.2], resolution: STATIC,
        ports: [{number: 80, name: tcp, protocol: TCP}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: auto},
 spec: {hosts: [auto.default.svc.cluster.local], addresses: [10.9.0.3], resolution: STATIC,
        ports: [{number: 7000, name: any}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: bare-one},
 spec: {hosts: [one.test], resolution: STATIC, ports: [{number: 9000, name: tcp, protocol: TCP}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: bare-two},
 spec: {hosts: [two.test], resolution: STATIC,
        ports: [{number: 9000, name: tcp, protocol: TCP},
                {number: 80, name: tcp80, protocol: TCP}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: range},
 spec: {hosts: [range.test], addresses: [172.16.0.0/16], resolution: STATIC,
        ports: [{number: 9000, name: tcp, protocol: TCP}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: secure},
 spec: {hosts: [secure.test, "*.wild.test"], resolution: DNS,
        ports: [{number: 443, name: tls, protocol: TLS}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: headless},
 spec: {hosts: [headless.test], resolution: NONE, workloadSelector: {labels: {app: headless}},
        ports: [{number: 5000, name: tcp, protocol: TCP}]}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: pod},
 spec: {address: 10.1.2.3, labels: {app: headless}}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: secure},
 spec: {hosts: [routed.test], tls: [{match: [{sniHosts: [routed.test]}],
        route: [{destination: {host: secure.test, port: {number: 443}}}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: routed},
 spec: {hosts: [routed.test], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}}
"""

REGISTRY_ONLY = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system},
 spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}}
"""

TCP_CLUSTERS = (
    "outbound|80||tcp.default.svc.cluster.local",
    "outbound|80||two.test",
    "outbound|7000||auto.default.svc.cluster.local",
    "outbound|9000||one.test",
    "outbound|9000||two.test",
    "outbound|9000||range.test",
    "outbound|443||secure.test",
    "outbound|443||*.wild.test",
    "outbound|443||routed.test",
    "outbound|5000||headless.test",
)
HTTP_CLUSTERS = (
    "outbound|80||web.default.svc.cluster.local",
    "outbound|8080||web.default.svc.cluster.local",
)


def running(directory: Path, proxy: Proxy, *texts: str) -> AbstractAsyncContextManager[Outbound]:
    return outbound_envoy(directory, proxy, *texts, tcp=TCP_CLUSTERS, http=HTTP_CLUSTERS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Outbound]:
    directory = tmp_path_factory.mktemp("envoy")
    async with running(directory, sidecar_proxy("default"), MESH) as started:
        yield started


WEB, WEB8080 = HTTP_CLUSTERS
FORWARD = "127.0.0.1_15080"


async def test_http_is_routed_by_host_whatever_address_was_dialled(site: Outbound) -> None:
    assert await site.http("10.9.0.1:80", "web") == (200, WEB)
    assert await site.http("198.51.100.9:80", "WEB.default:80") == (200, WEB)
    assert await site.http("10.9.0.1:8080", "web:8080") == (200, WEB8080)


async def test_http_and_tcp_share_a_port(site: Outbound) -> None:
    """Checklist 16: by address where there is one, else by sniffing (pilot.md E3, E6)."""
    assert await site.tcp("10.9.0.2:80") == "outbound|80||tcp.default.svc.cluster.local"
    assert await site.tcp("198.51.100.9:80") == "outbound|80||two.test"


async def test_sniffed_port(site: Outbound) -> None:
    auto = "outbound|7000||auto.default.svc.cluster.local"
    assert await site.tcp("10.9.0.3:7000") == auto
    # The server speaks no HTTP, so the connection manager gives its own answer.
    assert (await site.http("10.9.0.3:7000", "anything.test"))[0] == 502
    requests = await site.envoy.stat("http.outbound_10.9.0.3_7000;.downstream_rq_total")
    assert requests == 1


async def test_tcp_without_addresses_goes_to_the_oldest(site: Outbound) -> None:
    assert await site.tcp("198.51.100.9:9000") == "outbound|9000||one.test"
    assert await site.tcp("172.16.3.4:9000") == "outbound|9000||range.test"


async def test_who_got_no_listener_is_reported() -> None:
    """Checklist 16: of two TCP services without addresses on one port the younger (E6, N10)."""
    proxy = sidecar_proxy("default")
    snapshot = world(MESH).snapshot(1)
    snapshot.view(proxy).collection(LDS)
    lost = [each for each in snapshot.findings([proxy]) if each.fault is Fault.TCP_OVER_TCP]
    assert [(each.subject.name, each.winner.name) for each in lost] == [("bare-two", "bare-one")]


@pytest.mark.parametrize(
    ("sni", "expected"),
    [
        ("secure.test", "outbound|443||secure.test"),
        ("a.wild.test", "outbound|443||*.wild.test"),
        ("routed.test", "outbound|443||secure.test"),
    ],
)
async def test_tls_is_routed_by_server_name(site: Outbound, sni: str, expected: str) -> None:
    assert await site.tcp("198.51.100.9:443", sni=sni) == expected


async def test_headless_service_is_reached_by_the_address_of_its_endpoint(site: Outbound) -> None:
    assert await site.tcp("10.1.2.3:5000") == "outbound|5000||headless.test"


async def test_unknown_destinations_pass(site: Outbound) -> None:
    """Checklist 19, ALLOW_ANY: HTTP on a known port, TLS with an unknown name, any other port."""
    async with answering("outside") as port, echo_server("outside-http") as http:
        assert await site.tcp(f"127.0.0.1:{port}") == "outside"
        outside = await fetch(
            site.envoy.ports[names.VIRTUAL_OUTBOUND],
            "x.test",
            captured_for=f"127.0.0.1:{http.port}",
        )
        assert outside.header("x-upstream") == "outside-http"


async def test_unknown_destinations_are_refused(tmp_path: Path) -> None:
    """Checklist 19, REGISTRY_ONLY: HTTP 502, anything else is closed."""
    async with (
        running(tmp_path, sidecar_proxy("default"), MESH, REGISTRY_ONLY) as site,
        answering("outside") as port,
    ):
        assert await site.tcp(f"127.0.0.1:{port}") == ""
        assert await site.tcp("198.51.100.9:443", sni="unknown.test") == ""
        assert await site.http("198.51.100.9:8080", "unknown.test") == (502, "")
        assert await site.http("198.51.100.9:80", "web.default") == (200, WEB)


async def test_connections_to_the_capture_port_itself_do_not_loop(site: Outbound) -> None:
    assert await site.tcp("127.0.0.1:15001") == ""


async def test_forward_proxy(tmp_path: Path) -> None:
    """Without capture programs use the sidecar as their proxy (pilot.md C5, E8).

    Ports tell services apart; unknown hosts pass, resolved by the proxy.
    """
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(echo_server(name)) for name in HTTP_CLUSTERS]
        outside = await stack.enter_async_context(echo_server("outside"))
        proxy = sidecar_proxy(
            "default", INTERCEPTION_MODE="NONE", HTTP_PROXY_PORT="15080", OUTBOUND_BIND="127.0.0.1"
        )
        config = static(resources_of(world(MESH).snapshot(1).view(proxy)))
        kept = [each for each in config.static_resources.listeners if each.name == FORWARD]
        del config.static_resources.listeners[:]
        for each in kept:
            each.address.socket_address.port_value = 0
        config.static_resources.listeners.extend(kept)
        for each in config.static_resources.clusters:
            for server in servers:
                if each.name == server.name:
                    each.CopyFrom(cluster(server.name, server.port))
        envoy = await stack.enter_async_context(envoy_server(config, tmp_path))

        async def ask(host: str) -> tuple[int, str]:
            reply = await fetch(envoy.ports[FORWARD], host, f"http://{host}/path")
            return reply.status, reply.header("x-upstream")

        assert await ask("web") == (200, WEB)
        assert await ask("web.default.svc.cluster.local:80") == (200, WEB)
        assert await ask("web:8080") == (200, WEB8080)
        assert await ask(f"anything.localhost:{outside.port}") == (200, "outside")
        assert complaints(envoy.log.read_text()) == []


DYNAMIC = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: dynamic},
 spec: {hosts: ["*.localhost"], resolution: DYNAMIC_DNS, location: MESH_EXTERNAL,
        ports: [{number: 80, name: http, protocol: HTTP},
                {number: TLS_PORT, name: tls, protocol: TLS}]}}
"""


async def test_dynamic_hosts_are_resolved_by_the_proxy(tmp_path: Path) -> None:
    """Rule D, SE DYNAMIC_DNS: by the host of a request, or by the server name of a connection."""
    async with echo_server("dynamic") as http, answering("tls") as tls:
        proxy = sidecar_proxy("default")
        view = world(DYNAMIC.replace("TLS_PORT", str(tls))).snapshot(1).view(proxy)
        config = static(resources_of(view))
        outbound = [
            bound_anywhere(each)
            for each in config.static_resources.listeners
            if each.name != names.VIRTUAL_INBOUND
        ]
        del config.static_resources.listeners[:]
        config.static_resources.listeners.extend(outbound)
        async with envoy_server(config, tmp_path) as envoy:
            site = Outbound(envoy)
            found = await site.http("198.51.100.9:80", f"any.localhost:{http.port}")
            assert found == (200, "dynamic")
            assert await site.tcp(f"198.51.100.9:{tls}", sni="other.localhost") == "tls"
            assert complaints(envoy.log.read_text()) == []
