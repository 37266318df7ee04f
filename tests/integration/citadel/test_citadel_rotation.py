"""CAs that follow each other: commands, replicas that die, a store that fails (A8).

Section numbers are those of citadel-and-agent.md. The test plays Pilot: it says which bundle the
proxies of the mesh have confirmed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from mast.citadel.core.authority import certificates, issued_by
from mast.common.etcd import EtcdError, Store
from mast.common.keys import trust_key, trust_status_key
from mastapi.citadel.v1 import citadel_pb2
from mastapi.citadel.v1.citadel_pb2_grpc import CitadelAdminStub
from mastapi.status.v1.status_pb2 import TrustStatus
from mastapi.trust.v1.trust_pb2 import TrustBundle
from tests.integration.citadel.process import Citadel, citadel
from tests.support.ads_server import until
from tests.support.etcd_server import EtcdServer
from tests.support.pki import wall_clock

Slot = citadel_pb2.Authority.Slot
Status = grpc.StatusCode
BUNDLE = trust_key("cluster.local")


@dataclass
class Proxies:
    """What the mesh's proxies confirmed, as a Pilot would say it."""

    store: Store
    lagging: list[str] = field(default_factory=list)

    async def tell(self, *holders: tuple[int, int]) -> None:
        """So many proxies confirmed that sequence: pairs."""
        status = TrustStatus(reporter="pilot-a", trust_domain="cluster.local", lagging=self.lagging)
        status.since.FromDatetime(wall_clock() - timedelta(hours=1))
        for sequence, count in holders:
            status.holders.add(sequence=sequence, count=count)
        await self.store.put(trust_status_key("pilot-a"), status.SerializeToString())

    async def follow(self) -> None:
        """Confirm every bundle as soon as it is published."""
        async with aclosing(self.store.follow_key(BUNDLE)) as batches:
            async for batch in batches:
                for change in batch.changes:
                    bundle = TrustBundle.FromString(change.value or b"")
                    await self.tell((bundle.sequence, 100))


@asynccontextmanager
async def refused(code: grpc.StatusCode, text: str) -> AsyncIterator[None]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert caught.value.code() is code
    assert text in (caught.value.details() or "")


def states(seen: citadel_pb2.Authorities) -> list[str]:
    return [Slot.State.Name(each.state) for each in seen.slots]


async def prepare(stub: CitadelAdminStub) -> citadel_pb2.Authorities:
    return await stub.PrepareAuthority(citadel_pb2.PrepareAuthorityRequest(), timeout=20)


async def activate(stub: CitadelAdminStub, **wish: Any) -> citadel_pb2.Authorities:
    return await stub.ActivateAuthority(citadel_pb2.ActivateAuthorityRequest(**wish), timeout=20)


async def overview(stub: CitadelAdminStub) -> citadel_pb2.Authorities:
    return await stub.GetAuthorities(citadel_pb2.GetAuthoritiesRequest(), timeout=20)


async def test_commands_and_what_they_refuse(
    etcd: EtcdServer, store: Store, directory: Path
) -> None:
    proxies = Proxies(store, lagging=["sidecar~10.1.0.7~web-1.shop~shop"])
    async with citadel(etcd.endpoint, directory) as ca, ca.administrator() as stub:
        async with refused(Status.FAILED_PRECONDITION, "no slot is prepared"):
            await activate(stub)
        first = (await prepare(stub)).slots[0].id
        async with refused(Status.FAILED_PRECONDITION, "is prepared already"):
            await prepare(stub)
        async with refused(Status.FAILED_PRECONDITION, "no Pilot reports"):
            await activate(stub)
        sequence = (await overview(stub)).sequence
        await proxies.tell((sequence - 1, 10), (sequence, 110))
        text = "110 of 120 that are connected confirmed the roots: 9 more are needed (99%)"
        async with refused(Status.FAILED_PRECONDITION, f"{text}; among the others: sidecar~10"):
            await activate(stub)
        assert (await overview(stub)).knowledge.problem.startswith(text)
        await proxies.tell((sequence - 1, 1), (sequence, 119))
        seen = await activate(stub)
        assert states(seen) == ["OLD", "ACTIVE"]
        assert seen.slots[0].HasField("retires_at")

        signs = seen.slots[1].id
        request = citadel_pb2.TaintAuthorityRequest(slot=signs)
        async with refused(Status.FAILED_PRECONDITION, f"slot {signs} signs: prepare and"):
            await stub.TaintAuthority(request, timeout=20)
        revoke = citadel_pb2.RevokeAuthorityRequest(slot=first)
        async with refused(Status.FAILED_PRECONDITION, "taint it first"):
            await stub.RevokeAuthority(revoke, timeout=20)
        seen = await stub.TaintAuthority(citadel_pb2.TaintAuthorityRequest(), timeout=20)
        assert [each.tainted for each in seen.slots] == [True, False]
        async with refused(Status.FAILED_PRECONDITION, "0 of 120 that are connected confirmed"):
            await stub.RevokeAuthority(revoke, timeout=20)
        forced = citadel_pb2.RevokeAuthorityRequest(slot=first, force=True)
        seen = await stub.RevokeAuthority(forced, timeout=20)
        assert [each.id for each in seen.slots] == [signs]

        second = (await prepare(stub)).slots[1].id
        assert states(await activate(stub, slot=second[:4], force=True)) == ["OLD", "ACTIVE"]
        async with refused(Status.FAILED_PRECONDITION, "is no slot; there are"):
            await activate(stub, slot="zz")
        third = (await prepare(stub)).slots[2].id
        dropped = citadel_pb2.RevokeAuthorityRequest(slot=third)
        assert states(await stub.RevokeAuthority(dropped, timeout=20)) == ["OLD", "ACTIVE"]


