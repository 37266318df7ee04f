"""Mixer end to end: configuration in etcd, checks and reports over gRPC (L1 to L7, L27, L48)."""

from __future__ import annotations

import asyncio
import json
import re

import grpc
import grpc.aio
import pytest

from istio.mixer.v1 import mixer_pb2
from istio.mixer.v1.attributes_pb2 import CompressedAttributes
from mast.common.etcd import Put, Store
from mast.common.keys import workload_key
from mast.mixer.core.dictionary import WORDS
from mast.mixer.core.values import Attributes, Duration
from mast.mixer.core.wire import encode
from mastapi.registry.v1.registry_pb2 import Workload
from tests.integration.mixer.conftest import Apply
from tests.integration.mixer.process import check_request, client, mixer
from tests.support.etcd_server import EtcdServer
from tests.support.mixer_config import TELEMETRY, stored

DENY = """
kind: handler
metadata: {name: denyall}
spec: {compiledAdapter: denier, params: {status: {code: 7, message: Not allowed}}}
---
kind: instance
metadata: {name: nothing}
spec: {compiledTemplate: checknothing}
---
kind: rule
metadata: {name: deny}
spec:
  match: (request.headers["x-bad"] | "no") == "yes" || source.labels["app"] == "bad"
  actions: [{handler: denyall, instances: [nothing]}]
---
"""
QUOTA = """
kind: handler
metadata: {name: q}
spec:
  compiledAdapter: memquota
  params: {quotas: [{name: requestcount.instance.istio-system, max_amount: 5, valid_duration: 60s}]}
---
kind: instance
metadata: {name: requestcount}
spec: {compiledTemplate: quota, params: {dimensions: {who: 'source.principal | "nobody"'}}}
---
kind: rule
metadata: {name: quota}
spec: {actions: [{handler: q, instances: [requestcount]}]}
---
"""
PERMISSION_DENIED = 7


def matches(result: mixer_pb2.CheckResponse.PreconditionResult) -> set[str]:
    """Referenced attributes by name, from indices; ``!`` marks those that must be absent."""
    referenced = result.referenced_attributes

    def word(index: int) -> str:
        return WORDS[index] if index >= 0 else referenced.words[-index - 1]

    return {
        ("!" if each.condition == mixer_pb2.ReferencedAttributes.ABSENCE else "")
        + word(each.name)
        + (f"[{word(each.map_key)}]" if each.map_key else "")
        for each in referenced.attribute_matches
    }


async def test_checks(etcd: EtcdServer, apply: Apply) -> None:
    """A23 to A26, A33, L6, L7, L19: a denial and an allowance over gRPC."""
    await apply(TELEMETRY, DENY)
    async with mixer(etcd.endpoint) as running, client(running) as stub:
        denied = await stub.Check(check_request({"request.headers": {"x-bad": "yes"}}), timeout=10)
        precondition = denied.precondition
        assert precondition.status.code == PERMISSION_DENIED
        assert precondition.status.message == "denyall.istio-system:Not allowed"
        assert precondition.valid_duration.seconds == 5
        assert precondition.valid_use_count == 1000
        assert "request.headers[x-bad]" in matches(precondition)
        assert not denied.quotas
        allowed = await stub.Check(check_request({}, id="1", other=3), timeout=10)
        assert allowed.precondition.status.code == 0
        assert allowed.precondition.valid_duration.seconds == 60
        assert allowed.precondition.valid_use_count == 10_000
        assert allowed.quotas["other"].granted_amount == 3
        assert "!request.headers" in matches(allowed.precondition)


async def test_callers_of_all_releases(etcd: EtcdServer, apply: Apply) -> None:
    """A2, A11, L1, L3: each gets words that it knows; who knows more than Mixer is refused."""
    await apply(TELEMETRY, DENY)
    async with mixer(etcd.endpoint) as running, client(running) as stub:
        for known in (0, 111, 203, 221, 222):
            request = check_request({"request.headers": {"x-bad": "yes"}}, known)
            answer = await stub.Check(request, timeout=10)
            assert answer.precondition.status.code == PERMISSION_DENIED
            referenced = answer.precondition.referenced_attributes
            assert max(each.name for each in referenced.attribute_matches) < max(known, 1)
            assert max(each.map_key for each in referenced.attribute_matches) < max(known, 1)
            assert "request.headers[x-bad]" in matches(answer.precondition)
        check = stub.Check(mixer_pb2.CheckRequest(global_word_count=223), timeout=10)
        report = stub.Report(mixer_pb2.ReportRequest(global_word_count=223), timeout=10)
        for call in (check, report):
            assert await call.code() is grpc.StatusCode.INTERNAL
            assert await call.details() == (
                "inconsistent global dictionary versions used: "
                "mixer knows 222 words, caller knows 223"
            )


