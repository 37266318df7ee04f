"""Adapters out of process: each variety, dynamic templates, dead ones (mixer.md G8, G10).

Checklist 16 and 41.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest

from istio.mixer.template.quota import template_handler_service_pb2 as quota
from istio.policy.v1beta1 import cfg_pb2
from istio.policy.v1beta1.http_response_pb2 import DirectHttpResponse
from mast.mixer.core.adapter import (
    AdapterError,
    Batch,
    CheckResult,
    DirectResponse,
    Instance,
    QuotaArguments,
    QuotaResult,
)
from mast.mixer.core.dynamic import DynamicAdapter, dynamic_template, params_message
from mast.mixer.core.engine import Status
from tests.integration.mixer.conftest import Apply
from tests.integration.mixer.process import check_request, client, mixer
from tests.support.etcd_server import EtcdServer
from tests.support.remote_adapter import (
    descriptor,
    params_file,
    serving,
    template_file,
)
from tests.support.remote_handlers import (
    CHECK,
    GENERATOR,
    MODEL,
    NAME,
    REPORT,
    WITH_OUTPUT,
    adapter,
    called,
    handler,
    instance,
)


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


async def test_an_adapter_with_sessions_is_not_told_parameters() -> None:
    """G8, G9: nor is a session opened for it."""
    described = replace(adapter(CHECK, f"{MODEL}CheckResult"), session_based=True)
    (service,) = described.services.values()
    seen: list[Any] = []

    def answer(request: Any, _: Mapping[str, str]) -> Any:
        seen.append(request)
        return service.response()

    async with called(described, answer) as built:
        assert (await built.check(instance())).status.code == 0
    assert [request.HasField("adapter_config") for request in seen] == [False]


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
