"""The evaluator against Envoy itself: generated routes and chains, generated traffic."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import (
    HeaderMatcher,
    QueryParameterMatcher,
    RedirectAction,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.direct_response.v3.config_pb2 import Config as DirectResponse
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mast.cli.explain import routing
from mast.cli.explain.chains import filter_chain
from mast.cli.explain.paths import Refused, normalised
from mast.cli.explain.traffic import HTTP_1, RAW, TLS, Connection, Request
from mast.pilot.core.packing import packed
from tests.support.envoy_server import envoy_server
from tests.support.envoy_static import bootstrap, cluster, told_destination
from tests.support.http_probe import EchoServer, dial, echo_server, fetch

CONFIGURATIONS = 12
REQUESTS = 16

# Generation only: shrinking would start an Envoy for every attempt. The first example is the
# simplest one there is.
ONCE = settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

DOMAINS = ("a.test", "b.test:8080", "b.test", "*.test", "*-x.test", "a.*", "*")
HOSTS = (
    "a.test",
    "A.TEST",
    "a.test:80",
    "a.test.:80",
    "b.test:8080",
    "q-x.test",
    "-x.test",
    "a.com",
    "other",
    "a.test.",
)
PATHS = (
    "/",
    "/a",
    "/A",
    "/a/",
    "/a/b",
    "/ab",
    "/b/../a",
    "/a//b",
    "/a%2fb",
    "/%61",
    "/a/.",
    "/%7ea",
    "/b/..;/a",
    "/b/..;x=1/..;y/a",
    "/a/.;/b",
    "/b/%2e%2e;/a",
    "/b\\..;\\a",
    "/b%2f..;/a",
    "/a;x/b",
    "/a/%00",
)
QUERIES = ("", "", "?q=1", "?q", "?q=12&q=1", "?p=1&q=%31", "?x=q=1")
VALUES = ("1", "12", "-5", "a,b", "")

texts = st.sampled_from(["1", "12", "a", "b", "-5", "a,b"])
string_matchers = st.one_of(
    st.builds(lambda v, i: StringMatcher(exact=v, ignore_case=i), texts, st.booleans()),
    st.builds(lambda v: StringMatcher(prefix=v), texts),
    st.builds(lambda v: StringMatcher(suffix=v), texts),
    st.builds(lambda v: StringMatcher(contains=v), texts),
    st.builds(
        lambda v: StringMatcher(safe_regex=RegexMatcher(regex=v)),
        st.sampled_from(["1.*", "[0-9]+", "a|b", ".*"]),
    ),
)


@st.composite
def header_matchers(draw: st.DrawFn) -> HeaderMatcher:
    made = HeaderMatcher(
        name=draw(st.sampled_from(["x", "y", ":method", ":authority"])),
        invert_match=draw(st.booleans()),
    )
    kind = draw(st.sampled_from(["present", "string", "range"]))
    if kind == "present":
        made.present_match = draw(st.booleans())
    elif kind == "string":
        made.string_match.CopyFrom(draw(string_matchers))
        made.treat_missing_header_as_empty = draw(st.booleans())
    else:
        made.range_match.start, made.range_match.end = -10, 10
    return made


@st.composite
def query_matchers(draw: st.DrawFn) -> QueryParameterMatcher:
    made = QueryParameterMatcher(name=draw(st.sampled_from(["q", "p"])))
    if draw(st.booleans()):
        made.present_match = draw(st.booleans())
    else:
        made.string_match.CopyFrom(draw(string_matchers))
    return made


@st.composite
def route_matches(draw: st.DrawFn) -> RouteMatch:
    made = RouteMatch(
        headers=draw(st.lists(header_matchers(), max_size=1)),
        query_parameters=draw(st.lists(query_matchers(), max_size=1)),
    )
    kind = draw(st.sampled_from(["prefix", "path", "path_separated_prefix", "safe_regex"]))
    if kind == "safe_regex":
        made.safe_regex.regex = draw(st.sampled_from(["/a.*", "/[ab]+", ".*", "/a/b"]))
    else:
        choices = ["/a", "/A", "/a/b"] + (["/"] if kind != "path_separated_prefix" else [])
        setattr(made, kind, draw(st.sampled_from(choices)))
    if draw(st.integers(0, 3)) == 0:
        made.case_sensitive.value = False
    if draw(st.integers(0, 9)) == 0:
        made.grpc.SetInParent()
    return made


@st.composite
def redirects(draw: st.DrawFn) -> RedirectAction:
    made = RedirectAction(
        response_code=draw(st.sampled_from([0, 1, 2, 3, 4])),
        strip_query=draw(st.booleans()),
        host_redirect=draw(st.sampled_from(["", "new.test"])),
        port_redirect=draw(st.sampled_from([0, 81])),
    )
    match draw(st.integers(0, 3)):
        case 0:
            made.https_redirect = True
        case 1:
            made.scheme_redirect = "https"
    match draw(st.integers(0, 2)):
        case 0:
            made.path_redirect = draw(st.sampled_from(["/new", "/new?z=1"]))
        case 1:
            made.prefix_rewrite = "/p"
    return made


@st.composite
def routes(draw: st.DrawFn, number: int) -> Route:
    made = Route(name=f"r{number}", match=draw(route_matches()))
    match draw(st.sampled_from(["answer", "redirect", "cluster", "weighted"])):
        case "answer":
            made.direct_response.status = 400 + number
        case "redirect":
            made.redirect.CopyFrom(draw(redirects()))
        case "cluster":
            made.route.cluster = draw(st.sampled_from(["c0", "c1"]))
            _rewrite(made.route, draw(st.integers(0, 3)))
        case _:
            for name, weight in (("c0", 1), ("c1", draw(st.sampled_from([0, 1])))):
                made.route.weighted_clusters.clusters.add(name=name).weight.value = weight
    return made


def _rewrite(action: RouteAction, kind: int) -> None:
    if kind == 0:
        action.prefix_rewrite = "/new"
    elif kind == 1:
        action.regex_rewrite.pattern.regex = "a"
        action.regex_rewrite.substitution = "z"
    elif kind == 2:
        action.host_rewrite_literal = "rewritten.test"


@st.composite
def managers(draw: st.DrawFn) -> HttpConnectionManager:
    """A connection manager with routes of its own."""
    made = HttpConnectionManager(stat_prefix="t")
    made.normalize_path.value = draw(st.booleans())
    made.merge_slashes = draw(st.booleans())
    made.path_with_escaped_slashes_action = draw(st.sampled_from([0, 1, 2, 3, 4]))
    made.strip_any_host_port = draw(st.booleans())
    made.strip_trailing_host_dot = draw(st.booleans())
    made.http_filters.add(name="envoy.filters.http.router", typed_config=packed(Router()))
    config = made.route_config
    config.ignore_port_in_host_matching = draw(st.booleans())
    _add_route_name(config)
    domains = draw(st.lists(st.sampled_from(DOMAINS), unique=True, min_size=1, max_size=4))
    if "*" not in domains and draw(st.booleans()):
        domains.append("*")
    for number, domain in enumerate(domains):
        count = draw(st.integers(1, 4))
        host = VirtualHost(
            name=f"h{number}",
            domains=[domain],
            routes=[draw(routes(number * 10 + each)) for each in range(count)],
        )
        if draw(st.integers(0, 9)) == 0:
            host.require_tls = VirtualHost.ALL
        config.virtual_hosts.append(host)
    return made


def _add_route_name(config: RouteConfiguration) -> None:
    header = config.response_headers_to_add.add().header
    header.key, header.value = "x-route", "%ROUTE_NAME%"


@st.composite
def requests(draw: st.DrawFn) -> Request:
    headers = [(n, draw(st.sampled_from(VALUES))) for n in ("x", "y") if draw(st.booleans())]
    if draw(st.integers(0, 5)) == 0:
        headers.append(("content-type", "application/grpc"))
    return Request(
        authority=draw(st.sampled_from(HOSTS)),
        path=draw(st.sampled_from(PATHS)) + draw(st.sampled_from(QUERIES)),
        method=draw(st.sampled_from(["GET", "POST"])),
        headers=headers,
    )


@dataclass(frozen=True)
class Answer:
    """What a caller can see of a decision; ``upstream`` saw the request as ``sent``."""

    status: int
    route: str = ""
    location: str = ""
    upstreams: tuple[str, ...] = ()
    sent: tuple[str, str] = ("", "")

    def covers(self, found: Answer) -> bool:
        """Whether another one is what this one promises: one of its clusters answered."""
        one = not self.upstreams or found.upstreams[0] in self.upstreams
        same = (self.status, self.route, self.location, self.sent)
        return one and same == (found.status, found.route, found.location, found.sent)


def foretold(manager: HttpConnectionManager, request: Request) -> Answer:
    """What is expected; Envoy's own answers to gRPC calls have status 200 and a grpc-status."""
    found = expected(manager, request)
    return replace(found, status=200) if request.grpc and not found.upstreams else found


