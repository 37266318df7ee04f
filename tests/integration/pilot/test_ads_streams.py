"""ADS streams from the outside: who gets in, what is answered, how streams end."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import grpc
import pytest

from mast.common.identity.spiffe import SpiffeId
from mast.pilot.api.ads import Door
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.access import NotAllowed
from mast.pilot.core.xds.admission import TokenBucket
from mast.pilot.core.xds.registration import UnknownGroup
from mast.pilot.core.xds.resources import CDS, EDS, HEALTH, LDS, SDS
from tests.fakes.pilot_views import FakeMesh, assignment, eds_cluster, secret, static_cluster
from tests.support.ads_server import ads_server, until
from tests.support.xds_client import node, xds_stream

PROTOCOLS = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


@pytest.fixture
def mesh():
    made = FakeMesh()
    made.put(eds_cluster("a"), assignment("a", [1]), secret("cert", "top secret"))
    return made


def at(ads):
    return f"127.0.0.1:{ads.port}"


@PROTOCOLS
async def test_no_answer_to_a_stale_nonce(mesh, delta):
    """Acceptance 6."""
    async with ads_server(mesh) as ads, xds_stream(at(ads), delta=delta) as stream:
        await stream.ask(CDS)
        told = await stream.told()
        await stream.ack(told)
        await stream.ask(CDS, nonce="stale")
        assert await stream.silent()
        assert ads.metric("pilot_xds_expired_nonce") == 1


@PROTOCOLS
async def test_responses_are_counted(mesh, delta):
    async with ads_server(mesh) as ads, xds_stream(at(ads), delta=delta) as stream:
        await stream.ask(CDS)
        told = await stream.told()
        # It is counted when it was written, which the reader may learn first.
        await until(lambda: ads.metric('pilot_xds_pushes{type="cds"}') == 1)
        size = ads.metric('pilot_xds_config_size_bytes_sum{type="cds"}')
        assert size == told.ByteSize()
        assert ads.metric("pilot_xds{") == 1


@PROTOCOLS
async def test_a_push_reaches_everybody_with_the_same_nonce(mesh, delta):
    async with (
        ads_server(mesh) as ads,
        xds_stream(at(ads), delta=delta) as one,
        xds_stream(at(ads), delta=delta) as other,
    ):
        for stream in (one, other):
            await stream.ask(CDS)
            await stream.ack(await stream.told())
        await until(lambda: all(_acked(ads, index) for index in range(2)))
        mesh.put(static_cluster("s"))
        await ads.push()
        assert await one.told() == await other.told()
        await until(lambda: ads.metric("pilot_proxy_convergence_time_count") == 2)


def _acked(ads, index):
    watch = ads.watch(CDS, index)
    return watch is not None and watch.quiet


async def test_a_snapshot_that_appears_while_a_stream_opens_is_not_missed(mesh):
    async with ads_server(mesh) as ads, xds_stream(at(ads)) as stream:
        await stream.ask(CDS)
        await stream.told()
        mesh.put(static_cluster("s"))
        await ads.push()
        mesh.put(static_cluster("t"))
        await ads.push()
        names = set()
        while names != {"s", "t"}:
            names |= {each.name for each in (await stream.told()).resources}


class TestRefusals:
    async def test_before_everything_is_known(self, mesh):
        """N5."""
        async with ads_server(mesh, synced=False) as ads:
            async with xds_stream(at(ads)) as stream:
                await stream.ask(CDS)
                code, detail = await stream.ended()
            assert (code, detail) == (
                grpc.StatusCode.UNAVAILABLE,
                "no complete configuration yet",
            )
            await ads.push()
            async with xds_stream(at(ads)) as stream:
                await stream.ask(CDS)
                assert [each.name for each in (await stream.told()).resources] == ["a"]

    async def test_of_too_many_streams(self, mesh):
        """B20."""
        bucket = TokenBucket(rate=0.1, burst=1)
        async with ads_server(mesh, admission=bucket) as ads:
            async with xds_stream(at(ads)) as stream:
                await stream.ask(CDS)
                await stream.told()
            async with xds_stream(at(ads)) as stream:
                await stream.ask(CDS)
                assert (await stream.ended())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED

    @pytest.mark.parametrize(
        ("who", "reason"),
        [
            pytest.param(node(""), "four parts", id="no-id"),
            pytest.param(node("sidecar~x~a.b~c"), "no IP address", id="no-address"),
            pytest.param(node(LABELS="x"), "LABELS: want an object", id="metadata"),
        ],
    )
    async def test_of_nodes_that_make_no_sense(self, mesh, who, reason):
        async with ads_server(mesh) as ads, xds_stream(at(ads), who=who) as stream:
            await stream.ask(CDS)
            code, detail = await stream.ended()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert reason in detail

    async def test_of_requests_without_a_type(self, mesh):
        async with ads_server(mesh) as ads, xds_stream(at(ads)) as stream:
            await stream.ask("")
            code, detail = await stream.ended()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert detail.startswith("type_url: must not be empty")

    async def test_of_clients_that_do_not_read(self, mesh):
        """B18: a slow proxy does not hold anything up for ever."""
        for number in range(200):
            mesh.put(static_cluster(f"c{number}", "x" * 10_000))
        limit = (("grpc.http2.lookahead_bytes", 0), ("grpc.http2.bdp_probe", 0))
        async with ads_server(mesh, send_timeout=timedelta(seconds=0.3)) as ads:
            async with xds_stream(at(ads), delta=False, options=limit) as stream:
                await stream.ask(CDS)
                await until(lambda: ads.connections.open)
                for number in range(20):
                    mesh.put(static_cluster("more", str(number) * 1_000))
                    await ads.push()
                    await asyncio.sleep(0.05)
                await until(lambda: ads.metric("pilot_xds_write_timeout") == 1)
            assert ads.metric('pilot_xds_pushes{type="cds_senderr"}') == 1
            await until(lambda: not ads.connections.open)


async def test_slow_readers_do_not_hold_up_others(mesh):
    """N20: only two may push at a time, and two proxies do not read what they are pushed."""
    limit = (("grpc.http2.lookahead_bytes", 0), ("grpc.http2.bdp_probe", 0))
    async with ads_server(mesh, slots=2) as ads, AsyncExitStack() as stack:
        for _ in range(2):
            slow = await stack.enter_async_context(xds_stream(at(ads), delta=False, options=limit))
            await slow.ask(CDS)
            await slow.ack(await slow.told())
        quick = await stack.enter_async_context(xds_stream(at(ads)))
        await quick.ask(EDS, "a")
        await quick.ack(await quick.told())
        for number in range(200):
            mesh.put(static_cluster(f"c{number}", "x" * 10_000))
        for number in range(5):
            mesh.put(static_cluster("more", str(number)), assignment("a", [number + 2]))
            await ads.push()
            await quick.ack(await quick.told())
        assert ads.metric("pilot_xds_write_timeout") == 0
        assert ads.metric('pilot_xds_pushes{type="cds"}') < 2 * 5, "they do not read"


class TestIdentity:
    """A5, acceptance 34."""

    @staticmethod
    def door(*identities):
        return Door(lambda peer: identities)

    async def test_of_another_namespace_is_denied(self, mesh):
        door = self.door("spiffe://cluster.local/ns/bank/sa/web")
        async with ads_server(mesh, door=door) as ads, xds_stream(at(ads)) as stream:
            await stream.ask(CDS)
            code, detail = await stream.ended()
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert "claims namespace 'shop'" in detail

    async def test_is_required_where_certificates_are(self, mesh):
        async with ads_server(mesh, door=self.door()) as ads, xds_stream(at(ads)) as stream:
            await stream.ask(CDS)
            assert (await stream.ended())[0] is grpc.StatusCode.UNAUTHENTICATED

    async def test_gives_secrets(self, mesh):
        door = self.door("spiffe://cluster.local/ns/shop/sa/web")
        async with ads_server(mesh, door=door) as ads, xds_stream(at(ads)) as stream:
            await stream.ask(SDS, "cert")
            told = await stream.told()
            assert [each.name for each in told.resources] == ["cert"]
            (connection,) = ads.connections.open.values()
            assert connection.peer.identity == SpiffeId("cluster.local", "shop", "web")
            assert connection.stream.identity == "spiffe://cluster.local/ns/shop/sa/web"

    async def test_is_needed_for_secrets(self, mesh):
        async with ads_server(mesh) as ads, xds_stream(at(ads)) as stream:
            await stream.ask(SDS, "cert")
            told = await stream.told()
            assert (list(told.resources), list(told.removed_resources)) == ([], ["cert"])


class Registrar:
    """Keeps a book of who came, went and how they were."""

    def __init__(self, refusal: Exception | None = None, revision: int = 0) -> None:
        self.book: list[object] = []
        self.revision = revision
        self._refusal = refusal

    def found(self, healthy: bool, /) -> None:
        self.book.append(healthy)

    @asynccontextmanager
    async def registered(
        self, proxy: Proxy, identity: SpiffeId | None
    ) -> AsyncIterator["Registrar"]:
        if self._refusal is not None:
            raise self._refusal
        self.book.append(f"{proxy.id} came as {identity}")
        try:
            yield self
        finally:
            self.book.append("went")


class TestRegistration:
    async def test_lasts_as_long_as_the_stream(self, mesh):
        registrar = Registrar()
        door = Door(lambda peer: ("spiffe://cluster.local/ns/shop/sa/web",))
        async with ads_server(mesh, registrar=registrar, door=door) as ads:
            async with xds_stream(at(ads)) as stream:
                await stream.ask(LDS)
                await stream.told()
                await stream.ask(HEALTH, error="it hangs")
                await stream.ask(HEALTH)
                await until(lambda: len(registrar.book) == 3)
                assert await stream.silent()
            await until(lambda: not ads.connections.open)
        came = "web-1.shop came as spiffe://cluster.local/ns/shop/sa/web"
        assert registrar.book == [came, False, True, "went"]

    @pytest.mark.parametrize(
        ("refusal", "code"),
        [
            (NotAllowed("not yours"), grpc.StatusCode.PERMISSION_DENIED),
            (UnknownGroup("no group"), grpc.StatusCode.FAILED_PRECONDITION),
        ],
        ids=["not-allowed", "unknown-group"],
    )
    async def test_can_be_refused(self, mesh, refusal, code):
        registrar = Registrar(refusal)
        async with ads_server(mesh, registrar=registrar) as ads, xds_stream(at(ads)) as stream:
            await stream.ask(LDS)
            assert await stream.ended() == (code, str(refusal))

    async def test_is_in_the_first_answer(self, mesh):
        """The proxy is answered from a snapshot that knows its workload."""
        registrar = Registrar(revision=7)
        async with ads_server(mesh, registrar=registrar) as ads, xds_stream(at(ads)) as stream:
            await stream.ask(EDS, "a")
            await until(lambda: registrar.book)
            mesh.put(assignment("a", [1, 2]))
            await ads.push(registered=7)
            told = await stream.told()
            assert told.resources[0].version == mesh.view().collection(EDS).resources["a"].version
            assert await stream.silent()


class TestDraining:
    async def test_closes_streams_and_takes_on_no_more(self, mesh):
        async with ads_server(mesh) as ads, xds_stream(at(ads)) as stream:
            await stream.ask(CDS)
            await stream.told()
            ads.connections.drain(timedelta(seconds=0.2), random.random)
            assert (await stream.ended())[0] is grpc.StatusCode.OK
            async with xds_stream(at(ads)) as late:
                await late.ask(CDS)
                assert await late.ended() == (
                    grpc.StatusCode.UNAVAILABLE,
                    "this replica is shutting down",
                )
            assert [each.proxy.id for each in ads.closed] == ["web-1.shop"]

    async def test_spreads_over_time(self, mesh):
        async with (
            ads_server(mesh) as ads,
            xds_stream(at(ads)) as first,
            xds_stream(at(ads)) as last,
        ):
            for stream in (first, last):
                await stream.ask(CDS)
                await stream.told()
            shares = iter([0.0, 1.0])
            ads.connections.drain(timedelta(seconds=0.5), lambda: next(shares))
            await first.ended()
            assert len(ads.connections.open) == 1
            await last.ended()
