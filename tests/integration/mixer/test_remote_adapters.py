"""Adapters out of process: each variety, dynamic templates, TLS, mutual TLS, OAuth (mixer.md G.4).

Checklist 16 and 41.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from aiohttp import web
from google.protobuf.any_pb2 import Any as AnyMessage

from istio.mixer.adapter.bypass.config.config_pb2 import Params as BypassParams
from istio.mixer.adapter.model.v1beta1 import extensions_pb2
from istio.mixer.adapter.model.v1beta1 import infrastructure_backend_pb2 as sessions
from istio.mixer.template.metric import template_handler_service_pb2 as metric
from istio.mixer.template.quota import template_handler_service_pb2 as quota
from istio.policy.v1beta1 import cfg_pb2
from istio.policy.v1beta1.http_response_pb2 import DirectHttpResponse
from mast.mixer.adapters.fetching import token
from mast.mixer.adapters.remote.builder import SERVICES, RemoteAdapters, bypass
from mast.mixer.core.adapter import (
    AdapterError,
    Batch,
    CheckResult,
    DirectResponse,
    HandlerConfig,
    Instance,
    InstanceType,
    QuotaArguments,
    QuotaResult,
)
from mast.mixer.core.dynamic import DynamicAdapter, dynamic_template, params_message
from mast.mixer.core.engine import Status
from mast.mixer.core.lang.types import ValueType
from tests.integration.mixer.conftest import Apply
from tests.integration.mixer.process import check_request, client, mixer
from tests.support.etcd_server import EtcdServer
from tests.support.pki import Ca, Pair
from tests.support.remote_adapter import (
    Answer,
    descriptor,
    params_file,
    serving,
    template_file,
)

NAME = "i.instance.shop"
CHECK, REPORT = extensions_pb2.TEMPLATE_VARIETY_CHECK, extensions_pb2.TEMPLATE_VARIETY_REPORT
GENERATOR = extensions_pb2.TEMPLATE_VARIETY_ATTRIBUTE_GENERATOR
WITH_OUTPUT = extensions_pb2.TEMPLATE_VARIETY_CHECK_WITH_OUTPUT
MODEL = "istio.mixer.adapter.model.v1beta1."


def adapter(variety: int, answer: str) -> DynamicAdapter:
    text = descriptor(template_file("greeter", variety, answer))
    template = dynamic_template("t.template.ns", text)
    params = params_message(descriptor(params_file()))
    return DynamicAdapter("a.adapter.ns", {"t.template.ns": template}, params)


def instance(who: str = "ann", **fields: Any) -> Instance:
    return Instance(NAME, "t.template.ns", {"who": who, "size": 5, "any": "http://x/", **fields})


@asynccontextmanager
async def handler(
    described: DynamicAdapter, connection: cfg_pb2.Connection, *, verify_identity: bool = True
) -> AsyncIterator[Any]:
    ids = itertools.count()
    clock = asyncio.get_running_loop().time
    remote = RemoteAdapters(token, clock, lambda: f"id{next(ids)}", verify_identity=verify_identity)
    assert described.params is not None
    types = (InstanceType(NAME, "t.template.ns", {"any": ValueType.URI}),)
    config = HandlerConfig("h", described.fqn, described.params(mood="good"), types)
    built: Any = remote(described, connection)(config)
    try:
        yield built
    finally:
        await built.close()


@asynccontextmanager
async def called(described: DynamicAdapter, answer: Answer) -> AsyncIterator[Any]:
    """A handler whose adapter answers so."""
    (service,) = described.services.values()
    async with (
        serving({service: answer}) as address,
        handler(described, cfg_pb2.Connection(address=address)) as built,
    ):
        yield built


async def test_check() -> None:
    described = adapter(CHECK, f"{MODEL}CheckResult")
    (service,) = described.services.values()
    seen: list[Any] = []

    def answer(request: Any, _: Mapping[str, str]) -> Any:
        seen.append(request)
        found: Any = service.response()
        found.status.code, found.status.message = 7, "not you"
        found.status.details.add().Pack(
            DirectHttpResponse(code=418, body="teapot", headers={"x": "y"})  # type: ignore[arg-type]
        )
        found.valid_duration.seconds, found.valid_use_count = 3, 9
        return found

    async with called(described, answer) as built:
        verdict = await built.check(instance())
    assert verdict == CheckResult(
        Status(7, "not you"),
        timedelta(seconds=3),
        9,
        DirectResponse(418, "teapot", {"x": "y"}),
    )
    (request,) = seen
    assert (request.instance.name, request.instance.who, request.instance.size) == (NAME, "ann", 5)
    assert request.instance.any.uri_value.value == "http://x/"
    assert request.dedup_id == "id0"
    assert described.params is not None
    told = described.params()
    assert request.adapter_config.Unpack(told)
    assert told == described.params(mood="good")


async def test_check_with_output() -> None:
    described = adapter(WITH_OUTPUT, "")
    (service,) = described.services.values()

    def answer(request: Any, _: Mapping[str, str]) -> Any:
        found: Any = service.response()
        found.output.greeting = f"hello {request.instance.who}"
        return found

    async with called(described, answer) as built:
        verdict = await built.check(instance())
    assert (verdict.status.code, verdict.output) == (0, {"greeting": "hello ann"})


async def test_generator() -> None:
    described = adapter(GENERATOR, "OutputMsg")
    (service,) = described.services.values()

    def answer(request: Any, _: Mapping[str, str]) -> Any:
        found: Any = service.response(length=len(request.instance.who))
        found.address.value = b"\x0a\0\0\x01"
        return found

    async with called(described, answer) as built:
        assert await built.generate(instance()) == {"length": 3, "address": b"\x0a\0\0\x01"}
        assert built.generation is None


async def test_report() -> None:
    described = adapter(REPORT, f"{MODEL}ReportResult")
    (service,) = described.services.values()
    seen: list[list[str]] = []

    def answer(request: Any, _: Mapping[str, str]) -> Any:
        seen.append([each.who for each in request.instances])
        return service.response()

    async with called(described, answer) as built:
        assert await built.report([Batch(instance()), Batch(instance("bob"), count=2)]) == ()
        assert await built.report([]) == ()
    assert seen == [["ann", "bob", "bob"]]


@pytest.mark.parametrize("answered", [NAME, "other"])
async def test_quota(answered: str) -> None:
    template = dynamic_template("t.template.ns", descriptor(quota.DESCRIPTOR))
    described = DynamicAdapter(
        "a.adapter.ns",
        {"t.template.ns": template},
        params_message(descriptor(params_file())),
    )

    def answer(request: Any, _: Mapping[str, str]) -> Any:
        asked = request.quota_request.quotas[NAME]
        assert (asked.amount, asked.best_effort, request.dedup_id) == (5, True, "once")
        assert request.instance.dimensions["who"].string_value == "ann"
        found: Any = template.service.response()
        found.quotas[answered].granted_amount = 3
        found.quotas[answered].valid_duration.seconds = 7
        return found

    fields = Instance(NAME, "t.template.ns", {"dimensions": {"who": "ann"}})
    async with called(described, answer) as built:
        asking = built.quota(fields, QuotaArguments(5, True, "once"))
        if answered == NAME:
            assert await asking == QuotaResult(3, timedelta(seconds=7))
        else:
            with pytest.raises(AdapterError, match=f"did not answer for quota {NAME}"):
                await asking


async def test_a_dead_adapter_is_an_error_and_may_come_back() -> None:
    described = adapter(CHECK, f"{MODEL}CheckResult")
    (service,) = described.services.values()

    def fine(_: Any, __: Mapping[str, str]) -> Any:
        return service.response()

    async with serving({service: fine}) as address:
        pass
    async with handler(described, cfg_pb2.Connection(address=address)) as built:
        with pytest.raises(AdapterError, match="UNAVAILABLE"):
            await built.check(instance())
        server = grpc.aio.server()
        handlers = {
            "HandleGreeting": grpc.unary_unary_rpc_method_handler(
                lambda request, context: service.response().SerializeToString()
            )
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("greeter.HandleGreetingService", handlers)]
        )
        if not server.add_insecure_port(address):
            pytest.skip("somebody has taken the port meanwhile")
        await server.start()
        async with asyncio.timeout(60):
            while True:
                try:
                    assert (await built.check(instance())).status.code == 0
                    break
                except AdapterError:
                    await asyncio.sleep(0.05)
        await server.stop(None)


async def test_a_silent_adapter_is_given_up() -> None:
    described = adapter(CHECK, f"{MODEL}CheckResult")

    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        connection = cfg_pb2.Connection(address=f"127.0.0.1:{port}")
        connection.timeout.FromMilliseconds(200)
        async with handler(described, connection) as built:
            with pytest.raises(AdapterError, match=r"DEADLINE_EXCEEDED|UNAVAILABLE"):
                await built.check(instance())
        async with asyncio.timeout(30):
            await gone.wait()


# Protected connections.


class Files:
    """Certificates and keys of both ends, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.ca = Ca.root()
        self._directory = directory
        self.authorities = self.write("ca.pem", self.ca.pem)

    def write(self, name: str, content: bytes) -> str:
        path = self._directory / name
        path.write_bytes(content)
        return str(path)

    def server(self, pair: Pair, *, mutual: bool = False) -> grpc.ServerCredentials:
        roots = self.ca.pem if mutual else None
        return grpc.ssl_server_credentials(
            [(pair.key, pair.chain)], roots, require_client_auth=mutual
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def echo(header: str) -> tuple[DynamicAdapter, Answer]:
    """An adapter that answers with a header of the call."""
    described = adapter(WITH_OUTPUT, "")
    (service,) = described.services.values()

    def answer(_: Any, metadata: Mapping[str, str]) -> Any:
        found: Any = service.response()
        found.output.greeting = metadata.get(header, "")
        return found

    return described, answer


@asynccontextmanager
async def token_endpoint(seconds: int) -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """Gives tokens t1, t2 and so on; what it was asked."""
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append({name: str(value) for name, value in (await request.post()).items()})
        return web.json_response({"access_token": f"t{len(asked)}", "expires_in": seconds})

    application = web.Application()
    application.router.add_post("/token", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/token", asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("shown", "header", "value"),
    [
        ({"auth_header": cfg_pb2.Tls.PLAIN}, "authorization", "secret"),
        ({"auth_header": cfg_pb2.Tls.BEARER}, "authorization", "Bearer secret"),
        ({"custom_header": "X-Token"}, "x-token", "secret"),
    ],
)
async def test_tls_with_a_token_of_a_file(
    files: Files, shown: dict[str, Any], header: str, value: str
) -> None:
    described, answer = echo(header)
    (service,) = described.services.values()
    credentials = files.server(files.ca.leaf(dns=["adapter.example"]))
    path = files.write("token", b"secret\n")
    async with serving({service: answer}, credentials) as address:
        tls = cfg_pb2.Tls(
            ca_certificates=files.authorities,
            token_path=path,
            server_name="adapter.example",
            **shown,
        )
        connection = cfg_pb2.Connection(address=address)
        connection.authentication.tls.CopyFrom(tls)
        async with handler(described, connection) as built:
            assert (await built.check(instance())).output["greeting"] == value
            files.write("token", b"other")
            renewed = value.replace("secret", "other")
            assert (await built.check(instance())).output["greeting"] == renewed


@pytest.mark.parametrize(("seconds", "tokens"), [(3600, ["t1", "t1"]), (5, ["t1", "t2"])])
async def test_oauth(files: Files, seconds: int, tokens: list[str]) -> None:
    described, answer = echo("authorization")
    (service,) = described.services.values()
    credentials = files.server(files.ca.leaf(dns=["adapter.example"]))
    async with (
        token_endpoint(seconds) as (url, asked),
        serving({service: answer}, credentials) as address,
    ):
        connection = cfg_pb2.Connection(address=address)
        tls = connection.authentication.tls
        tls.ca_certificates, tls.server_name = files.authorities, "adapter.example"
        tls.auth_header = cfg_pb2.Tls.BEARER
        tls.oauth.client_id = "me"
        tls.oauth.client_secret = files.write("client-secret", b"hush\n")
        tls.oauth.token_url = url
        tls.oauth.scopes.extend(["a", "b"])
        tls.oauth.endpoint_params["audience"] = "mesh"
        async with handler(described, connection) as built:
            for expected in tokens:
                found = (await built.check(instance())).output["greeting"]
                assert found == f"Bearer {expected}"
    assert len(asked) == len(set(tokens))
    assert asked[0] == {
        "grant_type": "client_credentials",
        "client_id": "me",
        "client_secret": "hush",
        "scope": "a b",
        "audience": "mesh",
    }


ME = "spiffe://cluster.local/ns/istio-system/sa/mixer"


@pytest.mark.parametrize(
    ("server", "verify", "fine"),
    [
        ({"uris": [ME], "dns": ["adapter.example"]}, True, True),
        ({"uris": ["spiffe://cluster.local/ns/x/sa/y"], "dns": ["adapter.example"]}, True, False),
        ({"dns": ["adapter.example"]}, True, False),
        ({"dns": ["adapter.example"]}, False, True),
        ({"uris": [ME], "dns": ["other.example"]}, True, False),
    ],
)
async def test_mutual_tls(files: Files, server: dict[str, Any], verify: bool, fine: bool) -> None:
    described, answer = echo("nothing")
    (service,) = described.services.values()
    own = files.ca.leaf(uris=[ME])
    async with serving({service: answer}, files.server(files.ca.leaf(**server), mutual=True)) as at:
        connection = cfg_pb2.Connection(address=at)
        mutual = connection.authentication.mutual
        mutual.private_key = files.write("key.pem", own.key)
        mutual.client_certificate = files.write("cert.pem", own.chain)
        mutual.ca_certificates = files.authorities
        mutual.server_name = "adapter.example"
        async with handler(described, connection, verify_identity=verify) as built:
            if fine:
                assert (await built.check(instance())).status.code == 0
            else:
                with pytest.raises(AdapterError, match="UNAVAILABLE"):
                    await built.check(instance())


async def test_a_server_of_another_authority_is_refused(files: Files) -> None:
    described, answer = echo("nothing")
    (service,) = described.services.values()
    stranger = Ca.root("another").leaf(dns=["adapter.example"])
    async with serving({service: answer}, files.server(stranger)) as address:
        connection = cfg_pb2.Connection(address=address)
        tls = connection.authentication.tls
        tls.ca_certificates, tls.server_name = files.authorities, "adapter.example"
        tls.token_path = files.write("token", b"x")
        async with handler(described, connection) as built:
            with pytest.raises(AdapterError, match="UNAVAILABLE"):
                await built.check(instance())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda a: a.tls.SetInParent(), "want tokenPath or oauth"),
        (lambda a: a.mutual.SetInParent(), "mutual.private_key: must not be empty"),
    ],
)
async def test_what_cannot_be_had(change: Callable[[Any], None], complaint: str) -> None:
    connection = cfg_pb2.Connection(address="127.0.0.1:1")
    change(connection.authentication)
    with pytest.raises(AdapterError, match=complaint):
        async with handler(adapter(CHECK, f"{MODEL}CheckResult"), connection):
            pass


