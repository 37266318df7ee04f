"""Citadel's own server certificate (citadel-and-agent.md A2, "Own server cert")."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from structlog.testing import capture_logs

from mast.citadel.api.server_certificate import (
    KeyAndChain,
    OwnCertificate,
    ServerCertificates,
    server_csr,
    signed_elsewhere,
    signed_here,
)
from mast.citadel.config import Config
from mast.citadel.core.authority import Authority, issued_by
from mast.citadel.core.keys import load_private_key
from mast.citadel.core.refusals import SigningFailed
from mast.citadel.own_certificate import CertificateFiles, server_certificates
from mast.common.latest import Latest
from tests.fakes.kubernetes.server import api_server
from tests.support.pki import Ca, wall_clock
from tests.unit.citadel.examples import DAY, DOMAIN, HOUR, NOW, authority
from tests.unit.citadel.fakes import Clock
from tests.unit.citadel.test_services import below

NAMES = ("istiod.istio-system.svc", "localhost", "127.0.0.1")


def certificates(clock: Clock) -> ServerCertificates:
    make = signed_here(NAMES, clock, lambda size: b"\x05" * size)
    return ServerCertificates(make=make, aliases=("old.example",), now=clock)


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
        make=signed_here(NAMES, clock, bytes),
        aliases=(),
        now=clock,
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


ROOT = Ca.root("outer")


async def test_a_signer_outside_is_asked_again_at_half_life() -> None:
    asked: list[tuple[bytes, timedelta]] = []

    async def sign(csr_pem: bytes, ttl: timedelta) -> bytes:
        asked.append((csr_pem, ttl))
        return ROOT.leaf(dns=["istiod.istio-system.svc"]).chain + ROOT.pem

    clock = Clock(wall_clock())
    maker = ServerCertificates(make=signed_elsewhere(NAMES, sign, 90 * DAY), aliases=(), now=clock)
    signing = authority()
    own = await maker.new(signing)
    assert own.material.cert_chain_pem.endswith(ROOT.pem)
    assert own.material.trust == {DOMAIN: signing.roots_pem.encode()}
    ((csr_pem, ttl),) = asked
    assert ttl == 90 * DAY
    csr = x509.load_pem_x509_csr(csr_pem)
    san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in san] == list(NAMES)
    assert own.serves(signing, clock() + 11 * HOUR)
    assert not own.serves(signing, clock() + 13 * HOUR)


def test_a_request_for_names_has_no_subject() -> None:
    key_pem, csr_pem = server_csr(NAMES)
    csr = x509.load_pem_x509_csr(csr_pem)
    assert list(csr.subject) == []
    assert load_private_key(key_pem).public_key() == csr.public_key()


async def test_one_that_cannot_be_had_leaves_the_last_one() -> None:
    signing, failures = authority(), [OSError("no"), SigningFailed("secret"), ValueError("bad")]

    async def make(_: Authority) -> KeyAndChain:
        if failures:
            raise failures.pop()
        return KeyAndChain(b"chain", b"key", NOW + DAY)

    good = await certificates(Clock()).new(signing)
    own = Latest(good)
    maker = ServerCertificates(
        make=make,
        aliases=(),
        now=Clock(),
        changed=lambda: own.value is good,
        checked_every=timedelta(milliseconds=1),
        pause=timedelta(milliseconds=1),
    )
    with capture_logs() as logs:
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(maker.keep(Latest(signing), own))
            renewed = await own.after(good)
            keeping.cancel()
    assert renewed.material.cert_chain_pem == b"chain"
    assert [log["event"] for log in logs] == [
        "server_certificate.failed",
        "server_certificate.renewed",
    ]
    assert logs[0]["error"] == "bad"


async def test_files_are_taken_up_in_pairs(tmp_path: Path) -> None:
    first, second = ROOT.leaf(dns=["a.example"]), ROOT.leaf(dns=["b.example"])

    def write(chain: bytes, key: bytes) -> None:
        (tmp_path / "tls.crt").write_bytes(chain)
        (tmp_path / "tls.key").write_bytes(key)

    files = CertificateFiles(tmp_path)
    with pytest.raises(OSError, match=r"tls\.crt"):
        await files.read(authority())
    write(first.chain, first.key)
    assert files.changed()
    assert (await files.read(authority())).chain_pem == first.chain
    assert not files.changed()
    write(second.chain, first.key)
    assert files.changed()
    with pytest.raises(ValueError, match="not the key of"):
        await files.read(authority())
    write(second.chain, second.key)
    assert (await files.read(authority())).key_pem == second.key
    (tmp_path / "tls.key").unlink()
    assert not files.changed()


@pytest.mark.parametrize(
    ("provider", "message"), [("acme", "want istiod"), ("k8s.io/a.b/c", "want --kubeconfig")]
)
async def test_providers_that_cannot_be(provider: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        async with server_certificates(Config(cert_provider=provider), Clock()):
            pass


async def test_a_signer_of_the_cluster(tmp_path: Path) -> None:
    async with api_server() as cluster:
        cluster.signers.by_name["signers.example/server"] = ROOT
        (tmp_path / "kubeconfig").write_text(cluster.kubeconfig())
        config = Config(
            cert_provider="k8s.io/signers.example/server", kubeconfig=tmp_path / "kubeconfig"
        )
        async with server_certificates(config, wall_clock) as own:
            made = await own.new(authority())
    leaf = served(made)
    assert issued_by(leaf, ROOT.certificate)
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "istiod.istio-system.svc" in san.get_values_for_type(x509.DNSName)