def expected(manager: HttpConnectionManager, request: Request) -> Answer:
    try:
        request = normalised(manager, request)
    except Refused as refused:
        return Answer(refused.status, location=refused.location)
    request = routing.stripped_authority(manager, request, 80)
    host = routing.virtual_host(manager.route_config, request.authority)
    if host is None:
        return Answer(404)
    if (location := routing.redirect_for_tls(host, request)) is not None:
        return Answer(301, location=location)
    chosen = routing.chosen_route(host, request)
    if not isinstance(chosen, routing.Chosen):
        return Answer(404)
    route = chosen.route
    if route.HasField("direct_response"):
        return Answer(route.direct_response.status, route.name)
    if route.HasField("redirect"):
        status, location = routing.redirected(route, request)
        return Answer(status, route.name, location)
    clusters = tuple(each.cluster for each in routing.shares(route, request) if each.percent)
    sent = routing.forwarded(route, request)
    return Answer(200, route.name, "", clusters, (sent.authority, sent.path))


async def answered(port: int, request: Request) -> Answer:
    reply = await fetch(
        port, request.authority, request.path, method=request.method, headers=dict(request.headers)
    )
    upstream = reply.header("x-upstream")
    sent = (reply.echo.header("host"), reply.echo.path) if upstream else ("", "")
    found = (upstream,) if upstream else ()
    return Answer(reply.status, reply.header("x-route"), reply.header("location"), found, sent)