# The adapter bypass.


class Sessions:
    """The session service of a backend."""

    def __init__(self, refusal: int = 0) -> None:
        self.calls: list[str] = []
        self.types: dict[str, Any] = {}
        self._refusal = refusal

    def handlers(self) -> grpc.GenericRpcHandler:
        name = sessions.DESCRIPTOR.services_by_name["InfrastructureBackend"].full_name
        methods = {
            "Validate": (self.validate, sessions.ValidateRequest),
            "CreateSession": (self.create, sessions.CreateSessionRequest),
            "CloseSession": (self.close, sessions.CloseSessionRequest),
        }
        return grpc.method_handlers_generic_handler(
            name,
            {
                method: grpc.unary_unary_rpc_method_handler(
                    call,
                    request_deserializer=request.FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                )
                for method, (call, request) in methods.items()
            },
        )

    async def validate(self, request: Any, _: Any) -> Any:
        self.calls.append("validate")
        self.types = dict(request.inferred_types)
        answer = sessions.ValidateResponse()
        answer.status.code, answer.status.message = self._refusal, "no" if self._refusal else ""
        return answer

    async def create(self, _: Any, __: Any) -> Any:
        self.calls.append("create")
        return sessions.CreateSessionResponse(session_id="s1")

    async def close(self, request: Any, _: Any) -> Any:
        self.calls.append(f"close {request.session_id}")
        return sessions.CloseSessionResponse()