async def test_a_store_that_fails_leaves_all_as_it_was(etcd: EtcdServer, directory: Path) -> None:
    async with citadel(etcd.endpoint, directory) as ca, ca.administrator() as stub:
        before = await overview(stub)
        pair, _ = await ca.new_pair(await ca.join_token())
        await etcd.kill()
        for step in (prepare, overview):
            async with refused(Status.UNAVAILABLE, "etcd"):
                await step(stub)
        _, certificate = await ca.new_pair(pair=pair)
        assert certificate.roots_pem.count("BEGIN CERTIFICATE") == 1
        await etcd.restart()
        await ca.service.logged("etcd.connected", count=2)
        assert (await overview(stub)).slots[0].id == before.slots[0].id
        assert states(await prepare(stub)) == ["ACTIVE", "PREPARED"]


SHORT = (
    *("--ca-cert-ttl", "20s", "--old-ca-grace", "1s", "--rotation-settling", "0s"),
    *("--self-signed-root-cert-check-interval", "300ms"),
)


@dataclass
class Replicas:
    """Replicas of one CA; `stack` ends them."""

    etcd: str
    directory: Path
    stack: AsyncExitStack
    running: list[Citadel] = field(default_factory=list)

    async def start(self) -> Citadel:
        name = f"c{len(self.running)}"
        made = citadel(self.etcd, self.directory, SHORT, name=name)
        self.running.append(await self.stack.enter_async_context(made))
        await self.running[-1].service.address("admin")
        return self.running[-1]

    async def kill(self) -> None:
        """The oldest that lives dies without a word, and another comes in its place."""
        alive = [each for each in self.running if each.service.process.returncode is None]
        alive[0].service.process.kill()
        await alive[0].service.process.wait()
        await self.start()

    @property
    def living(self) -> Citadel:
        return self.running[-1]


async def test_a_ca_is_replaced_by_itself_whoever_dies(
    etcd: EtcdServer, store: Store, directory: Path
) -> None:
    """A replica is killed in every phase; there is one CA that signs, and its root is known."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        replicas = Replicas(etcd.endpoint, directory, stack)
        confirming = tasks.create_task(Proxies(store).follow())
        for _ in range(2):
            await replicas.start()
        first = await phase(replicas, lambda seen: states(seen) == ["ACTIVE"])
        pair, _ = await replicas.living.new_pair(await replicas.living.join_token())
        await replicas.kill()
        await phase(replicas, lambda seen: "PREPARED" in states(seen))
        await replicas.kill()
        await phase(replicas, lambda seen: states(seen)[:2] == ["OLD", "ACTIVE"])
        await replicas.kill()
        name = first.slots[0].id
        last = await phase(replicas, lambda seen: name not in {s.id for s in seen.slots})
        assert states(last).count("ACTIVE") == 1
        entry = await store.get(BUNDLE)
        assert entry is not None
        roots = [x for r in TrustBundle.FromString(entry.value).roots for x in certificates(r.pem)]
        token = await replicas.living.join_token()
        _, certificate = await replicas.living.new_pair(token)
        assert any(issued_by(certificate.leaf, root) for root in roots)
        assert not any(issued_by(x509.load_pem_x509_certificate(pair.chain), r) for r in roots)
        confirming.cancel()


async def phase(
    replicas: Replicas, condition: Callable[[citadel_pb2.Authorities], bool]
) -> citadel_pb2.Authorities:
    """Wait until the CAs are in some state; at every moment exactly one of them signs."""
    found: list[citadel_pb2.Authorities] = []

    async def reached() -> bool:
        try:
            async with replicas.living.administrator() as stub:
                found[:] = [await overview(stub)]
        except (grpc.aio.AioRpcError, EtcdError):
            return False
        assert states(found[0]).count("ACTIVE") == 1
        assert states(found[0]).count("PREPARED") <= 1
        return condition(found[0])

    await until(reached, seconds=60)
    return found[0]
