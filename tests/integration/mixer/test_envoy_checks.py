"""Checks of a real Envoy through the check cache and ext_authz (mixer.md L 49, 51).

The tests share one Envoy: verdicts are told apart by the header ``x-case``.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise

import grpc.aio
import pytest
import pytest_asyncio
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.listener.v3.listener_components_pb2 import ListenerFilter
from envoy.config.route.v3.route_components_pb2 import Route
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from istio.mixer.v1.config.client.api_spec_pb2 import HTTPAPISpec, HTTPAPISpecBinding
from mast.mixer.api import ext_authz
from mast.mixer.core import api_specs, status_codes
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.engine import (
    CheckVerdict,
    Condition,
    HeaderOperation,
    Operation,
    Reference,
    RouteDirective,
    Status,
)
from mast.mixer.core.values import Timestamp
from mast.pilot.core.filters.extensions import Direction, Spot
from mast.pilot.core.mixer.calls import MARKS
from mast.pilot.core.mixer.filters import MixerExtensions, check_cache
from mast.pilot.core.model.proxy import ProxyType
from mast.pilot.core.packing import packed
from tests.integration.mixer.bench import CASE, DENIAL, Bench, by_case, clock, running
from tests.support.etcd_server import free_port
from tests.support.messages import made
from tests.support.mixer_mesh import (
    MIXER_PORT,
    POLICY,
    Pods,
    ScriptedEngine,
    Stand,
    admit_all,
    allow,
    mesh,
    mixer,
    spot,
)
from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESPONSE = "x-list: a\r\nx-powered-by: php\r\nx-answer: 0\r\n"
API = "patterns: [{attributes: {attributes: {api.operation: {string_value: getPet}}}, uri_template: '/pets/{id}'}]"  # noqa: E501
BOUND = "{services: [{name: ratings}], api_specs: [{name: s}]}"
ROUTES = (
    "match: {prefix: /moved}\ndirect_response: {status: 418}",
    "match: {prefix: /, headers: [{name: x-to, string_match: {exact: teapot}}]}\n"
    "direct_response: {status: 418}",
    'match: {prefix: /no-cluster}\nroute: {cluster_header: ":method"}',
)
PATH = Reference("request.path", None, Condition.EXACT)


class Broken(MixerExtensions):
    """With a check cache that fails."""

    def checks(self, spot: Spot) -> Sequence[HttpFilter]:
        source = check_cache().replace("local now = handle:timestamp()", "local now = nil + 1")
        config = packed(Lua(default_source_code=DataSource(inline_string=source)))
        return [HttpFilter(name=MARKS, typed_config=config), *super().checks(spot)[1:]]


@dataclass
class Shared(Bench):
    """The Envoy of all tests, and what Mixer says by case."""

    verdicts: dict[str, CheckVerdict] = field(default_factory=dict)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    verdicts: dict[str, CheckVerdict] = {}
    client = ClientConfig().with_object(api_specs.SPECS, ("default", "s"), made(HTTPAPISpec, API))
    bound = made(HTTPAPISpecBinding, BOUND)
    client = client.with_object(api_specs.BINDINGS, ("default", "b"), bound)
    routes = [made(Route, each) for each in ROUTES]
    balanced = ListenerFilter(name="proxy", typed_config=packed(ProxyProtocol()))
    gateway = spot(Direction.OUTBOUND, ProxyType.ROUTER)
    usual = MixerExtensions(mesh())
    stands = [
        Stand(extensions=usual, where=spot(), routes=routes),
        Stand(extensions=usual, where=gateway, name="edge", listener_filters=[balanced]),
        Stand(extensions=Broken(usual.mesh), where=spot(), name="broken"),
    ]
    async with running(
        tmp_path_factory.mktemp("envoy"),
        ScriptedEngine(by_case(verdicts)),
        client=client,
        response=RESPONSE,
        stands=stands,
    ) as made_now:
        yield Shared(**vars(made_now), verdicts=verdicts)


async def test_verdicts_are_answered_from_the_cache_by_what_they_depend_on(bench: Shared) -> None:
    """One check for equal requests, whether they may pass or not (C6, C7; L 51)."""
    bench.verdicts.update(alice=allow(), mallory=DENIAL)
    for case in ("alice", "mallory"):
        answers = [await bench.get(f"/{number}", x_case=case) for number in range(5)]
        assert len(bench.checked(case)) == 1
        assert [status for status, *_ in answers] == [200 if case == "alice" else 403] * 5
    body = "PERMISSION_DENIED:denyreviewsv3handler.default:Not allowed"
    for status, text, headers in answers:
        assert (status, text) == (403, body)
        assert headers["content-type"] == "text/plain"
        assert headers["content-length"] == str(len(body))
        assert headers.keys() == answers[0][2].keys()


async def test_grpc_denials_are_alike_on_hits_and_misses(bench: Shared) -> None:
    """As gRPC statuses, by both filters (A37)."""
    bench.verdicts["grpc"] = DENIAL
    answers = [await bench.get(content_type="application/grpc", x_case="grpc") for _ in range(2)]
    assert len(bench.checked("grpc")) == 1
    for status, body, headers in answers:
        assert (status, body, headers["grpc-status"]) == (200, "", "7")
        expected = "PERMISSION_DENIED:denyreviewsv3handler.default:Not allowed"
        assert headers["grpc-message"] == expected


@pytest.mark.parametrize("code", range(1, 18))
async def test_a_status_is_the_same_on_hits_and_misses(bench: Shared, code: int) -> None:
    """HTTP status and body of every gRPC code; UNAVAILABLE is asked for again (A36, A37, C6)."""
    case = f"code-{code}"
    bench.verdicts[case] = replace(DENIAL, status=Status(code, "h.n:no"))
    answers = [(await bench.get(x_case=case))[:2] for _ in range(2)]
    expected = (status_codes.http_status(code), f"{status_codes.name(code)}:h.n:no")
    assert answers == [expected] * 2
    assert len(bench.checked(case)) == (2 if code == status_codes.UNAVAILABLE else 1)


async def test_attributes_of_apis_are_cached_by_what_they_come_from(bench: Shared) -> None:
    """Mixer evaluates HTTPAPISpecs, the cache what they look at (C18)."""
    references = (
        Reference("api.operation", None, Condition.EXACT),
        Reference("request.api_key", None, Condition.ABSENCE),
    )
    bench.verdicts["api"] = allow(referenced=references)
    for path in ("/pets/1", "/pets/1", "/pets/2"):
        await bench.get(path, x_case="api")
    await bench.get("/pets/1", x_case="api", x_api_key="k")
    found = [(each["request.path"], each.get("request.api_key")) for each in bench.checked("api")]
    assert found == [("/pets/1", None), ("/pets/2", None), ("/pets/1", "k")]
    assert {each["api.operation"] for each in bench.checked("api")} == {"getPet"}


@pytest.mark.parametrize("verdict", [allow(), DENIAL], ids=["allow", "deny"])
async def test_validity_and_use_count_are_honoured(bench: Shared, verdict: CheckVerdict) -> None:
    """Those of successes and of denials alike (C4, C6; L 51)."""
    uses, time = f"uses-{verdict.status.code}", f"time-{verdict.status.code}"
    bench.verdicts[uses] = replace(verdict, valid_use_count=2)
    short = timedelta(seconds=0.3)  # in which a quick machine asks more than a thousand times
    bench.verdicts[time] = replace(verdict, valid_duration=short, valid_use_count=1 << 30)
    for _ in range(6):
        await bench.get(x_case=uses)
    assert len(bench.checked(uses)) == 2, "one miss, two hits, and again"
    async with asyncio.timeout(20):
        while len(bench.checked(time)) < 3:
            await bench.get(x_case=time)
    moments = [each["request.time"] for each in bench.checked(time)]
    times = [each.ns for each in moments if isinstance(each, Timestamp)]
    assert all(b - a > 290_000_000 for a, b in pairwise(times))


OPERATIONS = RouteDirective(
    request_operations=(
        HeaderOperation("x-set", "first"),
        HeaderOperation("x-set", "second", Operation.APPEND),
        HeaderOperation("x-more", "2", Operation.APPEND),
        HeaderOperation("x-new", "1", Operation.APPEND),
        HeaderOperation("x-gone", "", Operation.REMOVE),
        HeaderOperation("x-back", "", Operation.REMOVE),
        HeaderOperation("x-back", "1", Operation.APPEND),
        HeaderOperation("host", "", Operation.REMOVE),
        HeaderOperation(":path", "/rewritten"),
    ),
    response_operations=(
        HeaderOperation("x-answer", "1"),
        HeaderOperation("x-list", "b", Operation.APPEND),
        HeaderOperation("x-powered-by", "", Operation.REMOVE),
    ),
)


async def test_header_operations_are_the_same_on_hits_and_misses(bench: Shared) -> None:
    """Replaced, appended, removed, in requests and responses (A38, K1, K4)."""
    bench.verdicts["operations"] = allow(directive=OPERATIONS)
    before = len(bench.app.requests)
    sent = {CASE: "operations", "x-set": "0", "x-more": "1", "x-gone": "1", "x-back": "0"}
    for _ in range(2):
        async with bench.client.get(bench.url, headers=sent) as answer:
            assert answer.headers.getall("x-list") == ["a", "b"]
            assert answer.headers.getall("x-answer") == ["1"]
            assert "x-powered-by" not in answer.headers
    assert len(bench.checked("operations")) == 1
    names = ("x-set", "x-more", "x-new", "x-gone", "x-back")
    seen = [{name: each.get(name) for name in names} for each in bench.app.requests[before:]]
    expected = {
        "x-set": "first,second",
        "x-more": "1,2",
        "x-new": "1",
        "x-gone": None,
        "x-back": "1",
    }
    assert seen == [expected, expected]
    assert all(each["host"] for each in bench.app.requests), "Host can be set, not removed"


@pytest.mark.parametrize(
    "operation",
    [HeaderOperation(":path", "/moved"), HeaderOperation("x-to", "teapot")],
    ids=["path", "header"],
)
async def test_a_changed_request_is_routed_anew(bench: Shared, operation: HeaderOperation) -> None:
    """On hits and misses (A38)."""
    case = f"route-{operation.name}"
    bench.verdicts[case] = allow(directive=RouteDirective((operation,)))
    assert [(await bench.get(x_case=case))[0] for _ in range(2)] == [418, 418]
    assert len(bench.checked(case)) == 1


@pytest.mark.parametrize("code", [200, 302])
async def test_direct_responses_are_the_same_on_hits_and_misses(bench: Shared, code: int) -> None:
    """Code, body and headers of their own, also of success; each cookie stands alone (A37, K1)."""
    case = f"direct-{code}"
    directive = RouteDirective(
        response_operations=(
            HeaderOperation("location", "/login"),
            HeaderOperation("set-cookie", "a=1", Operation.APPEND),
            HeaderOperation("set-cookie", "b=2", Operation.APPEND),
        ),
        direct_response_code=code,
        direct_response_body="go",
    )
    bench.verdicts[case] = allow(directive=directive)
    before = len(bench.app.requests)
    answers = []
    for _ in range(2):
        async with bench.client.get(
            bench.url, headers={CASE: case}, allow_redirects=False
        ) as answer:
            cookies = answer.headers.getall("set-cookie")
            answers.append(
                (answer.status, await answer.text(), answer.headers["location"], cookies)
            )
    assert answers == [(code, "go", "/login", ["a=1", "b=2"])] * 2
    assert len(bench.checked(case)) == 1
    assert len(bench.app.requests) == before


@pytest.mark.parametrize(("path", "status"), [("/moved", 418), ("/no-cluster", 503)])
async def test_verdicts_on_what_envoy_answers_itself_are_kept(
    bench: Shared, path: str, status: int
) -> None:
    """The script hears of every answer, wherever it comes from (K5)."""
    bench.verdicts[path] = allow(referenced=(PATH,))
    assert [(await bench.get(path, x_case=path))[0] for _ in range(3)] == [status] * 3
    assert len(bench.checked(path)) == 1


async def test_what_has_no_route_is_not_checked(bench: Shared) -> None:
    """Differs from Istio: Envoy answers 404 by itself (K1)."""
    before = len(bench.engine.checked)
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.envoy.ports["http"])
        writer.write(b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"404"
        writer.close()
    assert len(bench.engine.checked) == before


async def test_an_error_in_the_cache_leads_to_a_check(bench: Shared) -> None:
    """Never past it: what is not marked as a hit is checked (K4)."""
    bench.verdicts["error"] = DENIAL
    statuses = [(await bench.get(listener="http-broken", x_case="error"))[0] for _ in range(3)]
    assert statuses == [403] * 3
    assert len(bench.checked("error")) == 3


async def test_each_listener_has_a_cache_of_its_own(bench: Shared) -> None:
    """State is per filter configuration (K4)."""
    bench.verdicts["listeners"] = allow()
    before = len(bench.engine.checked)
    for _ in range(2):
        await bench.get(x_case="listeners")
        await from_balancer(bench, "192.0.2.1", "listeners")
    kinds = [each["context.reporter.kind"] for each in bench.engine.checked[before:]]
    assert kinds == ["inbound", "outbound"]


async def from_balancer(bench: Shared, client: str, case: str) -> int:
    """The status that a client of a load balancer gets from the gateway."""
    port = bench.envoy.ports["http-edge"]
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"PROXY TCP4 {client} 10.0.0.2 40000 80\r\nGET / HTTP/1.1\r\nhost: a\r\n"
        writer.write(f"{head}{CASE}: {case}\r\n\r\n".encode())
        status = int((await reader.readline()).split()[1])
        writer.close()
    return status


async def test_a_load_balancer_tells_who_calls(bench: Shared) -> None:
    """With PROXY protocol ext_authz and script see different addresses: no verdict is borrowed.

    A correction of K, row origin.ip: ``downstreamDirectRemoteAddress`` is the balancer's.
    """
    origin = Reference("origin.ip", None, Condition.EXACT)
    bench.verdicts["edge"] = allow(referenced=(origin,))
    for client in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        assert await from_balancer(bench, client, "edge") == 200
    told = [each["origin.ip"] for each in bench.checked("edge")]
    assert told == [b"\xc0\0\2\1", b"\xc0\0\2\2"]


async def test_envoy_counts_what_became_of_requests(bench: Shared) -> None:
    """Remote accepts and denies, and what the cache let pass: ``disabled`` (C15).

    Requests that the cache denied never get as far as the check.
    """
    bench.verdicts.update({"count-ok": allow(), "count-no": DENIAL})
    names = [f"http.http.ext_authz.{name}" for name in ("ok", "denied", "disabled")]

    async def counted() -> list[int]:
        return [await bench.envoy.stat(name) for name in names]

    before = await counted()
    for case in ("count-ok", "count-no") * 3:
        await bench.get(x_case=case)
    expected = [each + more for each, more in zip(before, (1, 1, 2), strict=True)]

    async def told() -> bool:
        return await counted() == expected

    await until(told)


@pytest.mark.parametrize(("verdict", "line"), [(DENIAL, b""), (allow(), b"HTTP/1.1 200 OK\r\n")])
async def test_connections_are_checked_when_data_arrives(
    bench: Shared, verdict: CheckVerdict, line: bytes
) -> None:
    """A denial closes them (A37, K3)."""
    bench.verdicts[""] = verdict
    before = len(bench.engine.checked)
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.envoy.ports["tcp"])
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = b""
        with suppress(ConnectionResetError):
            answer = await reader.readline()
        writer.close()
    assert answer == line
    (found,) = bench.engine.checked[before:]
    assert found["context.time"] == Timestamp.of(clock())
    assert found["context.protocol"] == "tcp"


async def test_requests_wait_for_a_mixer_that_restarts(tmp_path) -> None:
    """Checks are repeated while it is gone (A39, C12, K2)."""
    engine = ScriptedEngine()

    def register(server: grpc.aio.Server) -> None:
        ext_authz.register(server, engine, Pods(), ClientConfig, admit_all(), clock)

    port = free_port()
    attempts = f"cluster.outbound|{MIXER_PORT}||{POLICY}.upstream_cx_connect_fail"
    async with running(tmp_path, ScriptedEngine(), mixer_port=port) as bench:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(bench.get())
            async with asyncio.timeout(30):
                while await bench.envoy.stat(attempts) < 6:
                    assert not waiting.done()
            async with mixer(register, port):
                assert (await waiting)[0] == 200
    assert len(engine.checked) == 1
