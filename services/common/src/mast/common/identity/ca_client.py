"""The client of a certificate authority: keys, CSRs, and a certificate that stays fresh (B2).

Section numbers are those of citadel-and-agent.md.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import random as system_random
from typing import Any, Literal, cast, get_args

import grpc
import grpc.aio
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.protobuf.json_format import ParseDict

from istio.auth.v1 import ca_pb2, ca_pb2_grpc
from mast.common.backoff import Backoff
from mast.common.identity.spiffe import SpiffeId
from mast.common.latest import Latest

log = structlog.get_logger()

Algorithm = Literal["P256", "P384", "RSA2048", "RSA3072", "RSA4096"]

ATTEMPTS = 5
RETRIED = frozenset(
    {
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
    }
)

_PLAINTEXT_PORT = "15010"
_LOCAL_NAME = "istiod.istio-system.svc"
_CURVES: Mapping[str, ec.EllipticCurve] = {"P256": ec.SECP256R1(), "P384": ec.SECP384R1()}

# Attempts must not share a connection that just failed.
_APART: Sequence[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]

# A wait never exceeds this, so that a clock that jumped (a laptop that slept) is noticed.
_LONGEST_WAIT = timedelta(minutes=1)


class CaError(Exception):
    """The CA did not give a certificate; ``code`` is its gRPC status."""

    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(f"{code.name}: {detail}")
        self.code = code


@dataclass(frozen=True)
class Certificate:
    """What a CA answered: PEM of the leaf and its issuers, each apart, and of the trusted roots."""

    chain_pem: tuple[str, ...]
    roots_pem: str

    @property
    def leaf(self) -> x509.Certificate:
        """The workload's own certificate."""
        return x509.load_pem_x509_certificate(self.chain_pem[0].encode())


def new_key_and_csr(
    spiffe_id: str, algorithm: Algorithm = "P256", dns: Sequence[str] = (), *, pkcs8: bool = False
) -> tuple[bytes, bytes]:
    """A fresh private key and a CSR for it with the identity as URI SAN, both PEM (B2.2).

    The key is written as ``EC PRIVATE KEY`` or ``RSA PRIVATE KEY``, as Istio's agent does, or as
    ``PRIVATE KEY`` if ``pkcs8`` (``PKCS8_KEY``, B1). Raises ValueError for an unknown algorithm.
    """
    key = new_private_key(algorithm)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(spiffe_id)]
    names += [x509.DNSName(name) for name in dns]
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(key, hashes.SHA384() if algorithm == "P384" else hashes.SHA256())
    )
    form = serialization.PrivateFormat
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        form.PKCS8 if pkcs8 else form.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return key_pem, csr.public_bytes(serialization.Encoding.PEM)


