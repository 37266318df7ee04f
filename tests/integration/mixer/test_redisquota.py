"""Adapter redisquota on a real Redis (mixer.md G.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from google.protobuf.json_format import ParseDict

from istio.mixer.adapter.redisquota.config.config_pb2 import Params
from mast.mixer.adapters import redisquota
from mast.mixer.core.adapter import (
    HandlerConfig,
    Instance,
    InstanceType,
    QuotaArguments,
    QuotaResult,
)
from mast.mixer.core.values import Value
from tests.support.redis_server import RedisServer, redis_server

NAME = "calls.instance.istio-system"
FIXED = {"name": NAME, "maxAmount": "10", "validDuration": "3600s"}
ROLLING = {**FIXED, "rateLimitAlgorithm": "ROLLING_WINDOW", "bucketDuration": "1s"}
ADAPTER = redisquota.adapter()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as running:
        yield running


def config(*quotas: dict[str, Any], **params: Any) -> HandlerConfig:
    merged = Params()
    merged.CopyFrom(ADAPTER.defaults)  # type: ignore[arg-type]
    ParseDict({"quotas": quotas, **params}, merged)
    return HandlerConfig("h", "redisquota", merged, (InstanceType(NAME, "quota", {}),))


@asynccontextmanager
async def handler(server: RedisServer, *quotas: dict[str, Any]) -> AsyncIterator[Any]:
    built: Any = ADAPTER.build(config(*quotas, redisServerUrl=server.address))
    await built.prepare()
    try:
        yield built
    finally:
        await built.close()


async def ask(
    built: Any,
    amount: int,
    *,
    best_effort: bool = False,
    id: str = "",
    stock: int = 0,
    **dimensions: Value,
) -> QuotaResult:
    instance = Instance(NAME, "quota", {"dimensions": dimensions})
    found: QuotaResult = await built.quota(instance, QuotaArguments(amount, best_effort, id, stock))
    return found


EXHAUSTED = (8, "redisquota: Resource exhausted")


@pytest.mark.parametrize("quota", [FIXED, ROLLING], ids=["fixed", "rolling"])
async def test_amounts(server: RedisServer, quota: dict[str, Any]) -> None:
    async with handler(server, quota) as one, handler(server, quota) as other:
        first = await ask(one, 7)
        assert first.amount == 7
        whole = timedelta(seconds=3600)  # of a fixed window the rest counts
        assert whole - timedelta(seconds=100 * (quota is FIXED)) <= first.valid_duration <= whole
        refused = await ask(other, 4)
        assert (refused.amount, refused.status.code, refused.status.message) == (0, *EXHAUSTED)
        assert (await ask(other, 4, best_effort=True)).amount == 3
        assert (await ask(one, 1, best_effort=True)).status.code == EXHAUSTED[0]
        # Other dimensions have a cell of their own.
        assert (await ask(one, 10, who="ann")).amount == 10
        # What is given back is free again, and no more than was in use.
        assert (await ask(one, -100)).status.code == 0
        assert (await ask(other, 10)).amount == 10
        assert (await ask(other, 1)).amount == 0


@pytest.mark.parametrize("quota", [FIXED, ROLLING], ids=["fixed", "rolling"])
async def test_a_stock_is_a_small_part_of_what_is_left(
    server: RedisServer, quota: dict[str, Any]
) -> None:
    async with handler(server, {**quota, "maxAmount": 1001}) as built:
        assert (await ask(built, 1, stock=100)).amount == 1 + 1000 // 128
        assert (await ask(built, 800, stock=1)).amount == 801
        assert (await ask(built, 190, stock=9)).amount == 190
        assert (await ask(built, 3, stock=9)).amount == 0
        assert (await ask(built, 2, stock=9)).amount == 2


@pytest.mark.parametrize("quota", [FIXED, ROLLING], ids=["fixed", "rolling"])
async def test_equal_ids_get_equal_answers(server: RedisServer, quota: dict[str, Any]) -> None:
    async with handler(server, quota) as one, handler(server, quota) as other:
        assert (await ask(one, 6, id="a")).amount == 6
        assert (await ask(other, 6, id="a")).amount == 6
        assert (await ask(other, 6, id="b")).amount == 0
        assert (await ask(one, 4, id="c")).amount == 4
        assert (await ask(one, 6, id="b")).status.code == EXHAUSTED[0]


@pytest.mark.parametrize(
    "quota",
    [
        {**FIXED, "validDuration": "0.3s"},
        {**ROLLING, "validDuration": "0.3s", "bucketDuration": "0.1s"},
    ],
    ids=["fixed", "rolling"],
)
async def test_windows_end(server: RedisServer, quota: dict[str, Any]) -> None:
    async with handler(server, quota) as one:
        assert (await ask(one, 10)).amount == 10
        async with asyncio.timeout(30):
            while (await ask(one, 10)).amount != 10:  # noqa: ASYNC110  another process's clock
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("quota", [FIXED, ROLLING], ids=["fixed", "rolling"])
async def test_under_contention_the_limit_is_exact(
    server: RedisServer, quota: dict[str, Any]
) -> None:
    async with handler(server, quota) as one, handler(server, quota) as other:
        async with asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(ask(each, 1, id=f"{index}-{number}"))
                for number in range(50)
                for index, each in enumerate((one, other))
            ]
        assert sum(each.result().amount for each in asked) == 10


async def test_overrides_have_keys_of_their_own(server: RedisServer) -> None:
    overrides = [
        {"dimensions": {"who": "ann", "path": "/x"}, "maxAmount": "1"},
        {"dimensions": {"who": "ann"}, "maxAmount": "2"},
    ]
    async with handler(server, {**FIXED, "overrides": overrides}) as one:
        assert (await ask(one, 2, who="ann", path="/y")).amount == 2
        assert (await ask(one, 1, who="ann", path="/z")).amount == 0
        assert (await ask(one, 1, who="ann", path="/x")).amount == 1
        assert (await ask(one, 1, who="ann", path="/x")).amount == 0
        assert (await ask(one, 10, who="bob")).amount == 10
        assert (await ask(one, 10)).amount == 10
    async with redis.Redis.from_url(f"redis://{server.address}") as client:
        keys = {key.decode().strip("{}") for key in await client.keys("*")}
    assert keys == {
        NAME,
        f"{NAME};who=bob",
        f"{NAME}-{_fnv({'who': 'ann'})}",
        f"{NAME}-{_fnv({'who': 'ann', 'path': '/x'})}",
    }


def _fnv(dimensions: dict[str, str]) -> int:
    """FNV-1a as its authors give it."""
    found = 2_166_136_261
    for byte in "".join(f"{k}\t{v}\n" for k, v in sorted(dimensions.items())).encode():
        found = ((found ^ byte) * 16_777_619) % 2**32
    return found


async def test_a_server_may_go_and_come(server: RedisServer) -> None:
    async with handler(server, FIXED) as one:
        assert (await ask(one, 10)).amount == 10
        await server.kill()
        gone = await ask(one, 1)
        assert (gone.status.code, gone.status.message) == (14, "redisquota: Service Unavailable")
        await server.start()
        assert (await ask(one, 1)).amount == 1


async def test_a_key_of_another_kind_is_an_error(server: RedisServer) -> None:
    async with redis.Redis.from_url(f"redis://{server.address}") as client:
        await client.lpush(f"{{{NAME}}}", "x")
    async with handler(server, FIXED) as one:
        assert (await ask(one, 1)).status.code in {13, 14}


async def test_an_instance_without_a_quota(server: RedisServer) -> None:
    async with handler(server, {**FIXED, "name": "other"}) as one:
        assert await ask(one, 5) == QuotaResult()


@pytest.mark.parametrize(
    ("quotas", "params", "problem"),
    [
        ([FIXED], {"redisServerUrl": ""}, "redis_server_url: must not be empty"),
        ([FIXED], {"connectionPoolSize": "-1"}, "connection_pool_size: -1 is negative"),
        ([], {}, f"did not find limit defined for quota {NAME}"),
        ([{**FIXED, "maxAmount": "0"}], {}, "quotas[0].max_amount: 0 must be > 0"),
        (
            [{**FIXED, "validDuration": "0s"}],
            {},
            "quotas[0].valid_duration: must be at least a millisecond",
        ),
        (
            [{**ROLLING, "bucketDuration": "3600s"}],
            {},
            "quotas[0].bucket_duration: must be > 0 and shorter than valid_duration",
        ),
        (
            [{**FIXED, "overrides": [{"dimensions": {"a": "b"}}]}],
            {},
            "quotas[0].overrides[0].max_amount: 0 must be > 0",
        ),
        (
            [{**FIXED, "overrides": [{"maxAmount": "1"}]}],
            {},
            "quotas[0].overrides[0].dimensions: must not be empty",
        ),
    ],
)
def test_problems(quotas: list[dict[str, Any]], params: dict[str, Any], problem: str) -> None:
    assert list(ADAPTER.validate(config(*quotas, **params))) == [problem]
