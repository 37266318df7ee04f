"""Two meshes that trust each other, each for its own identities (A8.3, A8.4).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import aiohttp

from mast.citadel.core.spiffe_bundle import parsed
from mastapi.citadel.v1 import citadel_pb2
from tests.integration.trust.meshes import (
    Mesh,
    Workload,
    admitted,
    client_context,
    mesh,
    workload,
)
from tests.support.ads_server import until
from tests.support.etcd_server import EtcdServer
from tests.support.pki import Ca, key_pem, wall_clock

A, B = "a.example", "b.example"
ENDPOINT = ("--spiffe-bundle-listen", "127.0.0.1:0", "--spiffe-refresh-hint", "1s")


def plugged_in(directory: Path, ca: Ca) -> tuple[str, ...]:
    """Flags of a Citadel whose CA a test knows: it can forge what that CA could."""
    where = directory / "cacerts"
    where.mkdir()
    pem = {"ca-cert": ca.pem, "ca-key": key_pem(ca.key), "root-cert": ca.pem, "cert-chain": b""}
    for name, content in pem.items():
        (where / f"{name}.pem").write_bytes(content)
    return ("--root-ca-dir", str(where))


def forged(ca: Ca, directory: Path, identity: str) -> ssl.SSLContext:
    where = directory / str(abs(hash(identity)))
    where.mkdir()
    return client_context(ca.leaf(uris=[identity]), where)


async def url(made: Mesh) -> str:
    """Where a mesh serves its bundle."""
    address = await made.citadel.service.address("spiffe-bundle")
    return f"https://localhost:{address.rpartition(':')[2]}/"


async def federate(made: Mesh, other: Mesh) -> None:
    """By the other's endpoint, which its roots vouch for; an alias is a name for policies."""
    roots = (await other.citadel.roots()).decode()
    given = {"pem": roots, "trustDomains": [other.domain]}
    followed = {"spiffeBundleUrl": await url(other), "trustDomains": [other.domain]}
    aliases = [other.domain, f"old.{made.domain}"]
    await made.settings(caCertificates=[given, followed], trustDomainAliases=aliases)


def caller(reply_of: Workload) -> str:
    """Who the program was told that called last."""
    return reply_of.program.seen[-1].header("x-forwarded-client-cert")


async def test_two_meshes_call_each_other_and_vouch_for_their_own_only(
    etcd: EtcdServer, directory: Path, tmp_path: Path
) -> None:
    ca = Ca.root("of b")
    async with (
        mesh(etcd.endpoint, directory, A, citadel_flags=ENDPOINT) as a,
        mesh(
            etcd.endpoint,
            directory,
            B,
            citadel_flags=(*ENDPOINT, *plugged_in(directory, ca)),
        ) as b,
        workload(a, "alice") as alice,
        workload(b, "bob") as bob,
    ):
        await a.knows(b, "bob")
        await b.knows(a, "alice")
        await alice.reaches("bob.b.example", 503)
        assert bob.program.seen == [], "strangers so far"

        await federate(a, b)
        await federate(b, a)
        await alice.reaches("bob.b.example")
        assert f"URI={alice.identity}" in caller(bob)
        await bob.reaches("alice.a.example")
        assert f"URI={bob.identity}" in caller(alice)

        await nobody_vouches_for_others(ca, tmp_path, alice, bob)
        await b_follows_a_rotation_of_a(a, b, alice, bob)
        await failures_keep_the_last_good(a, b, alice)


async def nobody_vouches_for_others(ca: Ca, tmp_path: Path, alice: Workload, bob: Workload) -> None:
    """The CA of mesh B signs whatever it likes; in A only identities of B count."""
    genuine = forged(ca, tmp_path, f"spiffe://{B}/ns/shop/sa/carol")
    assert await admitted(alice.address, genuine)
    assert await admitted(bob.address, genuine)
    false = forged(ca, tmp_path, f"spiffe://{A}/ns/shop/sa/alice")
    assert not await admitted(alice.address, false)
    assert not await admitted(bob.address, false)
    renamed = forged(ca, tmp_path, f"spiffe://old.{B}/ns/shop/sa/carol")
    assert await admitted(bob.address, renamed), "an alias without a bundle is our own old name"
    assert not await admitted(alice.address, renamed)
    stranger = forged(Ca.root("of nobody"), tmp_path, f"spiffe://{B}/ns/shop/sa/dave")
    assert not await admitted(alice.address, stranger)


async def b_follows_a_rotation_of_a(a: Mesh, b: Mesh, alice: Workload, bob: Workload) -> None:
    """The new root reaches the other mesh before anything is signed by it."""
    await a.command("PrepareAuthority", citadel_pb2.PrepareAuthorityRequest())
    await until(lambda: b.trusts(2, A), seconds=30)
    await b.confirmed()
    await a.confirmed()
    request = citadel_pb2.ActivateAuthorityRequest(force=True)
    await a.command("ActivateAuthority", request)
    await a.command("TaintAuthority", citadel_pb2.TaintAuthorityRequest())
    await until(lambda: a.trusts(1), seconds=30)
    await until(lambda: b.trusts(2, A), seconds=30)
    await alice.reaches("bob.b.example")
    await bob.reaches("alice.a.example")


async def failures_keep_the_last_good(a: Mesh, b: Mesh, alice: Workload) -> None:
    """The endpoint of B is gone: A goes on with what it told last."""
    before = await a.bundle(B)
    await b.citadel.service.stop()
    await a.citadel.service.logged("federation.failed")
    assert await a.bundle(B) == before
    assert (await alice.get("bob.b.example")).status == 200


async def test_our_bundle_for_others(etcd: EtcdServer, directory: Path) -> None:
    """SPIFFE's format over https; the sequence rises with every change."""
    async with mesh(etcd.endpoint, directory, A, citadel_flags=ENDPOINT) as a:
        context = ssl.create_default_context(cadata=(await a.citadel.roots()).decode())
        async with aiohttp.ClientSession() as http:

            async def told() -> tuple[int, int]:
                async with http.get(await url(a), ssl=context) as answer:
                    assert (answer.status, answer.content_type) == (200, "application/json")
                    text = await answer.read()
                assert json.loads(text)["spiffe_refresh_hint"] == 1
                bundle = parsed(text)
                assert all(each.not_valid_after_utc > wall_clock() for each in bundle.roots)
                return len(bundle.roots), bundle.sequence or 0

            assert await told() == (1, 1)
            await a.command("PrepareAuthority", citadel_pb2.PrepareAuthorityRequest())
            await until(lambda: _is(told, (2, 2)), seconds=30)


async def _is(told: object, wanted: tuple[int, int]) -> bool:
    return bool(await told() == wanted)  # type: ignore[operator]
