"""What an agent does before it confirms what the mesh trusts (citadel-and-agent.md A8.5, B3.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from mast.agent.core import secrets
from mast.agent.store.credentials import Credentials
from mast.common.identity.ca_client import Certificate, WorkloadCertificates
from mast.common.latest import Latest
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle
from tests.integration.agent.control_plane import signed
from tests.support.ads_server import until
from tests.support.pki import Ca, wall_clock

DOMAIN = "a.example"
ME = f"spiffe://{DOMAIN}/ns/shop/sa/reviews"
OLD, NEW, OTHER = Ca.root("old"), Ca.root("new"), Ca.root("other")


def bundle(*roots: Ca, tainted: Ca | None = None, domain: str = DOMAIN) -> dict[str, TrustBundle]:
    made = TrustBundle(trust_domain=domain)
    for root in roots:
        state = Root.TAINTED if root is tainted else Root.ACTIVE
        made.roots.add(pem=root.pem.decode(), state=state)
    return {domain: made}


@dataclass
class Envoy:
    """Takes secrets as they come; `answers` are let through when a test says so."""

    taken: list[Secret] = field(default_factory=list)
    rejection: str = ""
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, batch: Sequence[Secret]) -> None:
        known = {each.name: each for each in self.taken}
        self.taken += [each for each in batch if known.get(each.name) != each]

    async def confirmed(self, name: str) -> str:
        await self.answering.wait()
        return self.rejection

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.taken]

    def roots(self) -> bytes:
        (last,) = [each for each in self.taken if each.name == secrets.ROOTS][-1:]
        return last.validation_context.trusted_ca.inline_bytes


@dataclass
class Agent:
    credentials: Credentials
    envoy: Envoy
    ca: list[Ca]
    asked: int = 0

    async def sign(self, csr: bytes, ttl: timedelta) -> Certificate:
        self.asked += 1
        return Certificate((signed(self.ca[-1], csr.decode(), ME, ttl),), self.ca[-1].pem.decode())


@asynccontextmanager
async def agent() -> AsyncIterator[Agent]:
    envoy = Envoy()
    credentials = Credentials(
        publish=envoy.publish,
        confirmed=envoy.confirmed,
        trust_domain=DOMAIN,
        configured=(),
        mesh_roots=Latest(()),
        revocations="/nonexistent/ca-crl.pem",
        debounce=timedelta(milliseconds=10),
    )
    found = Agent(credentials, envoy, [OLD])
    certificates = WorkloadCertificates(sign=found.sign, spiffe_id=ME, now=wall_clock)
    envoy.answering.set()
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(certificates.run()),
            tasks.create_task(credentials.follow_ca(certificates)),
        ]
        await until(lambda: "default" in envoy.names)
        yield found
        for each in running:
            each.cancel()


async def test_roots_are_confirmed_when_envoy_has_them() -> None:
    async with agent() as found:
        found.envoy.answering.clear()
        async with asyncio.TaskGroup() as tasks:
            trusting = tasks.create_task(found.credentials.trust(bundle(OLD, NEW)))
            both = secrets.bundle([OLD.pem, NEW.pem])
            await until(lambda: found.envoy.roots() == both)
            assert not trusting.done()
            found.envoy.answering.set()
        assert trusting.result() == ""
        await until(lambda: found.asked == 2)  # other roots ask for another certificate (B3.4)


async def test_what_envoy_rejects_is_rejected() -> None:
    async with agent() as found:
        found.envoy.rejection = "no good"
        assert await found.credentials.trust(bundle(OLD, NEW)) == "no good"


async def test_the_same_roots_ask_for_nothing() -> None:
    async with agent() as found:
        assert await found.credentials.trust(bundle(OLD)) == ""
        assert await found.credentials.trust(bundle(OLD) | bundle(OTHER, domain="b")) == ""
        assert found.asked == 1
        context = found.envoy.taken[-1].validation_context
        assert context.HasField("custom_validator_config"), "two domains are kept apart"


async def test_a_taint_is_confirmed_when_the_certificate_is_another() -> None:
    """Roots first, then the certificate; also if the first answer is of the tainted root again."""
    async with agent() as found:
        async with asyncio.TaskGroup() as tasks:
            tainted = bundle(OLD, NEW, tainted=OLD)
            trusting = tasks.create_task(found.credentials.trust(tainted))
            await until(lambda: found.asked >= 2)
            assert not trusting.done()
            found.ca.append(NEW)
        assert trusting.result() == ""
        assert found.envoy.names[:3] == ["ROOTCA", "default", "ROOTCA"]
        identity = found.credentials.identity.value
        assert identity is not None
        last = found.envoy.taken[-1].tls_certificate
        assert last.certificate_chain.inline_bytes == identity.chain


async def test_a_root_that_was_dropped_does_not_come_back() -> None:
    """It came with the certificate once; what the mesh says now is newer."""
    async with agent() as found:
        found.ca.append(NEW)
        await found.credentials.trust(bundle(NEW))
        assert found.envoy.roots() == secrets.bundle([NEW.pem])
