"""Gateway API and Ingress in a real Envoy: what clients of a router see (pilot.md I7, I8)."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.json_format import ParseDict

from mast.pilot.core.model.proxy import Proxy, parse
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.envoy_static import bootstrap, with_routes
from tests.support.golden_view import resources_of, static
from tests.support.http_probe import Reply, echo_server, fetch
from tests.support.mesh_yaml import world

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{name}.{namespace}.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 9000, name: tcp, protocol: TCP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}, tcp: {port}}}}}]
---
"""

MESH = (Path(__file__).parent / "gateway_api.yaml").read_text()


def router(namespace: str, labels: dict[str, str]) -> Proxy:
    """A router of a namespace with labels."""
    text = {
        "id": f"router~10.1.0.7~r-1.{namespace}~{namespace}.svc.cluster.local",
        "metadata": {"NAMESPACE": namespace, "LABELS": labels},
    }
    return parse(ParseDict(text, Node()))


@dataclass
class Site:
    """An Envoy that is the routers of a Gateway and of Ingresses, and what stands behind it."""

    envoy: EnvoyServer
    copies: object

    async def get(self, host: str, path: str = "/", **how: object) -> Reply:
        """A request to the Gateway, for a host below `.test`."""
        return await fetch(self.envoy.ports["0.0.0.0_8080"], f"{host}.test", path, **how)


def bound_anywhere(listener: Listener) -> Listener:
    """The listener, on a port of its own."""
    result = Listener()
    result.CopyFrom(listener)
    result.address.socket_address.address = "127.0.0.1"
    result.address.socket_address.port_value = 0
    return result


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        names = {"one": "shop", "two": "shop", "copies": "shop", "other": "elsewhere",
                 "secret": "elsewhere"}  # fmt: skip
        servers = {name: await stack.enter_async_context(echo_server(name)) for name in names}
        services = [
            SERVICE.format(name=name, namespace=namespace, port=servers[name].port)
            for name, namespace in names.items()
        ]
        snapshot = world(MESH, *services).snapshot(1)
        label = "gateway.networking.k8s.io/gateway-name"
        gateway = resources_of(snapshot.view(router("edge", {label: "web"})))
        ingress = resources_of(snapshot.view(router("ops", {"istio": "ingressgateway"})))
        config = static(gateway)
        listeners = [
            *with_routes(list(gateway.listeners.values()), gateway.routes),
            *with_routes(list(ingress.listeners.values()), ingress.routes),
        ]
        made = bootstrap(
            [bound_anywhere(each) for each in listeners], config.static_resources.clusters
        )
        made.dynamic_resources.CopyFrom(config.dynamic_resources)
        envoy = await stack.enter_async_context(
            envoy_server(made, tmp_path_factory.mktemp("envoy"))
        )
        yield Site(envoy, servers["copies"])
        assert complaints(envoy.log.read_text()) == []


@pytest.mark.parametrize(
    ("path", "how", "server"),
    [
        pytest.param("/", {}, "one", id="everything"),
        pytest.param("/deep", {}, "one", id="longer-prefix"),
        pytest.param("/deeper", {}, "two", id="regex-after-prefixes"),
        pytest.param("/deep/exact", {}, "two", id="exact"),
        pytest.param("/deep/er/x", {}, "two", id="prefix-of-another-route"),
        pytest.param("/deep/err", {}, "one", id="whole-segments"),
        pytest.param("/deep", {"method": "PUT"}, "two", id="method"),
        pytest.param("/deep", {"headers": {"x-a": "b"}}, "two", id="header"),
        pytest.param("/deep?q=1", {}, "two", id="query"),
        pytest.param("/deep?q=2", {}, "one", id="other-query"),
    ],
)
async def test_precedence(site: Site, path: str, how: dict[str, object], server: str) -> None:
    assert (await site.get("a", path, **how)).echo.server == server


async def test_hosts(site: Site) -> None:
    assert (await site.get("x.changes", "/")).status == 200
    assert (await site.get("changes", "/")).status == 404
    assert (await site.get("nowhere", "/")).status == 404


@pytest.mark.parametrize(
    ("host", "server"),
    [("b.wide", "one"), ("b.a.wide", "two"), ("c.a.wide", None), ("d.a.wide", None)],
)
async def test_listeners_are_isolated(site: Site, host: str, server: str | None) -> None:
    reply = await fetch(site.envoy.ports["0.0.0.0_8081"], f"{host}.test")
    assert reply.echo.server == server if server else reply.status == 404