@asynccontextmanager
async def bypassing(
    told: Sessions, seen: list[Any], *, session_based: bool
) -> AsyncIterator[tuple[str, Any]]:
    service = SERVICES["metric"]

    async def report(request: Any, context: Any) -> Any:
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        seen.append((request, metadata.get("session_id", "")))
        return service.response()

    name, method = service.path.strip("/").split("/")
    server = grpc.aio.server()
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            report,
            request_deserializer=service.request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
    }
    generic = grpc.method_handlers_generic_handler(name, handlers)
    server.add_generic_rpc_handlers([told.handlers(), generic])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    params = BypassParams(backend_address=address, session_based=session_based)
    params.params.CopyFrom(AnyMessage(type_url="x/y", value=b"z"))
    types = {"value": ValueType.INT64, "dimensions[who]": ValueType.STRING}
    config = HandlerConfig("h", "bypass", params, (InstanceType(NAME, "metric", types),))
    built: Any = bypass(lambda: "id").build(config)
    try:
        yield address, built
    finally:
        await built.close()
        await server.stop(None)


def records() -> Batch:
    return Batch(Instance(NAME, "metric", {"dimensions": {"who": "ann"}}), [5], 1)


@pytest.mark.parametrize("session_based", [False, True])
async def test_bypass(session_based: bool) -> None:
    told, seen = Sessions(), list[Any]()
    async with bypassing(told, seen, session_based=session_based) as (_, built):
        await built.prepare()
        await built.report([records()])
    ((request, session),) = seen
    assert request.instances[0].dimensions["who"].string_value == "ann"
    if session_based:
        assert session == "s1"
        assert not request.HasField("adapter_config")
        assert told.calls == ["validate", "create", "close s1"]
        inferred = metric.Type()
        assert told.types[NAME].Unpack(inferred)
        assert inferred.value == ValueType.INT64
        assert dict(inferred.dimensions) == {"who": ValueType.STRING}
    else:
        assert (session, request.adapter_config.value) == ("", b"z")
        assert not told.calls


