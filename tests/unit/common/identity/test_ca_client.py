"""The CA client against a real gRPC server (citadel-and-agent.md B2)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from mast.common.identity.ca_client import (
    Algorithm,
    CaError,
    Certificate,
    encrypted,
    new_key_and_csr,
    retry_backoff,
    server_name,
)
from tests.fakes.ca import HOUR, ME, Clock, Context, FakeCa, behind_tls, client_of, plain
from tests.support.pki import Ca, Pair, wall_clock

# Keys and CSRs (B2.2).


@pytest.mark.parametrize(
    ("algorithm", "size", "label"),
    [
        pytest.param("P256", 256, "EC PRIVATE KEY", id="P256"),
        pytest.param("P384", 384, "EC PRIVATE KEY", id="P384"),
        pytest.param("RSA2048", 2048, "RSA PRIVATE KEY", id="RSA2048"),
        pytest.param("RSA3072", 3072, "RSA PRIVATE KEY", id="RSA3072"),
    ],
)
def test_key_and_csr(algorithm: Algorithm, size: int, label: str) -> None:
    key_pem, csr_pem = new_key_and_csr(ME, algorithm, dns=["reviews.shop.svc"])
    key = serialization.load_pem_private_key(key_pem, None)
    csr = x509.load_pem_x509_csr(csr_pem)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    assert key.key_size == size
    assert key_pem.startswith(f"-----BEGIN {label}-----\n".encode())
    assert csr.is_signature_valid
    assert csr.public_key() == key.public_key()
    assert list(csr.subject) == []
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [ME]
    assert names.get_values_for_type(x509.DNSName) == ["reviews.shop.svc"]


def test_pkcs8_key() -> None:
    key_pem, _ = new_key_and_csr(ME, pkcs8=True)
    assert key_pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")


def test_every_key_is_new() -> None:
    assert new_key_and_csr(ME)[0] != new_key_and_csr(ME)[0]


def test_unknown_algorithm_is_named() -> None:
    unknown: Any = "RSA1024"
    with pytest.raises(ValueError, match=r"'RSA1024': want one of P256, .*RSA2048"):
        new_key_and_csr(ME, unknown)


# Addresses (B2.3).


@pytest.mark.parametrize(
    ("address", "tls", "name"),
    [
        pytest.param("istiod.istio-system.svc:15012", True, "istiod.istio-system.svc", id="host"),
        pytest.param("istio-citadel:8060", True, "istio-citadel", id="1.4"),
        pytest.param("localhost:8060", True, "istiod.istio-system.svc", id="localhost"),
        pytest.param("127.0.0.1:8060", True, "istiod.istio-system.svc", id="loopback"),
        pytest.param("[::1]:8060", True, "istiod.istio-system.svc", id="loopback-v6"),
        pytest.param("10.0.0.7:15012", True, "10.0.0.7", id="address"),
        pytest.param("dns:///ca.example:443", True, "ca.example", id="grpc-target"),
        pytest.param("istiod.istio-system.svc:15010", False, "istiod.istio-system.svc", id="15010"),
        pytest.param("unix:/run/mast/citadel.sock", False, "", id="unix"),
    ],
)
def test_address(address: str, tls: bool, name: str) -> None:
    assert encrypted(address) is tls
    assert server_name(address) == name or not tls
    assert server_name(address, "istiod-canary.istio-system.svc") == (
        "istiod-canary.istio-system.svc"
    )


# Retries (B2.3).


def test_waits_between_attempts_double() -> None:
    backoff = retry_backoff()
    assert [backoff.next(0.5) / timedelta(milliseconds=1) for _ in range(5)] == [
        100, 200, 400, 800, 800,
    ]  # fmt: skip


@given(st.floats(0, 1, exclude_max=True))
def test_waits_between_attempts_move_by_a_tenth(random: float) -> None:
    delay = retry_backoff().next(random) / timedelta(milliseconds=1)
    assert 90 - 0.01 <= delay <= 110 + 0.01


@pytest.mark.parametrize("code", list(grpc.StatusCode)[1:], ids=lambda code: code.name)
async def test_statuses_that_may_pass_are_tried_five_times(
    directory: Path, code: grpc.StatusCode
) -> None:
    clock = Clock()
    ca = FakeCa(script=[code] * 9)
    async with plain(ca, directory, clock=clock) as client:
        with pytest.raises(CaError, match="as the script says") as caught:
            await client.sign(b"csr", HOUR)
    assert caught.value.code is code
    again = code.name in {"RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNAVAILABLE"}
    assert len(ca.requests) == (5 if again else 1)
    assert [w / timedelta(milliseconds=1) for w in clock.waits] == (
        [100, 200, 400, 800] if again else []
    )


async def test_a_later_attempt_may_succeed_on_a_new_connection(directory: Path) -> None:
    ca, authority = FakeCa(script=[grpc.StatusCode.UNAVAILABLE] * 4), Ca.root()
    async with behind_tls(ca, authority, directory) as address:
        client = client_of(address, Clock(), root_pem=lambda: authority.pem)
        certificate = await client.sign(b"csr", HOUR)
    assert certificate == Certificate(("leaf\n", "issuer\n"), "roots\n")
    assert len(set(ca.peers)) == 5


async def test_roots_are_read_again_for_every_attempt(directory: Path) -> None:
    ca, authority = FakeCa(), Ca.root()
    roots = iter([Ca.root("outdated").pem, authority.pem])
    async with behind_tls(ca, authority, directory) as address:
        await client_of(address, Clock(), root_pem=lambda: next(roots)).sign(b"csr", HOUR)
    assert len(ca.requests) == 1


async def test_a_server_of_another_name_is_refused(directory: Path) -> None:
    ca, authority = FakeCa(), Ca.root()
    async with behind_tls(ca, authority, directory) as address:
        client = client_of(
            address, Clock(), root_pem=lambda: authority.pem, tls_server_name="other.svc"
        )
        with pytest.raises(CaError) as caught:
            await client.sign(b"csr", HOUR)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert ca.requests == []


async def test_a_server_that_does_not_answer_is_given_up(directory: Path) -> None:
    class Silent(FakeCa):
        async def CreateCertificate(self, request: Any, context: Context) -> Any:
            await asyncio.Event().wait()

    async with plain(Silent(), directory, timeout=timedelta(milliseconds=50)) as client:
        with pytest.raises(CaError) as caught:
            await client.sign(b"csr", HOUR)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


# Requests and credentials (B2.1, B2.3).


async def test_request(directory: Path) -> None:
    ca = FakeCa()
    async with plain(
        ca,
        directory,
        cluster_id="east",
        metadata=(("x-tenant", "blue"),),
        request_metadata={"CertSigner": "acme"},
    ) as client:
        await client.sign(b"the csr", timedelta(hours=24))
    (request,) = ca.requests
    assert (request.csr, request.validity_duration) == ("the csr", 86400)
    assert dict(request.metadata) == {"CertSigner": "acme"}
    assert ca.metadata[0]["clusterid"] == "east"
    assert ca.metadata[0]["x-tenant"] == "blue"
    assert "authorization" not in ca.metadata[0]


async def test_token_is_read_again_for_every_attempt(directory: Path) -> None:
    tokens = iter(["old", None, "new"])
    ca = FakeCa(script=[grpc.StatusCode.UNAVAILABLE] * 2)
    async with plain(ca, directory, token=lambda: next(tokens)) as client:
        await client.sign(b"csr", HOUR)
    assert [m.get("authorization") for m in ca.metadata] == ["Bearer old", None, "Bearer new"]


async def test_missing_root_file_is_reported(directory: Path) -> None:
    client = client_of(
        "127.0.0.1:1", Clock(), root_pem=lambda: (directory / "root-cert.pem").read_bytes()
    )
    with pytest.raises(FileNotFoundError, match=r"root-cert\.pem"):
        await client.sign(b"csr", HOUR)


@pytest.mark.parametrize(
    ("life", "identities"),
    [
        pytest.param((-HOUR, HOUR), (ME,), id="valid"),
        pytest.param((-2 * HOUR, -HOUR), (), id="expired-is-not-presented"),
    ],
)
async def test_own_certificate(
    directory: Path, life: tuple[timedelta, timedelta], identities: tuple[str, ...]
) -> None:
    ca, authority = FakeCa(), Ca.root()
    own: Pair = authority.leaf(uris=[ME], valid=life)
    async with behind_tls(ca, authority, directory) as address:
        client = client_of(
            address,
            Clock(wall_clock()),
            root_pem=lambda: authority.pem,
            client_cert=lambda: (own.chain, own.key),
        )
        await client.sign(b"csr", HOUR)
    assert ca.identities == [identities]


@pytest.mark.parametrize("chain", [[], ["leaf\n"]], ids=["empty", "leaf-only"])
async def test_answers_without_roots_are_refused(directory: Path, chain: list[str]) -> None:
    async with plain(FakeCa(chain=chain), directory) as client:
        with pytest.raises(CaError, match=f"answer has {len(chain)} certificates"):
            await client.sign(b"csr", HOUR)