@dataclass(frozen=True, repr=False)
class Batch:
    """Configurations and the traffic for each: an Envoy takes all of them at once."""

    configurations: Sequence[Any]
    traffic: Sequence[Sequence[Any]]


@st.composite
def batches(
    draw: st.DrawFn, configuration: st.SearchStrategy[Any], traffic: st.SearchStrategy[Any]
) -> Batch:
    several = st.lists(traffic, min_size=REQUESTS, max_size=REQUESTS)
    return Batch(
        [draw(configuration) for _ in range(CONFIGURATIONS)],
        [draw(several) for _ in range(CONFIGURATIONS)],
    )


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@ONCE
@given(batches(managers(), requests()))
def test_requests_take_the_route_that_is_foretold(batch: Batch) -> None:
    asyncio.run(compare_routes(batch.configurations, batch.traffic))


async def compare_routes(
    made: Sequence[HttpConnectionManager], asked: Sequence[Sequence[Request]]
) -> None:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        echoes: list[EchoServer] = [
            await stack.enter_async_context(echo_server(name)) for name in ("c0", "c1")
        ]
        clusters = [cluster(each.name, each.port) for each in echoes]
        listeners = [http_listener(f"l{n}", manager) for n, manager in enumerate(made)]
        envoy = await stack.enter_async_context(
            envoy_server(bootstrap(listeners, clusters), directory)
        )
        for number, manager in enumerate(made):
            for request in asked[number]:
                found = await answered(envoy.ports[f"l{number}"], request)
                want = foretold(manager, request)
                assert want.covers(found), f"{request}\n{want}\n{found}\n{manager.route_config}"


def http_listener(name: str, manager: HttpConnectionManager) -> Listener:
    made = Listener(name=name)
    made.address.socket_address.address = "127.0.0.1"
    made.address.socket_address.port_value = 0
    chain = made.filter_chains.add()
    chain.filters.add(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(manager)
    )
    return made