async def test_quotas(etcd: EtcdServer, apply: Apply) -> None:
    """A32, L17, L18: grant, repetition, exhaustion."""
    await apply(TELEMETRY, QUOTA)
    async with mixer(etcd.endpoint) as running, client(running) as stub:

        async def ask(amount: int, id: str) -> int:
            request = check_request({"source.principal": "a"}, id=id, requestcount=amount)
            answer = await stub.Check(request, timeout=10)
            granted: int = answer.quotas["requestcount"].granted_amount
            return granted

        assert [await ask(3, "1"), await ask(3, "1"), await ask(3, "2"), await ask(2, "3")] == [
            3,
            3,
            0,
            2,
        ]


async def test_a_failing_instance_is_an_internal_error(etcd: EtcdServer, apply: Apply) -> None:
    """A21, L10."""
    await apply(
        TELEMETRY,
        "{kind: handler, metadata: {name: l}, spec: {compiledAdapter: listchecker}}\n---\n",
        "{kind: instance, metadata: {name: i},"
        " spec: {compiledTemplate: listentry, params: {value: request.host}}}\n---\n",
        "{kind: rule, metadata: {name: r}, spec: {actions: [{handler: l, instances: [i]}]}}",
    )
    async with mixer(etcd.endpoint) as running, client(running) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Check(check_request({}), timeout=10)
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        assert failed.value.details() == (
            "performing check operation failed: instance 'i.instance.istio-system': "
            "evaluation failed at [value]: 'lookup failed: 'request.host''"
        )


HTTP: Attributes = {
    "context.protocol": "http",
    "destination.uid": "kubernetes://reviews-1.shop",
    "response.duration": Duration(20_000_000),
    "response.code": 200,
}


async def scraped(running: object, text: str) -> float:
    """The value of the sample whose labels contain a text; 0 if there is none."""
    assert hasattr(running, "get")
    _, body = await running.get("/metrics", "prometheus")
    found = re.findall(rf"^istio_requests_total{{.*{text}.*}} (\S+)$", body, re.MULTILINE)
    return float(found[0]) if found else 0.0


async def test_reports_become_series(etcd: EtcdServer, store: Store, apply: Apply) -> None:
    """B1, B3, L5."""
    workload = Workload(
        name="reviews-1", namespace="shop", labels={"app": "reviews"}, workload_name="reviews-v1"
    )
    await store.put(workload_key("c", "shop", "reviews-1"), workload.SerializeToString())
    await apply(TELEMETRY)
    async with mixer(etcd.endpoint) as running, client(running) as stub:
        words = ["kubernetes://reviews-1.shop"]
        one = encode(HTTP)
        assert list(one.words) == words
        independent = mixer_pb2.ReportRequest(
            attributes=[one, one, one],
            global_word_count=222,
            repeated_attributes_semantics=mixer_pb2.ReportRequest.INDEPENDENT_ENCODING,
        )
        await stub.Report(independent, timeout=10)
        assert await scraped(running, 'destination_workload="reviews-v1"') == 3
        del one.words[:]
        shared = mixer_pb2.ReportRequest(
            attributes=[one, one],
            default_words=words,
            global_word_count=222,
            repeated_attributes_semantics=mixer_pb2.ReportRequest.INDEPENDENT_ENCODING,
        )
        await stub.Report(shared, timeout=10)
        assert await scraped(running, 'destination_app="reviews"') == 5
        await stub.Report(mixer_pb2.ReportRequest(), timeout=10)
        status, metrics = await running.get("/metrics")
        assert status == 200
        assert 'mixer_runtime_dispatches_total{adapter="prometheus"' in metrics
        rpcs = 'grpc_server_method="istio.mixer.v1.Mixer/Report",grpc_server_status="OK"'
        assert f"grpc_io_server_completed_rpcs{{{rpcs}}} 3" in metrics
        assert 'istio_build{component="mixer"' in metrics