async def test_a_backend_may_refuse_a_configuration() -> None:
    async with bypassing(Sessions(refusal=3), [], session_based=True) as (_, built):
        with pytest.raises(AdapterError, match="refuses the configuration: no"):
            await built.prepare()


@pytest.mark.parametrize("address", ["", "nowhere"])
def test_bypass_needs_an_address(address: str) -> None:
    found = bypass(str)
    config = HandlerConfig("h", "bypass", BypassParams(backend_address=address))
    assert found.validate(config) == (f"backend_address: {address!r} is not HOST:PORT",)


# From objects to a verdict.

OBJECTS = """
kind: attributemanifest
metadata: {name: m, namespace: istio-system}
spec: {attributes: {source.user: {valueType: STRING}, request.size: {valueType: INT64}}}
---
kind: template
metadata: {name: greeter, namespace: istio-system}
spec: {descriptor: DESCRIPTOR}
---
kind: adapter
metadata: {name: hello, namespace: istio-system}
spec: {templates: [greeter], config: CONFIG, session_based: false}
---
kind: handler
metadata: {name: h, namespace: istio-system}
spec: {adapter: hello, connection: {address: "ADDRESS"}, params: {mood: strict}}
---
kind: instance
metadata: {name: i, namespace: istio-system}
spec: {template: greeter, params: {who: source.user | "nobody", size: request.size | 0, any: '"x"'}}
---
kind: rule
metadata: {name: r, namespace: istio-system}
spec: {actions: [{handler: h, instances: [i]}]}
"""


