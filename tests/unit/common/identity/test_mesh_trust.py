"""Services of the control plane follow the mesh's roots (citadel-and-agent.md A8.5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.identity.ca_client import Certificate, KeyPair, WorkloadCertificates
from mast.common.identity.mesh_trust import MeshTrust, is_tainted
from mast.common.keys import trust_key, trust_status_key
from mastapi.status.v1.status_pb2 import TrustStatus
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle
from tests.integration.agent.control_plane import signed
from tests.support.ads_server import until
from tests.support.etcd_server import etcd_server
from tests.support.pki import Ca, wall_clock

DOMAIN = "a.example"
ME = f"spiffe://{DOMAIN}/ns/istio-system/sa/istio-mixer-service-account"
OLD, NEW = Ca.root("old"), Ca.root("new")


def bundle(sequence: int, *roots: Ca, tainted: Ca | None = None) -> bytes:
    made = TrustBundle(trust_domain=DOMAIN, sequence=sequence)
    for root in roots:
        state = Root.TAINTED if root is tainted else Root.ACTIVE
        made.roots.add(pem=root.pem.decode(), state=state)
    return made.SerializeToString()


@dataclass
class Signer:
    """A CA that signs with whatever root it is told."""

    ca: Ca = OLD
    asked: int = 0

    async def sign(self, csr: bytes, ttl: timedelta) -> Certificate:
        self.asked += 1
        return Certificate((signed(self.ca, csr.decode(), ME, ttl),), self.ca.pem.decode())


@dataclass
class Service:
    store: Store
    trust: MeshTrust
    certificates: WorkloadCertificates
    signer: Signer = field(default_factory=Signer)

    async def confirmed(self) -> int:
        """The sequence that it says it confirmed; -1 if it says nothing."""
        entry = await self.store.get(trust_status_key("mixer-a"))
        if entry is None:
            return -1
        status = TrustStatus.FromString(entry.value)
        assert (status.reporter, status.trust_domain) == ("mixer-a", DOMAIN)
        (holders,) = status.holders
        assert holders.count == 1
        return holders.sequence


@asynccontextmanager
async def service(directory: Path) -> AsyncIterator[Service]:
    signer = Signer()
    async with (
        etcd_server(directory) as etcd,
        connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store,
        asyncio.TaskGroup() as tasks,
    ):
        certificates = WorkloadCertificates(sign=signer.sign, spiffe_id=ME, now=wall_clock)
        trust = MeshTrust(
            store=store,
            trust_domain=DOMAIN,
            reporter="mixer-a",
            now=wall_clock,
            random=lambda: 0.0,
        )
        running = [
            tasks.create_task(certificates.run()),
            tasks.create_task(trust.run(certificates)),
        ]
        await certificates.changed(None)
        yield Service(store, trust, certificates, signer)
        for task in running:
            task.cancel()


async def test_what_is_published_is_trusted_and_confirmed(tmp_path: Path) -> None:
    async with service(tmp_path) as found:
        assert found.trust.roots == b""

        async def says(sequence: int) -> bool:
            return await found.confirmed() == sequence

        await until(lambda: says(0))
        await found.store.put(trust_key(DOMAIN), bundle(4, OLD))
        await until(lambda: says(4))
        assert found.trust.roots == OLD.pem
        await found.store.put(trust_key(DOMAIN), bundle(5, OLD, NEW))
        await until(lambda: says(5))
        assert found.trust.roots == OLD.pem + NEW.pem
        await found.store.put(trust_key(DOMAIN), b"\xff")
        await found.store.delete(trust_key(DOMAIN))
        await found.store.put(trust_key(DOMAIN), bundle(6, NEW))
        await until(lambda: says(6))
        assert found.signer.asked == 1, "another root alone needs no other certificate"


async def test_a_taint_is_confirmed_with_another_certificate_only(tmp_path: Path) -> None:
    """Also if a replica of the CA that does not know yet signs with the tainted root again."""
    async with service(tmp_path) as found:
        await found.store.put(trust_key(DOMAIN), bundle(7, OLD, NEW, tainted=OLD))
        await until(lambda: found.signer.asked > 1)
        assert await found.confirmed() < 7
        found.signer.ca = NEW

        async def done() -> bool:
            return await found.confirmed() == 7

        await until(done)
        current = found.certificates.current
        assert current is not None
        current.certificate.leaf.verify_directly_issued_by(NEW.certificate)


@pytest.mark.parametrize(
    ("chain", "tainted"),
    [
        pytest.param(OLD.leaf(uris=[ME]).chain, True, id="issued-by-the-root"),
        pytest.param(NEW.leaf(uris=[ME]).chain, False, id="issued-by-another"),
    ],
)
def test_tainted(chain: bytes, tainted: bool) -> None:
    now = wall_clock()
    pair = KeyPair(b"", Certificate((chain.decode(),), ""), now, now)
    known = TrustBundle.FromString(bundle(1, OLD, NEW, tainted=OLD))
    assert is_tainted(pair, known) is tainted
    assert not is_tainted(pair, None)
    assert not is_tainted(None, known)