async def test_deltas(etcd: EtcdServer, apply: Apply) -> None:
    """B2, B4, L4."""
    await apply(TELEMETRY)
    bad = CompressedAttributes(strings={999: 0})
    request = mixer_pb2.ReportRequest(
        attributes=[
            encode({**HTTP, "response.code": 200}),
            encode({"response.code": 404}),
            bad,
            encode({"response.duration": Duration(1)}),
        ],
        global_word_count=222,
    )
    async with mixer(etcd.endpoint) as running, client(running) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Report(request, timeout=10)
        assert failed.value.code() is grpc.StatusCode.UNKNOWN
        assert failed.value.details() == "index 999 is not defined in the available dictionaries"
        assert await scraped(running, 'response_code="200"') == 1
        assert await scraped(running, 'response_code="404"') == 2


async def test_a_changed_configuration_is_followed(
    etcd: EtcdServer, store: Store, apply: Apply
) -> None:
    """D10, L27: unchanged handlers keep what they counted."""
    await apply(TELEMETRY)
    async with mixer(etcd.endpoint) as running, client(running) as stub:
        request = check_request({"request.headers": {"x-bad": "yes"}})
        assert (await stub.Check(request, timeout=10)).precondition.status.code == 0
        await stub.Report(mixer_pb2.ReportRequest(attributes=[encode(HTTP)]), timeout=10)
        await apply(DENY)
        await running.logged("config.applied", rules=7)
        answer = await stub.Check(request, timeout=10)
        assert answer.precondition.status.code == PERMISSION_DENIED
        # The prometheus handler is unchanged and keeps what it counted.
        await stub.Report(mixer_pb2.ReportRequest(attributes=[encode(HTTP)]), timeout=10)
        assert await scraped(running, 'response_code="200"') == 2
        await store.delete("config/istio/policy/v1beta1/rules/istio-system/deny")
        await running.logged("config.applied", count=2, rules=6)
        assert (await stub.Check(request, timeout=10)).precondition.status.code == 0


def denied_twice(version: int) -> str:
    """Two handlers that say which version of the configuration they are of."""
    return "---\n".join(
        f"{{kind: handler, metadata: {{name: {name}}}, spec: {{compiledAdapter: denier, params:"
        f" {{status: {{code: 7, message: v{version}}}}}}}}}\n"
        for name in ("a", "b")
    )


async def test_configurations_are_swapped_under_load(
    etcd: EtcdServer, store: Store, apply: Apply
) -> None:
    """D10, L27: no call fails or is of two versions; unchanged handlers keep what they counted."""
    both = """
kind: rule
metadata: {name: both}
spec:
  match: (request.headers["x-bad"] | "no") == "yes"
  actions: [{handler: a, instances: [nothing]}, {handler: b, instances: [nothing]}]
---
kind: instance
metadata: {name: nothing}
spec: {compiledTemplate: checknothing}
---
"""
    await apply(TELEMETRY, QUOTA, both, denied_twice(0))
    seen: set[str] = set()
    news = asyncio.Condition()
    async with mixer(etcd.endpoint) as running, client(running) as stub:
        bad = check_request({"request.headers": {"x-bad": "yes"}})

        async def ask() -> None:
            while not done.is_set():
                answer = await stub.Check(bad, timeout=30)
                async with news:
                    seen.add(answer.precondition.status.message)
                    news.notify_all()

        async def granted(amount: int) -> int:
            request = check_request({"source.principal": "a"}, requestcount=amount)
            answer = await stub.Check(request, timeout=30)
            found: int = answer.quotas["requestcount"].granted_amount
            return found

        def of(version: int) -> str:
            return f"a.istio-system:v{version}, b.istio-system:v{version}"

        assert await granted(3) == 3
        done = asyncio.Event()
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(ask())
            for version in range(1, 6):
                objects = stored(denied_twice(version))
                await store.txn([], [Put(key, value) for key, value in objects.items()])
                async with news:
                    await news.wait_for(lambda version=version: of(version) in seen)
            done.set()
        assert seen <= {of(version) for version in range(6)}
        assert [await granted(3), await granted(2)] == [0, 2]
        await running.logged("handler.closed", handler="a.handler.istio-system", count=5)
        await running.logged("handler.built", handler="q.handler.istio-system")
        built = [line for line in running.log if line["event"] == "handler.built"]
        assert [line["handler"] for line in built].count("q.handler.istio-system") == 1


