"""Matches and actions of VirtualServices in a real Envoy: each row of pilot.md F, hit and miss."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from envoy.config.cluster.v3.cluster_pb2 import Cluster

from mast.pilot.core.filters.extensions import Direction, Spot
from mast.pilot.core.listeners.http_connection_manager import HttpChain, http_connection_manager
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.ports.filter_chains import Chain
from mast.pilot.core.ports.sockets import Draft, Socket, listener
from mast.pilot.core.routes.routes import route_configuration
from tests.integration.pilot.routes_site import SERVICES, Claims, Site, claims, virtual_services
from tests.support.envoy_server import complaints, envoy_server
from tests.support.envoy_static import bootstrap, cluster
from tests.support.http_probe import Echo, echo_server
from tests.support.mesh_yaml import scope, sidecar_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    proxy = sidecar_proxy()
    seen = scope(proxy, SERVICES, virtual_services())
    routes = route_configuration("80", seen, proxy)
    assert routes is not None
    spot = Spot(proxy=proxy, direction=Direction.OUTBOUND, port=80)
    manager = http_connection_manager(
        HttpChain(stat_prefix="test", routes=routes), spot, Mesh(), Claims()
    )
    draft = Draft(
        name="routes",
        socket=Socket(address="127.0.0.1", bound=True),
        direction=Direction.OUTBOUND,
        chains=[Chain(filters=(manager,))],
    )
    made = listener(draft, proxy, Mesh())
    made.address.socket_address.address = "127.0.0.1"
    made.address.socket_address.port_value = 0
    async with AsyncExitStack() as stack:
        one, two, copies = [
            await stack.enter_async_context(echo_server(name)) for name in ("one", "two", "copies")
        ]
        ring = cluster("outbound|80||ring.test", one.port, two.port)
        ring.lb_policy = Cluster.RING_HASH
        half_dead = cluster("outbound|80||half-dead.test", 0, one.port)
        clusters = [
            cluster("outbound|80||one.test", one.port),
            cluster("outbound|80||two.test", two.port),
            cluster("outbound|80||copies.test", copies.port),
            half_dead,
            ring,
        ]
        directory: Path = tmp_path_factory.mktemp("envoy")
        envoy = await stack.enter_async_context(
            envoy_server(bootstrap([made], clusters), directory)
        )
        yield Site(envoy, one, copies)
        assert complaints(envoy.log.read_text()) == []


@pytest.mark.parametrize(
    ("name", "path", "how", "server"),
    [
        ("uri-exact", "/a?q=1", {}, "one"),
        ("uri-exact", "/a/", {}, "two"),
        ("uri-prefix", "/abc", {}, "one"),
        ("uri-prefix", "/b", {}, "two"),
        ("uri-regex", "/a12?q", {}, "one"),
        ("uri-regex", "/a12/b", {}, "two"),
        ("uri-ignore-case", "/aB", {}, "one"),
        ("uri-ignore-case", "/b", {}, "two"),
        ("none", "/x", {}, "one"),
        ("method", "/", {"method": "PUT"}, "one"),
        ("method", "/", {}, "two"),
        ("scheme", "/", {}, "one"),
        ("scheme", "/", {"headers": {"x-forwarded-proto": "https"}}, "two"),
        ("authority", "/", {}, "one"),
        ("header-exact", "/", {"headers": {"X-A": "b"}}, "one"),
        ("header-exact", "/", {"headers": {"x-a": "bb"}}, "two"),
        ("header-prefix", "/", {"headers": {"x-a": "bb"}}, "one"),
        ("header-prefix", "/", {"headers": {"x-a": "ab"}}, "two"),
        ("header-regex", "/", {"headers": {"x-a": "bbb"}}, "one"),
        ("header-regex", "/", {"headers": {"x-a": "bbba"}}, "two"),
        ("header-present", "/", {"headers": {"x-a": ""}}, "one"),
        ("header-present", "/", {}, "two"),
        ("header-star", "/", {"headers": {"x-a": "any"}}, "one"),
        ("header-star", "/", {}, "two"),
        ("without-header", "/", {"headers": {"x-a": "c"}}, "one"),
        ("without-header", "/", {}, "one"),
        ("without-header", "/", {"headers": {"x-a": "b"}}, "two"),
        ("without-any", "/", {}, "one"),
        ("without-any", "/", {"headers": {"x-a": "b"}}, "two"),
        ("claim", "/", {"headers": claims(groups=["user", "admin"])}, "one"),
        ("claim", "/", {"headers": claims(groups="admin")}, "one"),
        ("claim", "/", {"headers": claims(groups=["user"])}, "two"),
        ("claim-nested", "/", {"headers": claims(**{"a.b": {"c": "deep"}})}, "one"),
        ("claim-nested", "/", {"headers": claims(a="deep")}, "two"),
        ("claim-absent", "/", {}, "one"),
        ("claim-absent", "/", {"headers": claims(groups="admin")}, "two"),
        ("query-exact", "/?q=1", {}, "one"),
        ("query-exact", "/?q=11", {}, "two"),
        ("query-prefix", "/?q=ab", {}, "one"),
        ("query-prefix", "/?q=ba", {}, "two"),
        ("query-regex", "/?p=x&q=12", {}, "one"),
        ("query-regex", "/?q=12x", {}, "two"),
        ("query-present", "/?q", {}, "one"),
        ("query-present", "/?p=q", {}, "two"),
        ("all-of", "/a", {"headers": {"x-a": "b"}}, "one"),
        ("all-of", "/a", {}, "two"),
    ],
)
async def test_match(site: Site, name: str, path: str, how: dict[str, object], server: str) -> None:
    assert (await site.get(name, path, **how)).echo.server == server


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/all", 307, "https://other.test:8443/r"),
        ("/elided", 301, "https://other.test/elided"),
        ("/derived", 301, "https://other.test:80/derived"),
        ("/prefix/x?q=1", 301, "http://redirect.test/new/x?q=1"),
        ("/nothing", 404, ""),
    ],
)
async def test_redirect(site: Site, path: str, status: int, location: str) -> None:
    reply = await site.get("redirect", path)
    assert (reply.status, reply.header("location")) == (status, location)


@pytest.mark.parametrize(
    ("path", "status", "body"), [("/text", 418, b"tea"), ("/bytes", 200, b"\0\1"), ("/", 404, b"")]
)
async def test_direct_response(site: Site, path: str, status: int, body: bytes) -> None:
    reply = await site.get("direct", path)
    assert (reply.status, reply.body) == (status, body)
    assert reply.header("x-said") == ("yes" if path == "/text" else "")


async def test_weights_and_headers_of_a_destination(site: Site) -> None:
    echoes = [(await site.get("weights")).echo for _ in range(40)]
    by_server = {each.server: each.header("x-by") for each in echoes}
    assert by_server == {"one": "route", "two": "weight"}


async def test_missing_cluster_is_unavailable(site: Site) -> None:
    assert (await site.get("missing")).status == 503


@pytest.mark.parametrize(
    ("path", "seen", "authority"),
    [
        ("/old/a?q=1", "/new/a?q=1", "rewritten.test"),
        ("/exact?q=1", "/e\\1xact?q=1", "rewrite.test"),
        ("/x/y/z?q=1", "/all?q=1", "rewrite.test"),
        ("/u/a/b/c", "/b/a/c", "rewrite.test"),
        ("/other", "/other", "rewrite.test"),
    ],
)
async def test_rewrite(site: Site, path: str, seen: str, authority: str) -> None:
    echo = (await site.get("rewrite", path)).echo
    assert (echo.path, echo.header("host")) == (seen, authority)


@pytest.mark.parametrize(
    ("headers", "status", "grpc_status"),
    [
        pytest.param({}, 504, "", id="http"),
        pytest.param({"grpc-timeout": "60S"}, 504, "", id="http-that-says-grpc-timeout"),
        pytest.param({"content-type": "application/grpc"}, 200, "14", id="grpc"),
        pytest.param(
            {"content-type": "application/grpc", "grpc-timeout": "60S"}, 200, "14", id="grpc-longer"
        ),
        pytest.param(
            {"content-type": "application/grpc", "grpc-timeout": "1m"}, 200, "14", id="grpc-shorter"
        ),
    ],
)
async def test_timeout_ends_a_request(
    site: Site, headers: dict[str, str], status: int, grpc_status: str
) -> None:
    """Checklist 15: the timeout of the rule counts, whatever the caller says."""
    begun = time.monotonic()
    reply = await site.get("timeout", "/hang/short", method="POST", headers=headers)
    assert (reply.status, reply.header("grpc-status")) == (status, grpc_status)
    assert 0.25 < time.monotonic() - begun < 10


async def test_grpc_timeout_counts_without_a_timeout(site: Site) -> None:
    headers = {"content-type": "application/grpc", "grpc-timeout": "200m"}
    begun = time.monotonic()
    reply = await site.get("timeout", "/hang/long", method="POST", headers=headers)
    assert reply.header("grpc-status") == "4"
    assert time.monotonic() - begun < 10


async def test_no_timeout_waits_longer_than_envoy_would_by_default(site: Site) -> None:
    """Checklist 15: a response may take its time. Envoy's own limit is 15 s."""
    site.one.delays["/slow"] = 15.5
    reply = await site.get("timeout", "/slow", seconds=30)
    assert (reply.status, reply.echo.server) == (200, "one")


