"""Adapter redisquota: what it asks Redis, and what answers mean (mixer.md G.1)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest
import redis.asyncio as redis
from redis.exceptions import RedisError

from istio.mixer.adapter.redisquota.config.config_pb2 import Params
from mast.mixer.adapters import redisquota
from mast.mixer.core.adapter import HandlerConfig, Instance, QuotaArguments, QuotaResult
from mast.mixer.core.engine import Status
from mast.mixer.core.values import Value

NAME = "calls.instance.istio-system"


class Server:
    """Answers every script with the same."""

    def __init__(self, answer: object) -> None:
        self.asked: list[tuple[list[str], list[int]]] = []
        self._answer = answer

    def register_script(self, _: str) -> Callable[[list[str], list[int]], Any]:
        async def run(keys: list[str], arguments: list[int]) -> object:
            self.asked.append((keys, arguments))
            if isinstance(self._answer, Exception):
                raise self._answer
            return self._answer

        return run


async def asked(answer: object, amount: int = 5, **dimensions: Value) -> tuple[QuotaResult, Server]:
    server = Server(answer)
    adapter = redisquota.adapter(lambda _: cast("redis.Redis", server))
    params = Params()
    quota = params.quotas.add(name=NAME, max_amount=10)
    quota.valid_duration.FromMilliseconds(1500)
    override = quota.overrides.add(max_amount=3)
    override.dimensions["who"] = "ann"
    handler: Any = adapter.build(HandlerConfig("h", "redisquota", params))
    instance = Instance(NAME, "quota", {"dimensions": dimensions})
    return await handler.quota(instance, QuotaArguments(amount, True, "id")), server


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        ([0, 0], 8, "Resource exhausted"),
        ("x", 13, "Internal Error"),
        ([1], 13, "Internal Error"),
        ([1, b"2"], 13, "Internal Error"),
        (None, 13, "Internal Error"),
        (RedisError("gone"), 14, "Service Unavailable"),
        (OSError("gone"), 14, "Service Unavailable"),
    ],
)
async def test_nothing_is_granted(answer: object, code: int, text: str) -> None:
    found, _ = await asked(answer)
    assert found == QuotaResult(0, timedelta(), Status(code, f"redisquota: {text}"))


async def test_what_is_granted_and_what_was_asked() -> None:
    found, server = await asked([4, 700], who="bob", at=5)
    assert found == QuotaResult(4, timedelta(milliseconds=700))
    key = f"{NAME};at=5;who=bob"
    ((keys, arguments),) = server.asked
    assert keys == [f"{{{key}}}", f"{{{key}}}/id/id"]
    # Amount, limit, window in milliseconds, best effort, no buckets, deduplicated.
    assert arguments[:6] == [5, 10, 1500, 1, 0, 1]


async def test_an_override_has_its_own_key_and_limit() -> None:
    _, server = await asked([3, 700], who="ann", at=5)
    ((keys, arguments),) = server.asked
    assert keys[0].startswith(f"{{{NAME}-")
    assert arguments[1] == 3


async def test_no_amount_asks_nobody() -> None:
    found, server = await asked([3, 700], amount=0)
    assert (found, server.asked) == (QuotaResult(), [])