async def test_headers(site: Site) -> None:
    sent = {"x-set": "old", "x-add": "some", "x-gone": "here"}
    reply = await site.get("x.changes", "/headers", headers=sent)
    names = ("x-set", "x-gone", "x-backend")
    assert [reply.echo.header(each) for each in names] == ["new", "", "one"]
    # Values that are added stand in one header or in two.
    assert set(reply.echo.header("x-add").split(",")) == {"some", "more"}
    assert reply.header("x-back") == "yes"


@pytest.mark.parametrize(
    ("path", "new"),
    [
        pytest.param("/prefix/a?q", "/new/a?q", id="prefix"),
        pytest.param("/prefix", "/new", id="prefix-alone"),
        pytest.param("/prefix/", "/new/", id="prefix-slash"),
        pytest.param("/removed/a?q", "/a?q", id="removed"),
        pytest.param("/removed", "/", id="removed-alone"),
        pytest.param("/removed/", "/", id="removed-slash"),
        pytest.param("/full/a/b?q", "/whole?q", id="full"),
        pytest.param("/other", "/root/other", id="root"),
    ],
)
async def test_rewrites(site: Site, path: str, new: str) -> None:
    echo = (await site.get("x.changes", path)).echo
    assert echo.path == new
    if path.startswith("/prefix"):
        assert echo.header("host") == "inside.test"


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        pytest.param("/moved/a", 302, "http://there.test:8080/a", id="prefix-removed"),
        pytest.param("/moved", 302, "http://there.test:8080/", id="prefix-removed-alone"),
        pytest.param("/secure/a", 301, "https://x.changes.test/secure/a", id="scheme"),
        pytest.param("/ported/a", 302, "http://there.test:8443/p", id="port-and-path"),
    ],
)
async def test_redirects(site: Site, path: str, status: int, location: str) -> None:
    reply = await site.get("x.changes", path)
    assert (reply.status, reply.header("location")) == (status, location)


async def test_copies(site: Site) -> None:
    before = len(site.copies.seen)
    assert (await site.get("x.changes", "/copied")).echo.server == "one"
    assert (await site.copies.wait_for(before + 1))[-1].path == "/copied"


async def test_timeout(site: Site) -> None:
    assert (await site.get("x.changes", "/hang")).status == 504


async def test_retry(site: Site) -> None:
    reply = await site.get("x.changes", "/status/503")
    assert reply.status == 503
    assert reply.echo.header("x-envoy-attempt-count") == "2"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("https://a.good.test", "https://a.good.test"), ("https://good.test", ""),
     ("https://evil.test", "")],
)  # fmt: skip
async def test_cors(site: Site, origin: str, allowed: str) -> None:
    headers = {"origin": origin, "access-control-request-method": "PUT"}
    reply = await site.get("x.changes", "/cors", method="OPTIONS", headers=headers)
    assert reply.status == 200
    assert reply.header("access-control-allow-origin") == allowed
    assert reply.header("x-upstream") == ""
    if allowed:
        assert reply.header("access-control-allow-methods") == "PUT"
        assert reply.header("access-control-max-age") == "60"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/none", 500), ("/zero", 500), ("/missing", 500), ("/granted", 200), ("/not-granted", 500)],
)
async def test_backends(site: Site, path: str, status: int) -> None:
    assert (await site.get("backends", path)).status == status


async def test_a_missing_backend_keeps_its_share(site: Site) -> None:
    found = Counter([(await site.get("backends", "/half")).status for _ in range(60)])
    assert found.keys() == {200, 500}


async def test_weights(site: Site) -> None:
    found = Counter([(await site.get("backends", "/shared")).echo.server for _ in range(60)])
    assert found.keys() == {"one", "two"}


@pytest.mark.parametrize(
    ("path", "server"),
    [("/a.B/C", "two"), ("/a.B/D", "one"), ("/c.D/GetIt", "two"), ("/a.Bc/D", None)],
)
async def test_grpc(site: Site, path: str, server: str | None) -> None:
    reply = await site.get("grpc", path, method="POST", headers={"content-length": "0"})
    assert reply.echo.server == server if server else reply.status == 404


async def test_tcp(site: Site) -> None:
    reply = await fetch(site.envoy.ports["0.0.0.0_9000"], "whatever.test")
    assert reply.echo.server == "two"


@pytest.mark.parametrize(
    ("host", "path", "server"),
    [
        ("ingress.test", "/deep", "one"),
        ("ingress.test", "/deep/a", "one"),
        ("ingress.test", "/deep/exact", "copies"),
        ("ingress.test", "/deeper", None),
        ("unknown.test", "/", None),
    ],
)
async def test_ingress(site: Site, host: str, path: str, server: str | None) -> None:
    """The default backend serves nothing (galley-and-kubernetes.md D3)."""
    reply = await fetch(site.envoy.ports["0.0.0.0_80"], host, path)
    if server is None:
        assert reply.status == 404
    else:
        assert reply.echo.server == server