async def test_refused_connections_are_retried_elsewhere(site: Site) -> None:
    assert {(await site.get("retries", "/")).status for _ in range(6)} == {200}


async def test_without_attempts_a_refused_connection_fails(site: Site) -> None:
    statuses = [(await site.get("retries", "/off")).status for _ in range(6)]
    assert set(statuses) == {200, 503}


async def test_listed_status_codes_are_retried(site: Site) -> None:
    before = len(site.one.seen)
    site.one.statuses[:] = [503, 503]
    assert (await site.get("retries", "/codes")).status == 200
    assert len(site.one.seen) - before == 3


async def test_other_status_codes_are_not_retried(site: Site) -> None:
    site.one.statuses[:] = [503, 200]
    assert (await site.get("retries", "/once")).status == 503
    site.one.statuses.clear()


async def test_per_try_timeout(site: Site) -> None:
    before = len(site.one.seen)
    assert (await site.get("retries", "/hang/try")).status == 504
    assert len(site.one.seen) - before == 2


async def test_attempts_are_counted_in_a_header(site: Site) -> None:
    assert (await site.get("retries", "/once")).echo.header("x-envoy-attempt-count") == "1"


@pytest.mark.parametrize(
    ("path", "status", "least_seconds"),
    [("/abort", 555, 0), ("/delay", 200, 0.4), ("/never", 200, 0), ("/", 200, 0)],
)
async def test_fault(site: Site, path: str, status: int, least_seconds: float) -> None:
    begun = time.monotonic()
    assert (await site.get("fault", path)).status == status
    taken = time.monotonic() - begun
    # Envoy counts from the time that its event loop last looked at the clock.
    assert 0.9 * least_seconds <= taken < least_seconds + 10