async def test_workloads_are_followed(etcd: EtcdServer, store: Store, apply: Apply) -> None:
    """A13: attributes are generated from the shared registry."""
    await apply(TELEMETRY, DENY)
    key = workload_key("c", "shop", "pod")
    async with mixer(etcd.endpoint) as running, client(running) as stub:
        request = check_request({"source.ip": bytes([10, 0, 0, 1])})
        assert (await stub.Check(request, timeout=10)).precondition.status.code == 0
        workload = Workload(
            name="pod", namespace="shop", addresses=["10.0.0.1"], labels={"app": "bad"}
        )
        await store.put(key, workload.SerializeToString())
        code = 0
        async with asyncio.timeout(20):
            while code == 0:
                code = (await stub.Check(request, timeout=10)).precondition.status.code
        assert code == PERMISSION_DENIED


async def test_it_is_ready_once_the_configuration_is_in_force(
    etcd: EtcdServer, apply: Apply
) -> None:
    """D11, L48."""
    await apply(TELEMETRY)
    async with mixer(etcd.endpoint) as running:
        await running.address("grpc")
        status, body = await running.get("/ready")
        assert (status, json.loads(body)) == (
            200,
            {"ready": True, "role": "all", "configuration": "in force", "etcd": "connected"},
        )
        assert (await running.logged("config.applied"))["rules"] == 6


async def test_without_etcd_nothing_is_answered_and_the_start_fails() -> None:
    """D11."""
    async with mixer("127.0.0.1:1", ["--config-wait-timeout", "500ms"]) as running:
        status, body = await running.get("/ready")
        assert status == 503
        assert json.loads(body)["configuration"] == "none yet"
        crash = await running.logged("process.crashed")
        assert crash["error"] == "TimeoutError: no complete configuration from etcd within 0.5 s"
        assert await running.process.wait() == 1
        assert not [line for line in running.log if line.get("name") == "grpc"]


async def test_etcd_may_go_away_later(etcd: EtcdServer, apply: Apply) -> None:
    """D11: what is in force stays."""
    await apply(TELEMETRY, DENY)
    async with mixer(etcd.endpoint) as running, client(running) as stub:
        request = check_request({"request.headers": {"x-bad": "yes"}})
        await stub.Check(request, timeout=10)
        await etcd.kill()
        for _ in range(3):
            answer = await stub.Check(request, timeout=10)
            assert answer.precondition.status.code == PERMISSION_DENIED


async def test_stopping_delivers_what_is_buffered(
    etcd: EtcdServer, apply: Apply, tmp_path: object
) -> None:
    """L48."""
    path = f"{tmp_path}/access.log"
    await apply(
        TELEMETRY,
        "{kind: handler, metadata: {name: log}, spec: {compiledAdapter: stdio,"
        f" params: {{log_stream: FILE, output_path: {path}}}}}}}\n---\n",
        "{kind: instance, metadata: {name: e}, spec: {compiledTemplate: logentry,"
        " params: {variables: {code: response.code}}}}\n---\n",
        "{kind: rule, metadata: {name: log}, spec: {actions: [{handler: log, instances: [e]}]}}",
    )
    async with mixer(etcd.endpoint) as running, client(running) as stub:
        await stub.Report(mixer_pb2.ReportRequest(attributes=[encode(HTTP)] * 500), timeout=10)
        assert await running.stop() == 0
    with open(path) as lines:  # noqa: ASYNC230  the process is gone
        assert [json.loads(line)["code"] for line in lines] == [200] * 500


@pytest.mark.parametrize(("mode", "shed"), [("enforce", True), ("logonly", False)])
async def test_load_is_shed(etcd: EtcdServer, mode: str, shed: bool) -> None:
    """A1, I1, L46."""
    flags = ["--loadshedding-mode", mode, "--max-requests-per-second", "2"]
    async with mixer(etcd.endpoint, flags) as running, client(running) as stub:
        calls = [stub.Check(check_request({}), timeout=10) for _ in range(6)]
        codes = [await call.code() for call in calls]
        assert (grpc.StatusCode.UNAVAILABLE in codes) is shed
        big = mixer_pb2.ReportRequest(attributes=[encode({})] * 100)
        if shed:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await stub.Report(big, timeout=10)
            assert failed.value.details() == "Server is currently overloaded. Please try again."
            _, metrics = await running.get("/metrics")
            assert "mixer_loadshedding_requests_throttled" in metrics
        else:
            await stub.Report(big, timeout=10)
            await running.logged("request.would_be_shed", calls=1)
