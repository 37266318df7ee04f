"""Self-registered workloads in a real etcd (pilot.md D9, B26)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from istio.networking.v1alpha3.workload_group_pb2 import WorkloadGroup
from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.identity.spiffe import SpiffeId
from mast.pilot.core.xds.access import NotAllowed
from mast.pilot.core.xds.registration import UnknownGroup
from mast.pilot.store.registrations import Registrations
from mastapi.registry.v1.registry_pb2 import Health, Workload
from tests.fakes.pilot_views import proxy
from tests.support.ads_server import MachineClock, until
from tests.support.etcd_server import EtcdServer, etcd_server
from tests.support.tcp_proxy import tcp_proxy

WEB = SpiffeId("cluster.local", "shop", "web")
MEMBER = proxy(AUTO_REGISTER_GROUP="web-v1", CLUSTER_ID="c1")
KEY = "registry/workloads/c1/shop/web-v1-10.0.0.1"
OTHER = proxy(AUTO_REGISTER_GROUP="web-v1", CLUSTER_ID="c1", INSTANCE_IPS="10.0.0.2")
OTHER_KEY = "registry/workloads/c1/shop/web-v1-10.0.0.2"
GROUPS = {("shop", "web-v1"): WorkloadGroup(template={"ports": {"http": 8080}})}


class Clock(MachineClock):
    """The machine's clock; `ahead` moves dates."""

    def __init__(self, ahead: timedelta = timedelta()) -> None:
        self.ahead = ahead

    def now(self) -> datetime:
        return super().now() + self.ahead


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
    store: Store, name: str = "pilot-1", *, ttl: float = 60, grace: float = 0.3, ahead: float = 0
) -> AsyncIterator[Registrations]:
    """A running replica."""
    made = Registrations(
        store,
        lambda namespace, group: GROUPS.get((namespace, group)),
        name,
        Clock(timedelta(seconds=ahead)),
        lambda: 0.5,
        ttl=timedelta(seconds=ttl),
        grace=timedelta(seconds=grace),
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.run())
        await until(lambda: made.leased)
        yield made
        running.cancel()


async def stored(store: Store, key: str = KEY) -> Workload | None:
    entry = await store.get(key)
    return None if entry is None else Workload.FromString(entry.value)


async def test_a_workload_is_there_as_long_as_its_proxy_and_a_little_longer(store):
    async with replica(store) as pilot:
        async with pilot.registered(MEMBER, WEB) as registration:
            found = await stored(store)
            assert found.ports == {"http": 8080}
            assert found.controller == "pilot-1"
            entry = await store.get(KEY)
            assert (entry.mod_revision, bool(entry.lease)) == (registration.revision, True)
        await until(lambda: _disconnected(store))
        assert [each.name for each in pilot.workloads] == ["web-v1-10.0.0.1"]
        await until(lambda: _gone(store))
        assert pilot.workloads == []


async def _disconnected(store: Store) -> bool:
    found = await stored(store)
    return found is None or found.HasField("disconnected_at")


async def _gone(store: Store, key: str = KEY) -> bool:
    return await stored(store, key) is None


async def test_a_reconnect_within_the_grace_keeps_it(store):
    async with replica(store, grace=0.2) as pilot:
        async with pilot.registered(MEMBER, WEB):
            first = await stored(store)
        async with pilot.registered(MEMBER, WEB):
            await _grace_over(pilot, store)
            again = await stored(store)
            assert again.create_time == first.create_time
            assert again.connected_at.ToDatetime(UTC) > first.connected_at.ToDatetime(UTC)


async def _grace_over(pilot: Registrations, store: Store) -> None:
    """A workload that is left now is gone; so would be one that was left before."""
    async with pilot.registered(OTHER, WEB):
        pass
    await until(lambda: _gone(store, OTHER_KEY))


async def test_the_end_of_an_older_connection_does_not_remove_it(store):
    async with replica(store, grace=0.1) as pilot, AsyncExitStack() as newer:
        async with pilot.registered(MEMBER, WEB):
            await newer.enter_async_context(pilot.registered(MEMBER, WEB))
        await _grace_over(pilot, store)
        assert await stored(store) is not None


async def test_a_grpc_library_stays_as_long_as_any_of_its_streams(store):
    """It has one for each target, and agents report on all of them (pilot.md B29)."""
    program = proxy(AUTO_REGISTER_GROUP="web-v1", CLUSTER_ID="c1", GENERATOR="grpc")
    async with replica(store, grace=0.2) as pilot:
        async with pilot.registered(program, WEB) as first:
            async with pilot.registered(program, WEB) as second:
                assert second is first
            await _grace_over(pilot, store)
            assert (await stored(store)).tls_mode == ""
            first.found(False)
            await until(lambda: _health(store, Health.HEALTH_UNHEALTHY))
        await until(lambda: _gone(store))


async def test_health_is_what_the_agent_found_last(store):
    async with replica(store) as pilot, pilot.registered(MEMBER, WEB) as registration:
        registration.found(False)
        await until(lambda: _health(store, Health.HEALTH_UNHEALTHY))
        registration.found(True)
        registration.found(True)
        await until(lambda: _health(store, Health.HEALTH_HEALTHY))


