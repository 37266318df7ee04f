"""Citadel's own server certificate (citadel-and-agent.md A2, "Own server cert")."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mast.citadel.api.server_certificate import OwnCertificate, ServerCertificates
from mast.citadel.core.authority import Authority, issued_by
from mast.citadel.core.keys import load_private_key
from mast.common.latest import Latest
from tests.unit.citadel.examples import DAY, DOMAIN, HOUR, NOW, authority
from tests.unit.citadel.fakes import Clock
from tests.unit.citadel.test_services import below

NAMES = ("istiod.istio-system.svc", "localhost", "127.0.0.1")


def certificates(clock: Clock) -> ServerCertificates:
    return ServerCertificates(
        names=NAMES, aliases=("old.example",), now=clock, entropy=lambda size: b"\x05" * size
    )


def served(own: OwnCertificate) -> x509.Certificate:
    return x509.load_pem_x509_certificates(own.material.cert_chain_pem)[0]


@pytest.mark.parametrize("kind", ["P256", "P384", "RSA3072"])
async def test_profile(kind: str) -> None:
    signing = authority(kind, ttl=100 * DAY)
    own = await certificates(Clock()).new(signing)
    leaf = served(own)
    assert issued_by(leaf, signing.active.certificate)
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in san] == list(NAMES)
    assert leaf.not_valid_after_utc == NOW + 100 * DAY
    key = load_private_key(own.material.key_pem)
    assert key.public_key() == leaf.public_key()
    family = rsa.RSAPrivateKey if kind.startswith("RSA") else ec.EllipticCurvePrivateKey
    assert isinstance(key, family)
    assert key.key_size == {"P256": 256, "P384": 384, "RSA3072": 2048}[kind]


async def test_trust_of_the_front() -> None:
    signing = authority()
    own = await certificates(Clock()).new(signing)
    roots = signing.roots_pem.encode()
    assert own.material.trust == {DOMAIN: roots, "old.example": roots}


async def test_intermediates_are_served() -> None:
    signing, chain = below(2)
    clock = Clock(signing.active.certificate.not_valid_before_utc + HOUR)
    own = await certificates(clock).new(signing)
    pems = own.material.cert_chain_pem.decode()
    assert pems.endswith("".join(chain[:-1]))
    assert pems.count("BEGIN CERTIFICATE") == 3


async def test_renewed_at_half_life_or_with_another_authority() -> None:
    signing = authority(ttl=100 * DAY)
    own = await certificates(Clock()).new(signing)
    assert own.serves(signing, NOW + 49 * DAY)
    assert not own.serves(signing, NOW + 51 * DAY)
    assert not own.serves(authority(ttl=100 * DAY), NOW)


async def test_another_authority_is_followed_at_once() -> None:
    first, second = authority("P256"), authority("P384")
    maker = certificates(Clock())
    current: Latest[Authority | None] = Latest(first)
    own = Latest(await maker.new(first))
    begun = own.value
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(maker.keep(current, own))
        current.publish(second)
        renewed = await own.after(begun)
        keeping.cancel()
    assert issued_by(served(renewed), second.active.certificate)
    assert renewed.material.trust[DOMAIN] == second.roots_pem.encode()


async def test_renewed_in_time_without_a_change() -> None:
    clock = Clock()
    maker = ServerCertificates(
        names=NAMES,
        aliases=(),
        now=clock,
        entropy=bytes,
        checked_every=timedelta(milliseconds=10),
    )
    signing = authority(ttl=100 * DAY)
    current: Latest[Authority | None] = Latest(signing)
    own = Latest(await maker.new(signing))
    begun = own.value
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(maker.keep(current, own))
        clock.time = NOW + 60 * DAY
        renewed = await own.after(begun)
        keeping.cancel()
    assert renewed.authority is signing
    assert served(renewed).not_valid_before_utc > served(begun).not_valid_before_utc