async def test_a_configured_adapter_decides(etcd: EtcdServer, apply: Apply) -> None:
    described = adapter(CHECK, f"{MODEL}CheckResult")
    (service,) = described.services.values()
    assert described.params is not None
    told = described.params()

    def answer(request: Any, _: Mapping[str, str]) -> Any:
        found: Any = service.response()
        request.adapter_config.Unpack(told)
        if request.instance.who != "ann":
            found.status.code, found.status.message = 16, f"{request.instance.who} is not ann"
        found.valid_duration.seconds, found.valid_use_count = 9, 99
        return found

    async with serving({service: answer}) as address:
        text = OBJECTS.replace("ADDRESS", address)
        text = text.replace("CONFIG", descriptor(params_file()))
        file = template_file("greeter", CHECK, f"{MODEL}CheckResult")
        await apply(text.replace("DESCRIPTOR", descriptor(file)))
        async with mixer(etcd.endpoint) as running, client(running) as stub:
            for who, code in (("ann", 0), ("bob", 16)):
                answered = await stub.Check(check_request({"source.user": who}), timeout=10)
                precondition = answered.precondition
                assert precondition.status.code == code
                assert precondition.valid_duration.seconds == 9
                assert precondition.valid_use_count == 99
            assert precondition.status.message == "h.handler.istio-system:bob is not ann"
    assert told.mood == "strict"  # type: ignore[attr-defined]
