"""Citadel's own server certificate, signed in process (A2, "Own server cert").

Section numbers are those of citadel-and-agent.md.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mast.citadel.core.authority import Authority, certificates, pem, pem_of
from mast.citadel.core.keys import PrivateKey, private_key_pem
from mast.citadel.core.leaf import general_name, leaf, serial_number
from mast.citadel.core.refusals import Refusal
from mast.citadel.core.revocation import revoked_serials
from mast.common.identity.ca_client import new_private_key, renewal_at
from mast.common.identity.tls_front import Material
from mast.common.latest import Latest

log = structlog.get_logger()

_SERIAL_BYTES = 16
_FAMILY = {256: "P256", 384: "P384"}


@dataclass(frozen=True)
class OwnCertificate:
    """What the TLS front serves with, the authority that it is from, and when to renew it."""

    material: Material
    authority: Authority
    renew_at: datetime

    def serves(self, authority: Authority, now: datetime) -> bool:
        """Whether there is no need for a new one yet."""
        return authority is self.authority and now < self.renew_at


@dataclass(frozen=True)
class KeyAndChain:
    """A private key, the certificate for it and what is above that, and when to get another."""

    chain_pem: bytes
    key_pem: bytes
    renew_at: datetime


Make = Callable[[Authority], Awaitable[KeyAndChain]]
"""A key and a certificate; raises SigningFailed, ValueError or OSError if there are none."""


@dataclass(frozen=True, kw_only=True)
class ServerCertificates:
    """Keeps Citadel's own certificate as ``make`` gives it; ``aliases`` are trusted as our domain.

    ``changed`` tells of reasons to make another one that are not in the certificate itself; after a
    failure there is a ``pause``.
    """

    make: Make
    aliases: Collection[str]
    now: Callable[[], datetime]
    changed: Callable[[], bool] = lambda: False
    checked_every: timedelta = timedelta(seconds=60)
    pause: timedelta = timedelta(seconds=1)

    async def new(self, authority: Authority) -> OwnCertificate:
        """A certificate to serve with, and whom to trust as a client."""
        made = await self.make(authority)
        roots = authority.roots_pem.encode()
        material = Material(
            cert_chain_pem=made.chain_pem,
            key_pem=made.key_pem,
            trust=dict.fromkeys((authority.trust_domain, *self.aliases), roots),
            revoked=revoked_serials(authority),
        )
        return OwnCertificate(material, authority, made.renew_at)

    async def keep(self, authority: Latest[Authority | None], own: Latest[OwnCertificate]) -> None:
        """Publish another certificate after every change of the authority, and in time.

        If none can be had, the last one stays and it is tried again.
        """
        failing = False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.checked_every.total_seconds()):
                    await authority.after(own.value.authority)
            current = authority.value or own.value.authority
            if own.value.serves(current, self.now()) and not self.changed():
                continue
            try:
                own.publish(await self.new(current))
            except (Refusal, ValueError, OSError) as error:
                if not failing:
                    log.error("server_certificate.failed", error=_reason(error))
                failing = True
                await asyncio.sleep(self.pause.total_seconds())
            else:
                failing = False
                log.info("server_certificate.renewed", renew_at=own.value.renew_at.isoformat())


def signed_here(
    names: Sequence[str], now: Callable[[], datetime], entropy: Callable[[int], bytes]
) -> Make:
    """With a fresh key of the CA's family, for as long as the CA lasts."""

    async def make(authority: Authority) -> KeyAndChain:
        begun = now()
        slot = authority.best_known(begun)
        key = await asyncio.to_thread(new_private_key, _algorithm(slot.signer.key))
        certificate = await asyncio.to_thread(
            leaf,
            slot.signer,
            key.public_key(),
            names,
            lifetime=slot.not_after - begun,
            now=begun,
            serial=serial_number(entropy(_SERIAL_BYTES)),
        )
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        chain = pem(certificate) + pem_of(slot.intermediates)
        key_pem = private_key_pem(key)
        return KeyAndChain(chain.encode(), key_pem.encode(), renewal_at(begins, ends, 0.5))

    return make


def signed_elsewhere(
    names: Sequence[str], sign: Callable[[bytes, timedelta], Awaitable[bytes]], ttl: timedelta
) -> Make:
    """By a signer outside (``k8s.io/SIGNER``), renewed at half of its life."""

    async def make(_: Authority) -> KeyAndChain:
        key_pem, csr_pem = await asyncio.to_thread(server_csr, names)
        chain = await sign(csr_pem, ttl)
        certificate = first_of(chain)
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return KeyAndChain(chain, key_pem, renewal_at(begins, ends, 0.5))

    return make


def server_csr(names: Sequence[str]) -> tuple[bytes, bytes]:
    """A fresh P-256 key and a CSR for DNS names and addresses, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName(list(map(general_name, names))), critical=True)
        .sign(key, hashes.SHA256())
    )
    return private_key_pem(key).encode(), request.public_bytes(serialization.Encoding.PEM)


def first_of(chain_pem: bytes) -> x509.Certificate:
    """The first certificate of a chain; ValueError if there is none."""
    found = certificates(chain_pem)
    if not found:
        raise ValueError("no certificate in the chain")
    return found[0]


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, Refusal) else str(error)


def _algorithm(key: PrivateKey) -> str:
    """Of the CA's kind; a long-lived RSA root may be larger, its server key need not be."""
    return "RSA2048" if isinstance(key, rsa.RSAPrivateKey) else _FAMILY[key.key_size]
