"""Checks of a real Envoy through the check cache and ext_authz (mixer.md L 49 to 52)."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import grpc.aio
import pytest

from istio.mixer.v1.config.client.api_spec_pb2 import (
    HTTPAPISpec,
    HTTPAPISpecBinding,
    HTTPAPISpecPattern,
    HTTPAPISpecReference,
)
from istio.mixer.v1.config.client.service_pb2 import IstioService
from mast.mixer.api import ext_authz
from mast.mixer.core import api_specs
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.engine import (
    CheckFailed,
    CheckVerdict,
    Condition,
    HeaderOperation,
    Operation,
    Reference,
    RouteDirective,
)
from mast.mixer.core.values import Attributes, Timestamp
from mast.pilot.core.mixer import filters as mixer_filters
from tests.integration.mixer.bench import DENIAL, by_user, clock, running
from tests.support.mixer_mesh import (
    MIXER_PORT,
    POLICY,
    Pods,
    ScriptedEngine,
    admit_all,
    allow,
    mixer,
)


async def test_verdicts_are_answered_from_the_cache_by_what_they_depend_on(tmp_path):
    engine = ScriptedEngine(by_user(lambda user: DENIAL if user == "mallory" else allow()))
    async with running(tmp_path, engine) as bench:
        first = [await bench.get(f"/{number}", x_user="alice") for number in range(5)]
        assert [status for status, *_ in first] == [200] * 5
        assert len(engine.checked) == 1

        denials = [await bench.get(f"/{number}", x_user="mallory") for number in range(5)]
        assert len(engine.checked) == 2
        await bench.get()
        await bench.get()
        assert len(engine.checked) == 3

    body = "PERMISSION_DENIED:denyreviewsv3handler.default:Not allowed"
    for status, text, headers in denials:
        assert (status, text) == (403, body)
        assert headers["content-type"] == "text/plain"
        assert headers["content-length"] == str(len(body))
        assert headers.keys() == denials[0][2].keys()


async def test_grpc_denials_are_alike_on_hits_and_misses(tmp_path):
    engine = ScriptedEngine(lambda _: DENIAL)
    async with running(tmp_path, engine) as bench:
        answers = [await bench.get(content_type="application/grpc") for _ in range(2)]
    assert len(engine.checked) == 1
    for status, body, headers in answers:
        assert (status, body, headers["grpc-status"]) == (200, "", "7")
        expected = "PERMISSION_DENIED:denyreviewsv3handler.default:Not allowed"
        assert headers["grpc-message"] == expected


async def test_attributes_of_apis_are_cached_by_what_they_come_from(tmp_path):
    spec = HTTPAPISpec(patterns=[HTTPAPISpecPattern(uri_template="/pets/{id}")])
    spec.patterns[0].attributes.attributes["api.operation"].string_value = "getPet"
    binding = HTTPAPISpecBinding(
        services=[IstioService(name="ratings")], api_specs=[HTTPAPISpecReference(name="s")]
    )
    client = ClientConfig().with_object(api_specs.SPECS, ("default", "s"), spec)
    client = client.with_object(api_specs.BINDINGS, ("default", "b"), binding)
    references = (
        Reference("api.operation", None, Condition.EXACT),
        Reference("request.api_key", None, Condition.ABSENCE),
    )
    engine = ScriptedEngine(lambda _: allow(referenced=references))
    async with running(tmp_path, engine, client=client) as bench:
        for path in ("/pets/1", "/pets/1", "/pets/2"):
            await bench.get(path)
        await bench.get("/pets/1", x_api_key="k")
    found = [(each["request.path"], each.get("request.api_key")) for each in engine.checked]
    assert found == [("/pets/1", None), ("/pets/2", None), ("/pets/1", "k")]
    assert {each["api.operation"] for each in engine.checked} == {"getPet"}


async def test_checks_have_the_attributes_of_an_inbound_request(tmp_path):
    engine = ScriptedEngine()
    async with running(tmp_path, engine) as bench:
        await bench.get(
            "/a?x=1&x=2&y=", x_user="alice", referer="r", x_mast_peer="kubernetes://p.n,"
        )
        port = bench.envoy.ports["http"]
    checked = dict(engine.checked[0])
    headers = checked.pop("request.headers")
    assert isinstance(headers, dict)
    assert headers["x-user"] == "alice"
    assert headers[":authority"] == f"127.0.0.1:{port}"
    assert "x-mast-peer" not in headers
    assert checked.pop("request.time")
    assert checked.pop("request.id") == headers["x-request-id"]
    assert checked == {
        "origin.ip": b"\x7f\0\0\1",
        "connection.mtls": False,
        "context.protocol": "http",
        "context.reporter.kind": "inbound",
        "context.reporter.uid": "kubernetes://ratings-1.default",
        "destination.ip": b"\x7f\0\0\1",
        "destination.namespace": "default",
        "destination.port": port,
        "destination.service.host": "ratings.default.svc.cluster.local",
        "destination.service.name": "ratings",
        "destination.service.namespace": "default",
        "destination.service.uid": "istio://default/services/ratings",
        "destination.uid": "kubernetes://ratings-1.default",
        "request.host": f"127.0.0.1:{port}",
        "request.method": "GET",
        "request.path": "/a?x=1&x=2&y=",
        "request.query_params": {"x": "1", "y": ""},
        "request.referer": "r",
        "request.scheme": "http",
        "request.url_path": "/a",
        "request.useragent": headers["user-agent"],
        "source.namespace": "n",
        "source.uid": "kubernetes://p.n",
    }
    assert "x-mast-peer" not in bench.app.requests[0]


@pytest.mark.parametrize(
    "reference",
    [
        Reference("request.path", None, Condition.EXACT),
        Reference("request.url_path", None, Condition.EXACT),
        Reference("request.query_params", "q", Condition.EXACT),
        Reference("request.method", None, Condition.EXACT),
        Reference("request.host", None, Condition.EXACT),
        Reference("request.scheme", None, Condition.EXACT),
        Reference("request.useragent", None, Condition.EXACT),
        Reference("request.headers", "accept", Condition.EXACT),
        Reference("request.headers", "no-such", Condition.ABSENCE),
        Reference("request.size", None, Condition.ABSENCE),
        Reference("request.auth.principal", None, Condition.ABSENCE),
        Reference("context.protocol", None, Condition.EXACT),
        Reference("context.reporter.uid", None, Condition.EXACT),
        Reference("origin.ip", None, Condition.EXACT),
        Reference("source.ip", None, Condition.EXACT),
        Reference("source.uid", None, Condition.ABSENCE),
        Reference("source.principal", None, Condition.ABSENCE),
        Reference("source.user", None, Condition.ABSENCE),
        Reference("source.namespace", None, Condition.ABSENCE),
        Reference("destination.principal", None, Condition.ABSENCE),
        Reference("destination.ip", None, Condition.EXACT),
        Reference("destination.port", None, Condition.EXACT),
        Reference("destination.uid", None, Condition.EXACT),
        Reference("destination.service.host", None, Condition.EXACT),
        Reference("destination.service.name", None, Condition.EXACT),
        Reference("destination.service.namespace", None, Condition.EXACT),
        Reference("destination.service.uid", None, Condition.EXACT),
        Reference("connection.mtls", None, Condition.EXACT),
        Reference("connection.requested_server_name", None, Condition.ABSENCE),
    ],
    ids=lambda each: f"{each.name}-{each.map_key or ''}",
)
async def test_envoy_reads_what_mixer_refers_to(tmp_path, reference):
    """A name that Envoy and Mixer read differently would never hit."""
    engine = ScriptedEngine(lambda _: allow(referenced=(reference,)))
    cached = not reference.name.startswith("request.auth")
    async with running(tmp_path, engine) as bench:
        for _ in range(3):
            assert (await bench.get("/a?q=1"))[0] == 200
    assert len(engine.checked) == (1 if cached else 3)


async def test_a_verdict_on_the_time_is_not_kept(tmp_path):
    reference = Reference("request.time", None, Condition.EXACT)
    engine = ScriptedEngine(lambda _: allow(referenced=(reference,)))
    async with running(tmp_path, engine) as bench:
        await bench.get()
        await bench.get()
    assert len(engine.checked) == 2


async def test_validity_and_use_count_are_honoured(tmp_path):
    verdicts = {"/uses": allow(uses=2), "/time": allow(seconds=0.3)}
    path = Reference("request.path", None, Condition.EXACT)
    engine = ScriptedEngine(
        lambda each: replace(verdicts[str(each["request.path"])], referenced=(path,))
    )
    async with running(tmp_path, engine) as bench:
        for _ in range(6):
            await bench.get("/uses")
        assert len(engine.checked) == 2, "one miss, two hits, and again"
        engine.checked.clear()
        async with asyncio.timeout(10):
            while len(engine.checked) < 3:
                await bench.get("/time")
        times = [int(each["request.time"].ns) for each in engine.checked]  # type: ignore[union-attr]
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
    ),
    response_operations=(
        HeaderOperation("x-answer", "1"),
        HeaderOperation("x-list", "b", Operation.APPEND),
        HeaderOperation("x-powered-by", "", Operation.REMOVE),
    ),
)


async def test_header_operations_are_the_same_on_hits_and_misses(tmp_path):
    engine = ScriptedEngine(lambda _: allow(directive=OPERATIONS))
    response = "x-list: a\r\nx-powered-by: php\r\nx-answer: 0\r\n"
    async with running(tmp_path, engine, response=response) as bench:
        for _ in range(2):
            async with bench.client.get(
                bench.url, headers={"x-set": "0", "x-more": "1", "x-gone": "1", "x-back": "0"}
            ) as answer:
                assert answer.headers.getall("x-list") == ["a", "b"]
                assert answer.headers.getall("x-answer") == ["1"]
                assert "x-powered-by" not in answer.headers
        assert len(engine.checked) == 1
    names = ("x-set", "x-more", "x-new", "x-gone", "x-back")
    seen = [{name: each.get(name) for name in names} for each in bench.app.requests]
    expected = {
        "x-set": "first,second",
        "x-more": "1,2",
        "x-new": "1",
        "x-gone": None,
        "x-back": "1",
    }
    assert seen == [expected, expected]


async def test_direct_responses_are_the_same_on_hits_and_misses(tmp_path):
    directive = RouteDirective(
        response_operations=(
            HeaderOperation("location", "/login"),
            HeaderOperation("set-cookie", "a=1", Operation.APPEND),
            HeaderOperation("set-cookie", "b=2", Operation.APPEND),
        ),
        direct_response_code=302,
        direct_response_body="go",
    )
    engine = ScriptedEngine(lambda _: allow(directive=directive))
    async with running(tmp_path, engine) as bench:
        answers = []
        for _ in range(2):
            async with bench.client.get(bench.url, allow_redirects=False) as answer:
                cookies = answer.headers.getall("set-cookie")
                answers.append(
                    (answer.status, await answer.text(), answer.headers["location"], cookies)
                )
        assert answers == [(302, "go", "/login", ["a=1", "b=2"])] * 2
        assert len(engine.checked) == 1
        assert not bench.app.requests


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        pytest.param({}, 503, id="closed-by-default"),
        pytest.param({"policy_check_fail_open": True}, 200, id="mesh-open"),
        pytest.param(
            {"annotations": {"policy.istio.io/check": "allow-on-error"}}, 200, id="pod-open"
        ),
        pytest.param(
            {
                "policy_check_fail_open": True,
                "annotations": {"policy.istio.io/check": "enable"},
            },
            503,
            id="pod-closed",
        ),
    ],
)
async def test_the_fail_policy_decides_when_mixer_is_gone(tmp_path, settings, status):
    annotations = {"policy.istio.io/checkRetries": "0", **settings.pop("annotations", {})}
    dead = await unused_port()
    async with running(
        tmp_path, ScriptedEngine(), mixer_port=dead, annotations=annotations, **settings
    ) as bench:
        assert (await bench.get())[0] == status


@pytest.mark.parametrize(
    ("settings", "status", "body"),
    [
        pytest.param({}, 500, "INTERNAL:adapter broke", id="closed"),
        pytest.param({"policy_check_fail_open": True}, 200, "ok", id="open"),
    ],
)
async def test_the_fail_policy_decides_when_there_is_no_verdict(tmp_path, settings, status, body):
    def fail(_: Attributes) -> CheckVerdict:
        raise CheckFailed("adapter broke")

    engine = ScriptedEngine(fail)
    async with running(tmp_path, engine, **settings) as bench:
        for _ in range(2):
            assert (await bench.get())[:2] == (status, body)
    assert len(engine.checked) == 2


async def test_requests_wait_for_a_mixer_that_restarts(tmp_path):
    engine = ScriptedEngine()

    def register(server: grpc.aio.Server) -> None:
        ext_authz.register(server, engine, Pods(), ClientConfig, admit_all(), clock)

    port = await unused_port()
    attempts = f"cluster.outbound|{MIXER_PORT}||{POLICY}.upstream_cx_connect_fail"
    async with running(tmp_path, ScriptedEngine(), mixer_port=port) as bench:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(bench.get())
            async with asyncio.timeout(4):
                while await bench.envoy.stat(attempts) < 6:
                    assert not waiting.done()
            async with mixer(register, port):
                assert (await waiting)[0] == 200
    assert len(engine.checked) == 1


async def unused_port() -> int:
    """A port that nobody listens on."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_an_error_in_the_cache_leads_to_a_check(tmp_path, monkeypatch):
    broken = mixer_filters.check_cache().replace(
        "local now = handle:timestamp()", "local now = nil + 1"
    )
    monkeypatch.setattr(mixer_filters, "check_cache", lambda: broken)
    engine = ScriptedEngine(lambda _: DENIAL)
    async with running(tmp_path, engine) as bench:
        statuses = [(await bench.get())[0] for _ in range(3)]
    assert statuses == [403] * 3
    assert len(engine.checked) == 3


async def test_connections_are_checked_when_data_arrives(tmp_path):
    engine = ScriptedEngine(lambda _: DENIAL)
    async with running(tmp_path, engine) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.envoy.ports["tcp"])
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        async with asyncio.timeout(10):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        engine.answer = lambda _: allow()
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.envoy.ports["tcp"])
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        port = bench.envoy.ports["tcp"]
    assert engine.checked[0] == {
        "origin.ip": b"\x7f\0\0\1",
        "source.ip": b"\x7f\0\0\1",
        "connection.mtls": False,
        "context.protocol": "tcp",
        "context.reporter.kind": "inbound",
        "context.reporter.uid": "kubernetes://ratings-1.default",
        "context.time": Timestamp.of(clock()),
        "destination.ip": b"\x7f\0\0\1",
        "destination.namespace": "default",
        "destination.port": port,
        "destination.uid": "kubernetes://ratings-1.default",
    }
