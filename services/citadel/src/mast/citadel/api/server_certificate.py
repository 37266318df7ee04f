"""Citadel's own server certificate, signed in process (A2, "Own server cert").

Section numbers are those of citadel-and-agent.md.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from cryptography.hazmat.primitives.asymmetric import rsa

from mast.citadel.core.authority import Authority, pem, pem_of
from mast.citadel.core.keys import PrivateKey, private_key_pem
from mast.citadel.core.leaf import leaf, serial_number
from mast.common.ca_client import new_private_key, renewal_at
from mast.common.latest import Latest
from mast.common.tls_front import Material

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


@dataclass(frozen=True, kw_only=True)
class ServerCertificates:
    """Makes Citadel's own certificates for ``names``; ``aliases`` are trusted as our domain."""

    names: Sequence[str]
    aliases: Collection[str]
    now: Callable[[], datetime]
    entropy: Callable[[int], bytes]
    checked_every: timedelta = timedelta(seconds=60)

    async def new(self, authority: Authority) -> OwnCertificate:
        """A certificate with a fresh key of the CA's family, for as long as the CA lasts."""
        now = self.now()
        slot = authority.best_known(now)
        key = await asyncio.to_thread(new_private_key, _algorithm(slot.signer.key))
        certificate = await asyncio.to_thread(
            leaf,
            slot.signer,
            key.public_key(),
            self.names,
            lifetime=slot.not_after - now,
            now=now,
            serial=serial_number(self.entropy(_SERIAL_BYTES)),
        )
        roots = authority.roots_pem.encode()
        material = Material(
            cert_chain_pem=(pem(certificate) + pem_of(slot.intermediates)).encode(),
            key_pem=private_key_pem(key).encode(),
            trust=dict.fromkeys((authority.trust_domain, *self.aliases), roots),
        )
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return OwnCertificate(material, authority, renewal_at(begins, ends, 0.5))

    async def keep(self, authority: Latest[Authority | None], own: Latest[OwnCertificate]) -> None:
        """Publish another certificate after every change of the authority, and in time."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.checked_every.total_seconds()):
                    await authority.after(own.value.authority)
            current = authority.value or own.value.authority
            if not own.value.serves(current, self.now()):
                own.publish(await self.new(current))
                log.info("server_certificate.renewed", renew_at=own.value.renew_at.isoformat())


def _algorithm(key: PrivateKey) -> str:
    """Of the CA's kind; a long-lived RSA root may be larger, its server key need not be."""
    return "RSA2048" if isinstance(key, rsa.RSAPrivateKey) else _FAMILY[key.key_size]
