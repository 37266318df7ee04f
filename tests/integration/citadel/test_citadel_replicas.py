"""Several Citadels on one etcd, and etcd going away (citadel-and-agent.md A1, A8, D7)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from istio.auth.v1 import ca_pb2, ca_pb2_grpc
from mast.citadel.core.authority import Authority, State, self_signed
from mast.citadel.core.records import from_record, record
from mast.citadel.core.sealing import key_id, seal, unseal
from mast.citadel.store.authorities import AUTHORITY_KEY
from mast.citadel.store.bundles import Bundles
from mast.citadel.store.housekeeping import keep_house
from mast.citadel.store.join_tokens import JoinTokens
from mast.common.etcd import Store
from mast.common.identity.ca_client import CaError, new_key_and_csr, new_private_key
from mast.common.latest import Latest
from mastapi.citadel.v1 import citadel_pb2
from mastapi.trust.v1 import trust_pb2
from tests.integration.citadel.process import Citadel, citadel
from tests.support.etcd_server import EtcdServer
from tests.support.log_events import log_events
from tests.support.pki import wall_clock

Status = grpc.StatusCode
TRUST = "trust/cluster.local"
NEW_CSR = new_key_and_csr("spiffe://cluster.local/ns/shop/sa/reviews")[1]


async def attempt(call: Awaitable[object]) -> grpc.StatusCode | None:
    """None for a success, else the status."""
    try:
        await call
    except CaError as error:
        return error.code
    return None


async def bundle(store: Store, roots: int) -> trust_pb2.TrustBundle:
    """The published bundle, once it has so many roots."""
    async with asyncio.timeout(30):
        async for batch in store.follow_key(TRUST):
            for change in batch.changes:
                found = trust_pb2.TrustBundle.FromString(change.value or b"")
                if len(found.roots) == roots:
                    return found
    raise AssertionError("the follower ended")


async def test_replicas_on_an_empty_store_end_with_one_root(
    etcd: EtcdServer, store: Store, directory: Path
) -> None:
    async with (
        citadel(etcd.endpoint, directory, name="one") as one,
        citadel(etcd.endpoint, directory, name="two") as two,
        citadel(etcd.endpoint, directory, name="three") as three,
    ):
        roots = [await ca.roots() for ca in (one, two, three)]
        assert len(set(roots)) == 1
        assert roots[0].count(b"BEGIN CERTIFICATE") == 1
        created = [line for ca in (one, two, three) for line in ca.service.log]
        assert [line["event"] for line in created].count("authority.created") == 1

        pair, _ = await one.new_pair(await three.join_token())
        again, certificate = await two.new_pair(pair=pair)
        assert certificate.roots_pem.encode() == roots[0]
        assert again.key != pair.key
    published = await bundle(store, 1)
    assert published.roots[0].pem.encode() == roots[0]
    assert published.roots[0].state == trust_pb2.Root.ACTIVE


async def test_one_use_token_raced_at_two_replicas(etcd: EtcdServer, directory: Path) -> None:
    async with (
        citadel(etcd.endpoint, directory, name="one") as one,
        citadel(etcd.endpoint, directory, name="two") as two,
    ):
        roots = await two.roots()
        for _ in range(5):
            token = await one.join_token()
            clients = [await ca.client(token=token, roots=roots) for ca in (one, two) * 3]
            async with asyncio.TaskGroup() as tasks:
                calls = [
                    tasks.create_task(attempt(client.sign(NEW_CSR, timedelta(hours=1))))
                    for client in clients
                ]
            outcomes = [call.result() for call in calls]
            assert outcomes.count(None) == 1
            assert outcomes.count(Status.UNAUTHENTICATED) == 5


async def test_nothing_secret_is_in_the_store(etcd: EtcdServer, store: Store, ca: Citadel) -> None:
    token = await ca.join_token()
    everything = b"".join(
        entry.key.encode() + entry.value for entry in (await store.list("")).entries
    )
    assert b"PRIVATE KEY" not in everything
    assert token.encode() not in everything
    assert (ca.admin_socket.parent.parent / "ca.key").read_bytes() not in everything


async def test_wrong_sealing_key_is_fatal_and_named(etcd: EtcdServer, directory: Path) -> None:
    async with citadel(etcd.endpoint, directory, name="one") as one:
        await one.roots()
    right = key_id((directory / "ca.key").read_bytes())
    other = directory / "other"
    other.mkdir()
    async with citadel(etcd.endpoint, other, name="two") as two:
        assert await two.service.ended() == 1
    wrong = key_id((other / "ca.key").read_bytes())
    line = await two.service.logged("process.crashed")
    assert f"sealed with key {right}" in line["error"]
    assert f"holds key {wrong}" in line["error"]
    assert "--ca-key-file" in line["error"]


async def test_damaged_authority_is_fatal(etcd: EtcdServer, store: Store, directory: Path) -> None:
    async with citadel(etcd.endpoint, directory) as ca:
        await ca.roots()
    entry = await store.get(AUTHORITY_KEY)
    assert entry is not None
    sealed = citadel_pb2.SealedAuthority.FromString(entry.value)
    sealed.ciphertext = sealed.ciphertext[:-1]
    for value, named in ((sealed.SerializeToString(), "is damaged"), (b"\xff", "no authority")):
        await store.put(AUTHORITY_KEY, value)
        async with citadel(etcd.endpoint, directory) as ca:
            assert await ca.service.ended() == 1
        assert named in (await ca.service.logged("process.crashed"))["error"]


async def test_etcd_down_at_the_start(etcd: EtcdServer, directory: Path) -> None:
    await etcd.kill()
    async with citadel(etcd.endpoint, directory) as ca:
        await ca.service.logged("authority.unavailable")
        status, body = await ca.service.get("/ready")
        assert (status, json.loads(body)["authority"]) == (503, "none yet")
        assert (await ca.service.get("/healthz"))[0] == 200
        assert not [line for line in ca.service.log if line.get("name") in {"ca", "admin"}]
        await etcd.restart()
        await ca.new_pair(await ca.join_token())
        assert (await ca.service.get("/ready"))[0] == 200
        assert await ca.service.stop() == 0


async def test_stopped_before_there_is_a_ca(etcd: EtcdServer, directory: Path) -> None:
    await etcd.kill()
    async with citadel(etcd.endpoint, directory) as ca:
        await ca.service.logged("authority.unavailable")
        assert await ca.service.stop() == 0


async def test_etcd_down_while_serving(etcd: EtcdServer, ca: Citadel) -> None:
    """Own certificates still renew; what needs the store says so and comes back with it."""
    own, _ = await ca.new_pair(await ca.join_token())
    token, roots = await ca.join_token(), await ca.roots()
    await etcd.kill()
    await ca.new_pair(pair=own)

    asked = ca_pb2.IstioCertificateRequest(csr=NEW_CSR.decode(), validity_duration=3600)
    metadata = (("authorization", f"Bearer {token}"),)
    async with ca.channel(roots) as channel, ca.administrator() as administrator:
        service = ca_pb2_grpc.IstioCertificateServiceStub(channel)
        create = service.CreateCertificate(asked, metadata=metadata, timeout=30)
        request = citadel_pb2.CreateJoinTokenRequest(namespace="a", service_account="b")
        for call in (create, administrator.CreateJoinToken(request, timeout=30)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is Status.UNAVAILABLE
    status, body = await ca.service.get("/ready")
    assert status == 200
    assert json.loads(body)["etcd"].startswith("disconnected")

    await etcd.restart()
    await ca.service.logged("etcd.connected", count=2)
    await ca.new_pair(token)


async def replaced(store: Store, directory: Path, second: State) -> Authority:
    """Write an authority with one more slot, as a rotation does."""
    key = (directory / "ca.key").read_bytes()
    entry = await store.get(AUTHORITY_KEY)
    assert entry is not None
    old = from_record(unseal(citadel_pb2.SealedAuthority.FromString(entry.value), key))
    slot = self_signed(
        "cluster.local",
        new_private_key("P384"),
        now=wall_clock(),
        ttl=timedelta(days=3650),
        serial=99,
    )
    slots = {
        State.PREPARED: (old.active, replace(slot, state=State.PREPARED)),
        State.ACTIVE: (replace(old.active, state=State.OLD), slot),
    }[second]
    new = Authority(old.trust_domain, slots)
    sealed = seal(record(new), key, b"a-new-nonce!").SerializeToString()
    await store.compare_and_swap(AUTHORITY_KEY, sealed, entry.mod_revision)
    return new


async def test_replicas_take_up_a_replaced_authority(
    etcd: EtcdServer, store: Store, directory: Path
) -> None:
    """First trusted, then signing; certificates from before are accepted throughout (A8.5)."""
    async with (
        citadel(etcd.endpoint, directory, name="one") as one,
        citadel(etcd.endpoint, directory, name="two") as two,
    ):
        old_roots = await two.roots()
        pair, _ = await one.new_pair(await one.join_token())
        for state, count in ((State.PREPARED, 2), (State.ACTIVE, 3)):
            new = await replaced(store, directory, state)
            for ca in (one, two):
                await ca.service.logged("authority.loaded", count=count)
                await ca.service.logged("server_certificate.renewed", count=count - 1)
                pair, certificate = await ca.new_pair(pair=pair)
                certificate.leaf.verify_directly_issued_by(new.active.certificate)
                assert certificate.roots_pem == new.roots_pem
            published = await bundle(store, len(new.roots))
            assert "".join(root.pem for root in published.roots) == new.roots_pem
        # Who was away and holds the old bundle only is still served, and gets the new one.
        client = await one.client(pair=pair, roots=old_roots)
        back = await client.sign(NEW_CSR, timedelta(hours=1))
        assert back.roots_pem == new.roots_pem


async def test_replacement_that_cannot_be_opened_is_left_out(
    etcd: EtcdServer, store: Store, ca: Citadel
) -> None:
    before = await ca.roots()
    await store.put(AUTHORITY_KEY, b"nonsense")
    line = await ca.service.logged("authority.rejected")
    assert line["level"] == "error"
    assert await ca.roots() == before
    await ca.new_pair(await ca.join_token())


async def test_a_lost_authority_is_put_back(
    etcd: EtcdServer, store: Store, directory: Path
) -> None:
    """An emptied store must not give the mesh a second root."""
    async with citadel(etcd.endpoint, directory, name="one") as one:
        roots = await one.roots()
        await store.delete(AUTHORITY_KEY)
        await one.service.logged("authority.restored")
        async with citadel(etcd.endpoint, directory, name="two") as two:
            assert await two.roots() == roots


async def test_expired_tokens_are_forgotten_and_the_bundle_is_looked_after(store: Store) -> None:
    now = wall_clock()
    slot = self_signed(
        "cluster.local", new_private_key("P256"), now=now, ttl=timedelta(days=1), serial=1
    )
    authority: Latest[Authority | None] = Latest(Authority("cluster.local", (slot,)))
    tokens = JoinTokens(store)
    for name, life in (("old", -1), ("good", 60)):
        stored = citadel_pb2.JoinTokenRecord(spiffe_id="spiffe://cluster.local/ns/a/sa/b")
        stored.expires_at.FromDatetime(now + timedelta(seconds=life))
        await tokens.add(name, stored)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(
            keep_house(
                store, authority, Bundles(store), lambda: now, every=timedelta(milliseconds=20)
            )
        )
        first = await bundle(store, 1)
        await store.delete(TRUST)
        second = await bundle(store, 1)
        keeping.cancel()
    assert (first.sequence, second.roots) == (1, first.roots)
    assert await tokens.find("old") is None
    found = await tokens.find("good")
    assert found is not None
    assert [await tokens.use(found[1]) for _ in range(2)] == [True, False]


async def test_housekeeping_goes_on_after_etcd_was_away(etcd: EtcdServer, store: Store) -> None:
    now = wall_clock()
    slot = self_signed(
        "cluster.local", new_private_key("P256"), now=now, ttl=timedelta(days=1), serial=1
    )
    authority: Latest[Authority | None] = Latest(Authority("cluster.local", (slot,)))
    await etcd.kill()
    with log_events() as logged:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(
                keep_house(
                    store,
                    authority,
                    Bundles(store),
                    lambda: now,
                    after_a_failure=timedelta(milliseconds=20),
                )
            )
            while (await logged.get())["event"] != "housekeeping.failed":
                pass
            await etcd.restart()
            assert (await bundle(store, 1)).sequence == 1
            keeping.cancel()


async def test_a_replica_that_slept_does_not_publish_what_it_remembers(
    etcd: EtcdServer, store: Store, directory: Path
) -> None:
    """The root that signs meanwhile would be distrusted for a moment."""
    async with citadel(etcd.endpoint, directory) as ca:
        await ca.roots()
        entry = await store.get(AUTHORITY_KEY)
        assert entry is not None
        key = (directory / "ca.key").read_bytes()
        sealed = citadel_pb2.SealedAuthority.FromString(entry.value)
        old = replace(from_record(unseal(sealed, key)), revision=entry.mod_revision)
        await replaced(store, directory, State.PREPARED)
        newest = await bundle(store, 2)
    with log_events() as logged:
        await Bundles(store).publish(old)
        assert (await logged.get())["event"] == "bundle.out_of_date"
    assert await bundle(store, 2) == newest
