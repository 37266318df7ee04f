"""A control-plane service's own trust: the mesh's roots from etcd, followed and confirmed (A8.5).

Proxies are told the roots by Pilot, which counts who confirmed them; services read the store, so
each confirms for itself. Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from google.protobuf.message import DecodeError

from mast.common.etcd import Store
from mast.common.etcd.on_lease import publish_latest
from mast.common.identity.ca_client import KeyPair, WorkloadCertificates
from mast.common.keys import trust_key, trust_status_key
from mast.common.latest import Latest
from mastapi.status.v1.status_pb2 import TrustStatus
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle

log = structlog.get_logger()

AGAIN = timedelta(seconds=1)
"""A certificate that replaces a tainted one may be tainted, too: not all replicas know at once."""


@dataclass(kw_only=True)
class MeshTrust:
    """Follows the bundle of ``trust_domain``; ``reporter`` is ``SERVICE-REPLICA``.

    A certificate under a tainted root is replaced at once, and only then is the bundle confirmed.
    """

    store: Store
    trust_domain: str
    reporter: str
    now: Callable[[], datetime]
    random: Callable[[], float]
    ttl: timedelta = timedelta(seconds=30)
    _bundle: Latest[TrustBundle | None] = field(default_factory=lambda: Latest(None))
    _confirmed: Latest[int] = field(default_factory=lambda: Latest(0))

    @property
    def roots(self) -> bytes:
        """The roots as PEM; b"" before the first bundle."""
        bundle = self._bundle.value
        return "".join(root.pem for root in bundle.roots).encode() if bundle else b""

    async def run(self, certificates: WorkloadCertificates) -> None:
        """Follow the bundle and confirm it, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="trust bundle")
            tasks.create_task(self._take_over(certificates), name="trust taken over")
            tasks.create_task(self._report(self.now()), name="trust confirmed")

    async def _follow(self) -> None:
        async with aclosing(self.store.follow_key(trust_key(self.trust_domain))) as batches:
            async for batch in batches:
                for change in batch.changes:
                    try:
                        found = TrustBundle.FromString(change.value or b"")
                    except DecodeError as error:
                        log.error("bundle.unreadable", key=change.key, error=str(error))
                        continue
                    if change.value is not None:
                        self._bundle.publish(found)

    async def _take_over(self, certificates: WorkloadCertificates) -> None:
        bundle: TrustBundle | None = None
        while True:
            bundle = await self._bundle.after(bundle)
            while is_tainted(pair := certificates.current, self._bundle.value):
                certificates.renew()
                await certificates.changed(pair)
                await asyncio.sleep(AGAIN.total_seconds())
            if bundle is not None:
                self._confirmed.publish(bundle.sequence)

    async def _report(self, since: datetime) -> None:
        def entry(confirmed: int) -> tuple[str, bytes]:
            status = TrustStatus(reporter=self.reporter, trust_domain=self.trust_domain)
            status.since.FromDatetime(since)
            status.holders.add(sequence=confirmed, count=1)
            return trust_status_key(self.reporter), status.SerializeToString()

        await publish_latest(
            self.store, self.ttl, self._confirmed, entry, random=self.random, what="trust"
        )


def is_tainted(pair: KeyPair | None, bundle: TrustBundle | None) -> bool:
    """Whether a tainted root of the bundle issued the certificate, or its last intermediate."""
    if pair is None or bundle is None:
        return False
    tainted = [root.pem for root in bundle.roots if root.state == Root.TAINTED]
    last = x509.load_pem_x509_certificate(pair.certificate.chain_pem[-1].encode())
    return any(_issued(last, x509.load_pem_x509_certificate(pem.encode())) for pem in tainted)


def _issued(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
