"""One replica fetches the keys of issuers, all of them know: over a real etcd (J3, N15)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from mast.common import keys
from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.jwks import KeySet
from mast.common.latest import Latest
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.public_keys import KeySource, PublicKeys
from mast.pilot.core.world.world import World
from mast.pilot.store.follow import Mirror, News
from mast.pilot.store.key_fetch import FetchFailed
from mast.pilot.store.public_keys import PublicKeyKeeper
from mastapi.jwks.v1.jwks_pb2 import PublishedKeys
from tests.support.ads_server import MachineClock, until
from tests.support.etcd_server import EtcdServer, etcd_server
from tests.support.mesh_yaml import changes

A, B = KeySource(jwks_uri="https://a.test/keys"), KeySource(issuer="https://b.test")
SOON = timedelta(seconds=0.2)
NEVER = timedelta(hours=1)


def policy(name: str, rule: str) -> str:
    return f"""
{{apiVersion: security.istio.io/v1, kind: RequestAuthentication,
 metadata: {{name: {name}, namespace: shop}}, spec: {{jwtRules: [{rule}]}}}}
"""


FOR_A = policy("a", f"{{issuer: a, jwksUri: '{A.jwks_uri}'}}")
FOR_B = policy("b", f"{{issuer: '{B.issuer}'}}")


@dataclass
class Issuers:
    """What is fetched where; a text is why it fails. `asked` counts by source."""

    answers: dict[KeySource, str | KeySet | Exception] = field(default_factory=dict)
    asked: dict[KeySource, int] = field(default_factory=dict)

    async def __call__(self, source: KeySource, timeout: timedelta) -> KeySet:
        del timeout
        self.asked[source] = self.asked.get(source, 0) + 1
        answer = self.answers.get(source, "nobody there")
        if isinstance(answer, str):
            raise FetchFailed(answer)
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Replica:
    """A world that follows the store, and the keeper of one Pilot."""

    store: Store
    issuers: Issuers
    name: str
    refresh: timedelta
    told: list[bool] = field(default_factory=list)
    index: Latest[Index] = field(default_factory=lambda: Latest(Index()))

    async def run(self) -> None:
        clock = MachineClock()
        mirror = Mirror(
            self.store, World(), self.work, clock, self.publish, lambda kind, number: None
        )
        keeper = PublicKeyKeeper(
            self.store,
            self.issuers,
            self.index,
            clock,
            lambda: 0.5,
            self.told.append,
            self.name,
            self.refresh,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(mirror.run(), name="mirror")
            tasks.create_task(keeper.run(), name="keeper")

    async def work(self, task: Callable[[], Any], /) -> Any:
        return task()

    async def publish(self, news: News) -> None:
        self.index.publish(news.snapshot.index)

    async def has(self, expected: Mapping[KeySource, PublicKeys]) -> None:
        """Wait until it knows these keys and no others."""
        await until(lambda: self.index.value.public_keys == expected, seconds=30)


@pytest.fixture
async def etcd(tmp_path) -> AsyncIterator[EtcdServer]:
    async with etcd_server(tmp_path) as running:
        yield running


@pytest.fixture
async def store(etcd) -> AsyncIterator[Store]:
    async with connect(EtcdConfig(endpoints=(etcd.endpoint,))) as connected:
        yield connected


@asynccontextmanager
async def replica(
    store: Store, issuers: Issuers, name: str = "one", refresh: timedelta = NEVER
) -> AsyncIterator[Replica]:
    made = Replica(store, issuers, name, refresh)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.run(), name=name)
        yield made
        running.cancel()


async def put(store: Store, *texts: str) -> None:
    for each in changes(*texts):
        assert each.value is not None
        await store.put(each.key, each.value)


async def test_keys_come_change_and_go_with_their_policies(store) -> None:
    issuers = Issuers({A: KeySet("a1", 1), B: "refused"})
    await put(store, FOR_A)
    async with replica(store, issuers, refresh=SOON) as one:
        await one.has({A: PublicKeys("a1")})
        await put(store, FOR_B)
        await one.has({A: PublicKeys("a1"), B: PublicKeys("", "refused")})
        issuers.answers[B] = KeySet("b1", 1)
        await one.has({A: PublicKeys("a1"), B: PublicKeys("b1")})
        issuers.answers[A] = KeySet("a2", 1)
        await one.has({A: PublicKeys("a2"), B: PublicKeys("b1")})
        issuers.answers[A] = "no answer"
        await one.has({A: PublicKeys("a2", "no answer"), B: PublicKeys("b1")})
        (gone,) = changes(FOR_A)
        await store.delete(gone.key)
        await one.has({B: PublicKeys("b1")})
    assert {True, False} == set(one.told)


async def test_one_replica_fetches_and_the_next_goes_on(store, etcd) -> None:
    issuers, others = Issuers({A: KeySet("a1", 1)}), Issuers({A: KeySet("a2", 1)})
    await put(store, FOR_A)
    async with connect(EtcdConfig(endpoints=(etcd.endpoint,))) as second:
        async with replica(second, others, "two") as two:
            async with replica(store, issuers) as one:
                # Whoever leads: both know what it found.
                await until(lambda: issuers.asked or others.asked, seconds=30)
                found = {A: PublicKeys("a1" if issuers.asked else "a2")}
                await one.has(found)
                await two.has(found)
            await put(store, FOR_B)
            await two.has({**found, B: PublicKeys("", "nobody there")})
            assert others.asked[B] >= 1
            assert issuers.asked.get(A, 0) + others.asked.get(A, 0) == 1, "what is known stays"


async def test_no_issuer_ends_pilot(store) -> None:
    """Whatever its answers do to libraries."""
    issuers = Issuers({A: RecursionError("deep"), B: KeySet("b1", 1)})
    await put(store, FOR_A, FOR_B)
    async with replica(store, issuers) as one:
        failure = f"{A.jwks_uri}: RecursionError"
        await one.has({A: PublicKeys("", failure), B: PublicKeys("b1")})
        issuers.answers[A] = KeySet("a1", 1)
        await one.has({A: PublicKeys("a1"), B: PublicKeys("b1")})


async def test_an_unreadable_record_is_written_anew(store) -> None:
    await store.put(keys.jwks_key(*A), b"\xff")
    await put(store, FOR_A)
    async with replica(store, Issuers({A: KeySet("a1", 1)})) as one:
        await one.has({A: PublicKeys("a1")})


async def test_records_tell_the_last_good_keys_and_the_failure(store) -> None:
    issuers = Issuers({A: "first"})
    await put(store, FOR_A)
    async with replica(store, issuers, refresh=SOON) as one:
        await one.has({A: PublicKeys("", "first")})
        before = await record(store, A)
        issuers.answers[A] = "second"
        await one.has({A: PublicKeys("", "second")})
        after = await record(store, A)
        assert before.failing_since == after.failing_since
        issuers.answers[A] = KeySet("a1", 1)
        await one.has({A: PublicKeys("a1")})
        healed = await record(store, A)
        assert (healed.failure, healed.HasField("failing_since")) == ("", False)
        assert healed.HasField("fetched")


async def test_keys_outlive_etcd(store, etcd) -> None:
    """Fetching goes on where it was once the store is back (N15, acceptance 37)."""
    issuers = Issuers({A: KeySet("a1", 1)})
    await put(store, FOR_A)
    async with replica(store, issuers, refresh=SOON) as one:
        await one.has({A: PublicKeys("a1")})
        await etcd.kill()
        issuers.answers[A] = KeySet("a2", 1)
        await until(lambda: not store.health.connected, seconds=30)
        assert one.index.value.public_keys == {A: PublicKeys("a1")}
        await etcd.start()
        await one.has({A: PublicKeys("a2")})


async def record(store: Store, source: KeySource) -> PublishedKeys:
    entry = await store.get(keys.jwks_key(*source))
    assert entry is not None
    return PublishedKeys.FromString(entry.value)