@st.composite
def chain_matches(draw: st.DrawFn) -> FilterChainMatch:
    made = FilterChainMatch(
        server_names=draw(
            st.lists(st.sampled_from(["a.test", "*.test", "*.x.test"]), unique=True, max_size=1)
        ),
        transport_protocol=draw(st.sampled_from(["", "tls", "raw_buffer"])),
        application_protocols=draw(
            st.lists(st.sampled_from(["h2", "http/1.1", "istio"]), unique=True, max_size=2)
        ),
        source_type=draw(st.sampled_from([0, 0, 1, 2])),
    )
    if draw(st.booleans()):
        made.destination_port.value = draw(st.sampled_from([80, 81]))
    if draw(st.booleans()):
        length = draw(st.sampled_from([8, 16, 32]))
        made.prefix_ranges.add(address_prefix="10.0.0.1").prefix_len.value = length
    if draw(st.integers(0, 3)) == 0:
        made.source_prefix_ranges.add(address_prefix="192.0.2.0").prefix_len.value = 24
    return made


@st.composite
def chain_listeners(draw: st.DrawFn) -> Listener:
    """A listener whose chains answer with their names; no two of them match the same."""
    made = Listener(name="l")
    matches = draw(st.lists(chain_matches(), min_size=2, max_size=6))
    taken: set[tuple[object, ...]] = set()
    for number, match in enumerate(matches):
        signatures = {
            (
                match.destination_port.value,
                str(match.prefix_ranges),
                name,
                match.transport_protocol,
                protocol,
                match.source_type,
                str(match.source_prefix_ranges),
            )
            for name in match.server_names or [""]
            for protocol in match.application_protocols or [""]
        }
        if taken.isdisjoint(signatures):
            taken |= signatures
            made.filter_chains.append(_named_chain(f"chain-{number}", match))
    if draw(st.booleans()):
        made.default_filter_chain.CopyFrom(_named_chain("default", None))
    for inspector in (TlsInspector(), HttpInspector()):
        made.listener_filters.add(
            name=f"envoy.filters.listener.{_short(inspector)}", typed_config=packed(inspector)
        )
    return made


def _short(inspector: TlsInspector | HttpInspector) -> str:
    return "tls_inspector" if isinstance(inspector, TlsInspector) else "http_inspector"


def _named_chain(name: str, match: FilterChainMatch | None) -> FilterChain:
    made = FilterChain(name=name, filter_chain_match=match)
    answer = DirectResponse(response=DataSource(inline_string=name))
    made.filters.add(name="envoy.filters.network.direct_response", typed_config=packed(answer))
    return made


connections = st.builds(
    lambda address, port, tls, name, alpns: Connection(
        address=address,
        port=port,
        source_address="192.0.2.1",
        source_port=40000,
        transport=TLS if tls else RAW,
        server_name=name if tls else "",
        alpns=tuple(alpns) if tls else (),
        speaks=HTTP_1,
    ),
    st.sampled_from(["10.0.0.1", "10.0.1.1", "10.1.1.1", "172.16.0.1", "192.0.2.1"]),
    st.sampled_from([80, 81, 82]),
    st.booleans(),
    st.sampled_from(["a.test", "b.test", "b.x.test", "other"]),
    st.lists(st.sampled_from(["h2", "http/1.1", "istio", "odd"]), unique=True, max_size=2),
)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@ONCE
@given(batches(chain_listeners(), connections))
def test_connections_take_the_chain_that_is_foretold(batch: Batch) -> None:
    asyncio.run(compare_chains(batch.configurations, batch.traffic))


async def compare_chains(made: Sequence[Listener], dialled: Sequence[Sequence[Connection]]) -> None:
    told = [told_destination(each) for each in made]
    for number, each in enumerate(told):
        each.name = f"l{number}"
    with TemporaryDirectory() as directory:
        async with envoy_server(bootstrap(told, []), Path(directory)) as envoy:
            for number, listener in enumerate(made):
                for connection in dialled[number]:
                    chain = filter_chain(listener, connection)
                    want = chain.name if chain else ""
                    found = await told_name(envoy.ports[f"l{number}"], connection)
                    assert want == found, f"{connection}\n{listener.filter_chains}"


async def told_name(port: int, connection: Connection) -> str:
    where = f"{connection.address}:{connection.port}"
    async with dial(port, captured_for=where) as (reader, writer):
        payload = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
        if connection.transport == TLS:
            payload = client_hello(connection.server_name, connection.alpns)
        writer.write(payload)
        async with asyncio.timeout(30):
            try:
                return (await reader.read(200)).decode()
            except ConnectionError:
                return ""


def client_hello(name: str, alpns: Sequence[str]) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if alpns:
        context.set_alpn_protocols(list(alpns))
    connection = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs an answer")