def new_private_key(algorithm: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """A fresh key; ValueError names the algorithms there are."""
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    if algorithm in get_args(Algorithm):
        return rsa.generate_private_key(65537, int(algorithm.removeprefix("RSA")))
    raise ValueError(f"key algorithm {algorithm!r}: want one of {', '.join(get_args(Algorithm))}")


def renewal_at(
    not_before: datetime,
    not_after: datetime,
    random: float,
    *,
    ratio: float = 0.5,
    jitter: float = 0.01,
) -> datetime:
    """When to renew: not_after - life * clamp(ratio +- jitter) (B3.4); random is in [0, 1)."""
    share = min(1.0, max(0.0, ratio + jitter * (2 * random - 1)))
    return not_after - (not_after - not_before) * share


def encrypted(address: str) -> bool:
    """Whether an address is spoken to with TLS: not a Unix socket, not port 15010 (B2.3)."""
    return not address.startswith("unix:") and address.rpartition(":")[2] != _PLAINTEXT_PORT


def server_name(address: str, override: str = "") -> str:
    """The name that the CA's certificate must carry (B2.3).

    The host of the address; istiod's service name for a host that means this machine; always
    ``override`` (``ISTIOD_SAN``) if there is one.
    """
    host = address.removeprefix("dns:").lstrip("/").rpartition(":")[0].strip("[]")
    return override or (_LOCAL_NAME if _is_local(host) else host)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def retry_backoff() -> Backoff:
    """The waits between the attempts of one call: 100, 200, 400, 800 ms, +-10 % (B2.3)."""
    return Backoff(timedelta(milliseconds=100), timedelta(milliseconds=800), jitter=0.1)


def renewal_backoff() -> Backoff:
    """The waits after failed renewals: 0.5 to 60 s, doubling (B3.3)."""
    return Backoff(timedelta(milliseconds=500), timedelta(seconds=60))


def tls_channel(
    address: str, root_pem: bytes, pair: tuple[bytes, bytes] | None, name: str
) -> grpc.aio.Channel:
    """A connection of its own to a CA that shows a certificate for ``name``.

    ``root_pem`` may be b"" for the machine's roots; ``pair`` is PEM of (chain, key) to present.
    """
    chain, key = pair or (None, None)
    credentials = grpc.ssl_channel_credentials(root_pem or None, key, chain)
    options = [*_APART, ("grpc.ssl_target_name_override", name)]
    return grpc.aio.secure_channel(address, credentials, options=options)


async def _sleep(delay: timedelta) -> None:
    await asyncio.sleep(delay.total_seconds())


@dataclass(frozen=True, kw_only=True)
class CaClient:
    """Calls ``IstioCertificateService.CreateCertificate`` as Istio's agent does (B2).

    ``address`` is ``host:port`` or ``unix:/path``. Token, roots and client certificate are asked
    for anew for every attempt, each of which dials anew. ``root_pem`` may give b"" for the
    system's roots; ``client_cert`` gives PEM of (chain, key); an expired one is not presented.
    ``request_metadata`` fills the request's own metadata (``CertSigner``,
    ``ImpersonatedIdentity``), ``metadata`` adds gRPC metadata.
    """

    address: str
    root_pem: Callable[[], bytes]
    token: Callable[[], str | None]
    client_cert: Callable[[], tuple[bytes, bytes] | None]
    now: Callable[[], datetime]
    cluster_id: str = ""
    metadata: Sequence[tuple[str, str]] = ()
    request_metadata: Mapping[str, str] = field(default_factory=dict)
    tls_server_name: str = ""
    timeout: timedelta = timedelta(seconds=10)
    random: Callable[[], float] = system_random
    sleep: Callable[[timedelta], Awaitable[None]] = _sleep

    async def sign(self, csr_pem: bytes, ttl: timedelta) -> Certificate:
        """The certificate for a CSR; ``ttl`` is a wish, whole seconds count.

        Tries up to five times, on statuses that may pass only. Raises CaError with the last
        status, or OSError if the callables cannot read their files.
        """
        request = ca_pb2.IstioCertificateRequest(
            csr=csr_pem.decode(), validity_duration=int(ttl.total_seconds())
        )
        ParseDict(dict(self.request_metadata), request.metadata)
        backoff = retry_backoff()
        attempt = 1
        while True:
            try:
                return _certificate(await self._call(request))
            except grpc.aio.AioRpcError as error:
                code, detail = error.code(), error.details() or ""
                if code not in RETRIED or attempt == ATTEMPTS:
                    raise CaError(code, detail) from error
            log.debug("ca.retrying", attempt=attempt, status=code.name, detail=detail)
            await self.sleep(backoff.next(self.random()))
            attempt += 1

    async def _call(self, request: ca_pb2.IstioCertificateRequest) -> Sequence[str]:
        metadata = list(self.metadata)
        if self.cluster_id:
            metadata.append(("clusterid", self.cluster_id))
        if token := self.token():
            metadata.append(("authorization", f"Bearer {token}"))
        async with self._channel() as channel:
            stub = ca_pb2_grpc.IstioCertificateServiceStub(channel)
            response = await stub.CreateCertificate(
                request, metadata=tuple(metadata), timeout=self.timeout.total_seconds()
            )
            return response.cert_chain

    def _channel(self) -> grpc.aio.Channel:
        if not encrypted(self.address):
            return grpc.aio.insecure_channel(self.address, options=_APART)
        name = server_name(self.address, self.tls_server_name)
        return tls_channel(self.address, self.root_pem(), self._presentable(), name)

    def _presentable(self) -> tuple[bytes, bytes] | None:
        pair = self.client_cert()
        if pair is None:
            return None
        expires = x509.load_pem_x509_certificate(pair[0]).not_valid_after_utc
        return pair if self.now() < expires else None


def _certificate(cert_chain: Sequence[str]) -> Certificate:
    """Split an answer [leaf, intermediates…, roots] (A4); CaError if it is shorter than two."""
    if len(cert_chain) < 2:
        raise CaError(
            grpc.StatusCode.INTERNAL,
            f"answer has {len(cert_chain)} certificates, want the leaf, its issuers and the roots",
        )
    return Certificate(chain_pem=tuple(cert_chain[:-1]), roots_pem=cert_chain[-1])


@dataclass(frozen=True)
class KeyPair:
    """A private key, the certificate for it, and when that ends."""

    key_pem: bytes
    certificate: Certificate
    not_before: datetime
    not_after: datetime

    @property
    def chain_pem(self) -> bytes:
        """The leaf and its issuers in one PEM."""
        return "".join(self.certificate.chain_pem).encode()


async def _wait_for(wake: asyncio.Event, delay: timedelta) -> None:
    try:
        async with asyncio.timeout(delay.total_seconds()):
            await wake.wait()
    except TimeoutError:
        return


@dataclass(kw_only=True)
class WorkloadCertificates:
    """Keeps one certificate fresh: a new key each time, one CSR in flight (B3.3, B3.4).

    ``sign`` is usually ``CaClient.sign``. Failures are retried after 0.5 to 60 s while the last
    good certificate stays ``current``.
    """

    sign: Callable[[bytes, timedelta], Awaitable[Certificate]]
    spiffe_id: str
    now: Callable[[], datetime]
    ttl: timedelta = timedelta(hours=24)
    algorithm: Algorithm = "P256"
    dns: Sequence[str] = ()
    pkcs8: bool = False
    ratio: float = 0.5
    jitter: float = 0.01
    random: Callable[[], float] = system_random
    wait: Callable[[asyncio.Event, timedelta], Awaitable[None]] = _wait_for
    _pair: Latest[KeyPair | None] = field(default_factory=lambda: Latest(None), init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @property
    def current(self) -> KeyPair | None:
        """The last certificate that was issued; None before the first."""
        return self._pair.value

    async def changed(self, seen: KeyPair | None) -> KeyPair:
        """The current certificate, as soon as there is another one than ``seen``."""
        return cast(KeyPair, await self._pair.after(seen))  # nobody publishes None

    def renew(self) -> None:
        """Ask for a new certificate now, whatever the age of the current one."""
        self._wake.set()

    async def run(self) -> None:
        """Get a certificate and renew it for ever."""
        backoff = renewal_backoff()
        while True:
            self._wake.clear()
            try:
                pair = await self._issue()
            except (CaError, OSError, ValueError) as error:
                delay = backoff.next(self.random())
                log.warning(
                    "certificate.refused",
                    identity=self.spiffe_id,
                    error=str(error),
                    retry_seconds=round(delay.total_seconds(), 1),
                )
                await self.wait(asyncio.Event(), delay)
                continue
            backoff.reset()
            self._pair.publish(pair)
            log.info(
                "certificate.renewed",
                identity=self.spiffe_id,
                not_after=pair.not_after.isoformat(),
            )
            await self._until_due(pair)

    async def _until_due(self, pair: KeyPair) -> None:
        due = renewal_at(
            pair.not_before, pair.not_after, self.random(), ratio=self.ratio, jitter=self.jitter
        )
        while not self._wake.is_set() and (left := due - self.now()) > timedelta():
            await self.wait(self._wake, min(left, _LONGEST_WAIT))

    async def _issue(self) -> KeyPair:
        key_pem, csr_pem = await asyncio.to_thread(
            new_key_and_csr, self.spiffe_id, self.algorithm, self.dns, pkcs8=self.pkcs8
        )
        certificate = await self.sign(csr_pem, self.ttl)
        leaf = certificate.leaf
        requested = x509.load_pem_x509_csr(csr_pem).public_key()
        if leaf.public_key() != requested:
            raise ValueError("the CA's certificate is for another key than the CSR's")
        return KeyPair(key_pem, certificate, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def ca_roots(root_file: Path | None, mesh_roots: Callable[[], bytes]) -> bytes:
    """What a service verifies Citadel by, as PEM: the roots of its file and those of the store.

    The store's are newer than a file that is as old as the installation (A8.5). Without a file the
    store's stand alone: who could change them is Citadel. Raises OSError while there are none at
    all; the machine's own are never meant.
    """
    stored = mesh_roots()
    if root_file is not None:
        return b"\n".join((root_file.read_bytes(), stored))
    if not stored:
        raise OSError("the store tells no roots of the mesh yet, and there is no root file")
    return stored


def service_certificates(
    *,
    address: str,
    identity: SpiffeId,
    root_file: Path | None,
    token_file: Path | None,
    now: Callable[[], datetime],
    ttl: timedelta = timedelta(hours=24),
    mesh_roots: Callable[[], bytes],
) -> WorkloadCertificates:
    """A control-plane service's certificates: the first by token, later ones by the last (B2.1).

    ``address``, ``root_file`` and ``token_file`` are the service's ``--ca-...`` flags; both files
    are read anew for every attempt, and a token file that is not there means a call without token.
    For ``mesh_roots`` see :func:`ca_roots`.
    """

    def token() -> str | None:
        try:
            return token_file.read_text().strip() if token_file else None
        except FileNotFoundError:
            return None

    def own() -> tuple[bytes, bytes] | None:
        pair = certificates.current
        return (pair.chain_pem, pair.key_pem) if pair else None

    client = CaClient(
        address=address,
        root_pem=lambda: ca_roots(root_file, mesh_roots),
        token=token,
        client_cert=own,
        now=now,
    )
    certificates = WorkloadCertificates(sign=client.sign, spiffe_id=str(identity), now=now, ttl=ttl)
    return certificates