async def test_grpc_abort(site: Site) -> None:
    reply = await site.get("fault", "/grpc", headers={"content-type": "application/grpc"})
    assert reply.header("grpc-status") == "5"


@pytest.mark.parametrize(("path", "copies"), [("/old", 1), ("/many", 2)])
async def test_mirror(site: Site, path: str, copies: int) -> None:
    before = len(site.copies.seen)
    assert (await site.get("mirror", path)).echo.server == "one"
    seen = (await site.copies.wait_for(before + copies))[before:]
    assert [(each.path, each.header("host")) for each in seen] == [(path, "mirror.test")] * copies


async def test_no_mirror_at_zero_percent(site: Site) -> None:
    before = len(site.copies.seen)
    await site.get("mirror", "/none")
    await site.get("mirror", "/old")
    assert [each.path for each in (await site.copies.wait_for(before + 1))[before:]] == ["/old"]


def preflight(origin: str) -> dict[str, object]:
    return {
        "method": "OPTIONS",
        "headers": {"origin": origin, "access-control-request-method": "PUT"},
    }


async def test_cors_preflight(site: Site) -> None:
    reply = await site.get("cors", "/", **preflight("https://good.test"))
    assert reply.status == 200
    assert reply.header("access-control-allow-origin") == "https://good.test"
    assert reply.header("access-control-allow-methods") == "GET,PUT"
    assert reply.header("access-control-allow-headers") == "x-a,x-b"
    assert reply.header("access-control-max-age") == "3600"
    assert reply.header("access-control-allow-credentials") == "true"
    assert not reply.header("x-upstream")


async def test_cors_simple_request(site: Site) -> None:
    reply = await site.get("cors", "/", headers={"origin": "https://good.test"})
    assert reply.header("access-control-expose-headers") == "x-c"
    assert reply.header("x-upstream") == "one"


@pytest.mark.parametrize(
    ("path", "origin", "forwarded"),
    [
        ("/", "https://bad.test", False),
        ("/forward", "https://bad.test", True),
        ("/any", "https://bad.test", False),
    ],
)
async def test_cors_unmatched_preflight(
    site: Site, path: str, origin: str, forwarded: bool
) -> None:
    reply = await site.get("cors", path, **preflight(origin))
    assert (reply.header("x-upstream") == "one") is forwarded
    allowed = reply.header("access-control-allow-origin")
    assert allowed == ("https://bad.test" if path == "/any" else "")


async def test_header_operations(site: Site) -> None:
    reply = await site.get("headers", "/ops", headers={"x-gone": "1", "x-add": "one"})
    echo: Echo = reply.echo
    assert echo.headers["x-set"] == ["destination"]
    assert echo.headers["x-path"] == ["/ops"]
    assert echo.header("x-add") == "one,more"
    assert echo.header("x-gone") == ""
    assert (echo.header("host"), echo.method) == ("host.test", "GET")
    assert (reply.header("x-reply"), reply.header("x-upstream")) == ("yes", "")
    untouched = await site.get("headers", "/", headers={"x-gone": "1"})
    assert untouched.echo.header("x-gone") == "1"
    assert untouched.header("x-upstream") == "one"


async def test_consistent_hash(site: Site) -> None:
    async def servers(users: Sequence[str]) -> set[str]:
        return {(await site.get("hash", headers={"x-user": user})).echo.server for user in users}

    assert len(await servers(["ada"] * 10)) == 1
    assert await servers([f"user-{n}" for n in range(40)]) == {"one", "two"}


async def test_nothing_matches(site: Site) -> None:
    assert (await site.get("unpaired", "/a")).status == 200
    assert (await site.get("unpaired", "/b")).status == 404
