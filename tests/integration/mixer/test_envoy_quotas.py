"""Quotas in a real Envoy: what is charged, when, and how much passes (mixer_proxy.md K)."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
import pytest

from istio.mixer.v1.config.client.quota_pb2 import (
    Quota,
    QuotaRule,
    QuotaSpec,
    QuotaSpecBinding,
)
from istio.mixer.v1.config.client.service_pb2 import IstioService
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.engine import (
    QuotaAsk,
    QuotaGrant,
)
from mast.mixer.core.quota_specs import BINDINGS, SPECS
from tests.integration.mixer.bench import DENIAL, STATIC, running
from tests.support.mixer_mesh import (
    ScriptedEngine,
    allow,
)


def specs(charge: int = 1) -> ClientConfig:
    """A quota on everything that ratings serves."""
    rule = QuotaRule(quotas=[Quota(quota="rate", charge=charge)])
    binding = QuotaSpecBinding(
        services=[IstioService(name="ratings")],
        quota_specs=[QuotaSpecBinding.QuotaSpecReference(name="q")],
    )
    found = ClientConfig().with_object(SPECS, ("default", "q"), QuotaSpec(rules=[rule]))
    return found.with_object(BINDINGS, ("default", "b"), binding)


@dataclass
class Bucket:
    """A quota that never refills."""

    left: int
    granted: int = 0

    def grant(self, name: str, ask: QuotaAsk) -> QuotaGrant:
        amount = min(ask.amount + ask.stock, self.left) if ask.amount <= self.left else 0
        self.left -= amount
        self.granted += amount
        return QuotaGrant(amount, timedelta(seconds=60), STATIC)


@pytest.mark.parametrize("workers", [1, 2])
async def test_as_many_requests_pass_as_the_quota_has(tmp_path, workers):
    bucket = Bucket(50)
    engine = ScriptedEngine(lambda _: allow(referenced=STATIC), bucket.grant)
    async with running(tmp_path, engine, client=specs(), concurrency=workers) as bench:
        statuses: list[int] = []

        async def client() -> None:
            # A connection of its own, so that both workers get some.
            async with aiohttp.ClientSession() as session:
                for _ in range(40):
                    async with session.get(bench.url) as answer:
                        statuses.append(answer.status)
                        if answer.status == 429:
                            expected = "RESOURCE_EXHAUSTED:Quota is exhausted for: rate"
                            assert await answer.text() == expected

        async with asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(client())
    assert bucket.granted == 50
    assert statuses.count(200) <= 50
    assert statuses.count(429) == len(statuses) - statuses.count(200)
    assert len(engine.checked) < len(statuses) / 2, "tokens and refusals come from the cache"
    if workers == 1:
        assert statuses.count(200) == 50


async def test_a_charge_is_taken_whole(tmp_path):
    bucket = Bucket(10)
    engine = ScriptedEngine(lambda _: allow(referenced=STATIC), bucket.grant)
    async with running(tmp_path, engine, client=specs(charge=4)) as bench:
        statuses = [(await bench.get())[0] for _ in range(6)]
    assert statuses == [200, 200, 429, 429, 429, 429]


async def test_a_denied_request_is_not_charged(tmp_path):
    bucket = Bucket(10)
    engine = ScriptedEngine(lambda _: DENIAL, bucket.grant)
    async with running(tmp_path, engine, client=specs()) as bench:
        assert (await bench.get())[0] == 403
    assert bucket.granted == 0


async def test_each_check_has_a_deduplication_id_of_its_own(tmp_path):
    engine = ScriptedEngine(lambda _: allow(uses=0))
    async with running(tmp_path, engine) as bench:
        for _ in range(3):
            await bench.get(x_request_id="the-same")
    assert len(set(engine.deduplication_ids)) == 3
