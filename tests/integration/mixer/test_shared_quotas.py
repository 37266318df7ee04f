"""Quotas that replicas count together in etcd: exactly N in a window, whoever is asked."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc

from istio.mixer.v1 import mixer_pb2_grpc
from mast.common.etcd import Store
from mast.common.keys import QUOTA
from mastapi.quota.v1 import quota_pb2
from tests.integration.mixer.conftest import Apply
from tests.integration.mixer.process import check_request, client, mixer
from tests.support.etcd_server import EtcdServer
from tests.support.mixer_config import TELEMETRY

LIMIT = 300
SHARED = """
kind: handler
metadata: {name: shared}
spec:
  compiledAdapter: etcdquota
  params:
    quotas:
    - name: calls.instance.istio-system
      max_amount: 300
      valid_duration: 3600s
      overrides: [{dimensions: {who: "jane"}, max_amount: 2, valid_duration: 3600s}]
    min_deduplication_duration: 60s
---
kind: instance
metadata: {name: calls}
spec: {compiledTemplate: quota, params: {dimensions: {who: 'source.principal | "nobody"'}}}
---
kind: rule
metadata: {name: shared}
spec: {actions: [{handler: shared, instances: [calls]}]}
---
"""


async def allocate(
    stub: mixer_pb2_grpc.MixerStub, id: str, who: str = "ann", calls: int = 1
) -> int:
    request = check_request({"source.principal": who}, id=id, calls=calls)
    answer = await stub.Check(request, timeout=30)
    assert answer.precondition.status.code == grpc.StatusCode.OK.value[0]
    return int(answer.quotas["calls"].granted_amount)


async def test_replicas_grant_exactly_the_limit(
    etcd: EtcdServer, store: Store, apply: Apply
) -> None:
    await apply(TELEMETRY, SHARED)
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(mixer(etcd.endpoint)) for _ in range(2)]
        stubs = [await stack.enter_async_context(client(each)) for each in running]
        async with asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(allocate(stub, f"{name}-{number}"))
                for number in range(LIMIT)
                for name, stub in zip("ab", stubs, strict=True)
            ]
        assert sum(each.result() for each in asked) == LIMIT

        # A retry at the other replica is the same call.
        assert await allocate(stubs[0], "once", "bob") == 1
        assert await allocate(stubs[1], "once", "bob") == 1
        assert await allocate(stubs[1], "rest", "bob", LIMIT) == 0
        assert await allocate(stubs[1], "fit", "bob", LIMIT - 1) == LIMIT - 1

        # An override has a limit of its own; what is given back at one is free at the other.
        assert [await allocate(stubs[n % 2], f"j{n}", "jane") for n in range(3)] == [1, 1, 0]
        await allocate(stubs[0], "back", "jane", -1)
        assert await allocate(stubs[1], "again", "jane") == 1

    cells = [quota_pb2.Cell.FromString(e.value) for e in (await store.list(QUOTA)).entries]
    assert {each.name for each in cells} == {
        f"calls.instance.istio-system;who={who}" for who in ("ann", "bob", "jane")
    }


async def test_a_restart_forgets_nothing_and_etcd_may_be_away(
    etcd: EtcdServer, apply: Apply
) -> None:
    await apply(TELEMETRY, SHARED)
    async with mixer(etcd.endpoint) as running, client(running) as stub:
        assert await allocate(stub, "first", calls=LIMIT) == LIMIT
    async with mixer(etcd.endpoint) as running, client(running) as stub:
        assert await allocate(stub, "second") == 0
        await etcd.kill()
        # Without the shared state nothing is granted; the verdict itself is not concerned (A34).
        assert await allocate(stub, "third", "bob") == 0
        await etcd.restart()
        async with asyncio.timeout(60):
            number = 0
            while not await allocate(stub, f"again-{number}", "bob"):
                number += 1