async def _health(store: Store, health: int, key: str = KEY) -> bool:
    found = await stored(store, key)
    return found is not None and found.health == health


async def test_a_replica_that_stops_leaves_it_to_the_next(store):
    """It never vanishes in between, and the lease of the next one carries it on."""
    async with AsyncExitStack() as first:
        pilot = await first.enter_async_context(replica(store, ttl=2))
        await first.enter_async_context(pilot.registered(MEMBER, WEB))
        lease = (await store.get(KEY)).lease
        await store.put("marker", b"", lease=lease)
    assert await stored(store) is not None
    async with replica(store, "pilot-2") as pilot, pilot.registered(MEMBER, WEB):
        entry = await store.get(KEY)
        assert Workload.FromString(entry.value).controller == "pilot-2"
        assert entry.lease not in {0, lease}
        await until(lambda: _no_marker(store))
        assert await stored(store) is not None


async def _no_marker(store: Store) -> bool:
    """Whether the lease of the first replica has ended."""
    return await store.get("marker") is None


async def test_a_replica_that_dies_for_good_does_not_leave_it_for_ever(store):
    async with AsyncExitStack() as first:
        pilot = await first.enter_async_context(replica(store, ttl=2))
        await first.enter_async_context(pilot.registered(MEMBER, WEB))
    await until(lambda: _gone(store))


async def test_the_newer_connection_of_two_replicas_wins(store):
    async with replica(store) as old, replica(store, "pilot-2", ahead=1) as new:
        async with AsyncExitStack() as of_old:
            await of_old.enter_async_context(old.registered(MEMBER, WEB))
            async with new.registered(MEMBER, WEB):
                assert (await stored(store)).controller == "pilot-2"
                await of_old.aclose()
                await _grace_over(old, store)
                assert (await stored(store)).controller == "pilot-2"
        await until(lambda: _gone(store))


async def test_an_older_connection_does_not_take_it_back(store):
    async with (
        replica(store, ahead=1) as new,
        replica(store, "pilot-2") as old,
        new.registered(MEMBER, WEB),
        old.registered(MEMBER, WEB) as registration,
    ):
        assert registration.revision == 0
        registration.found(False)
        await _grace_over(old, store)
        found = await stored(store)
        assert (found.controller, found.health) == ("pilot-1", Health.HEALTH_HEALTHY)


async def test_what_cannot_be_read_is_replaced(store):
    await store.put(KEY, b"\xff\xff")
    async with replica(store) as pilot, pilot.registered(MEMBER, WEB):
        assert (await stored(store)).controller == "pilot-1"


async def test_a_lost_lease_is_replaced_and_all_is_written_again(etcd):
    """etcd was away longer than the lease lasts."""
    async with tcp_proxy(etcd.endpoint) as between:
        config = EtcdConfig(endpoints=(between.endpoint,), timeout=timedelta(seconds=1))
        async with (
            connect(config) as store,
            connect(EtcdConfig(endpoints=(etcd.endpoint,))) as direct,
            replica(store, ttl=2) as pilot,
            pilot.registered(MEMBER, WEB) as registration,
        ):
            between.cut()
            await until(lambda: _gone(direct))
            registration.found(False)
            between.heal()
            await until(lambda: _health(direct, Health.HEALTH_UNHEALTHY))


async def test_a_proxy_is_not_kept_waiting_while_etcd_is_away(etcd):
    async with tcp_proxy(etcd.endpoint) as between:
        config = EtcdConfig(endpoints=(between.endpoint,), timeout=timedelta(seconds=1))
        async with (
            connect(config) as store,
            connect(EtcdConfig(endpoints=(etcd.endpoint,))) as direct,
            replica(store) as pilot,
            AsyncExitStack() as stack,
        ):
            between.cut()
            async with asyncio.timeout(10):
                registration = await stack.enter_async_context(pilot.registered(MEMBER, WEB))
            assert registration.revision == 0
            between.heal()
            await until(lambda: _health(direct, Health.HEALTH_HEALTHY))


async def test_proxies_that_do_not_ask_are_not_registered(store):
    async with replica(store) as pilot, pilot.registered(proxy(), None) as registration:
        registration.found(False)
        assert registration.revision == 0
        assert await stored(store) is None


@pytest.mark.parametrize(
    ("who", "identity", "refusal", "reason"),
    [
        pytest.param(MEMBER, None, NotAllowed, "needs a client certificate", id="plaintext"),
        pytest.param(
            MEMBER,
            SpiffeId("cluster.local", "bank", "web"),
            NotAllowed,
            "of namespace 'bank'",
            id="namespace",
        ),
        pytest.param(
            proxy(AUTO_REGISTER_GROUP="other"),
            WEB,
            UnknownGroup,
            "'other' in namespace 'shop'",
            id="group",
        ),
    ],
)
async def test_refusals_write_nothing(store, who, identity, refusal, reason):
    async with replica(store) as pilot:
        with pytest.raises(refusal, match=reason):
            async with pilot.registered(who, identity):
                pass
        assert (await store.list("registry/")).entries == ()
