"""Bundles of other meshes: followed, kept, withdrawn (citadel-and-agent.md A8.3, A8.4)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509

from mast.citadel.core.authority import Authority, self_signed
from mast.citadel.core.spiffe_bundle import SpiffeBundle, document
from mast.citadel.store.bundles import Bundles
from mast.citadel.store.federation import Federation
from mast.common.etcd import Store
from mast.common.identity.ca_client import new_private_key
from mast.common.keys import trust_key
from mastapi.trust.v1.trust_pb2 import TrustBundle
from tests.support.ads_server import until
from tests.support.log_events import log_events
from tests.support.mesh_yaml import changes
from tests.support.pki import Ca, wall_clock

WEB, FIRST, SECOND = (Ca.root(name) for name in ("web", "first", "second"))
DOMAIN, OTHER = "a.example", "b.example"
SETTINGS = """
{{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {{name: default, namespace: istio-system}}, spec: {spec}}}
"""


@dataclass
class Endpoint:
    """Tells what a test wants; `asked` counts."""

    port: int = 0
    text: str = ""
    status: int = 200
    asked: int = 0
    roots: list[x509.Certificate] = field(default_factory=list)

    def tell(self, sequence: int, *roots: Ca) -> None:
        found = tuple(root.certificate for root in roots)
        self.text = document(SpiffeBundle(found, sequence, timedelta(seconds=1)))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """In two parts, as large documents come."""
        self.asked += 1
        response = web.StreamResponse(status=self.status)
        await response.prepare(request)
        half = len(self.text) // 2
        for part in (self.text[:half], self.text[half:]):
            await response.write(part.encode())
            await asyncio.sleep(0)
        return response

    @property
    def settings(self) -> str:
        url = f"https://localhost:{self.port}/bundle"
        return "{caCertificates: [{spiffeBundleUrl: '%s', trustDomains: [%s]}]}" % (url, OTHER)


@asynccontextmanager
async def endpoint(directory: Path) -> AsyncIterator[Endpoint]:
    """An endpoint on https, vouched for by `WEB`."""
    pair = WEB.leaf(dns=["localhost"])
    (directory / "web.pem").write_bytes(pair.chain + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "web.pem")
    found = Endpoint()
    app = web.Application()
    app.router.add_get("/bundle", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "localhost", 0, ssl_context=context).start()
        found.port = int(runner.addresses[0][1])
        yield found
    finally:
        await runner.cleanup()


def federation(store: Store, roots: Ca = WEB) -> Federation:
    return Federation(
        store=store,
        trust_domain=DOMAIN,
        now=wall_clock,
        random=lambda: 0.0,
        roots=roots.pem.decode(),
    )


@asynccontextmanager
async def publishing(store: Store, roots: Ca = WEB) -> AsyncIterator[None]:
    """What Citadel does: follow, and publish what there is to trust."""
    slot = self_signed(
        DOMAIN, new_private_key("P256"), now=wall_clock(), ttl=timedelta(days=9), serial=1
    )
    found = federation(store, roots)
    bundles = Bundles(store, found.current)

    async def publish() -> None:
        seen = None
        while True:
            seen = await found.others.after(seen)
            await bundles.publish(Authority(DOMAIN, (slot,)))

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(found.run()), tasks.create_task(publish())]
        yield
        for each in running:
            each.cancel()


async def configure(store: Store, spec: str) -> None:
    for each in changes(SETTINGS.format(spec=spec)):
        await store.put(each.key, each.value)


async def trusted(store: Store, domain: str = OTHER) -> list[str]:
    entry = await store.get(trust_key(domain))
    bundle = TrustBundle.FromString(entry.value) if entry else TrustBundle()
    found = (x509.load_pem_x509_certificate(root.pem.encode()) for root in bundle.roots)
    return sorted(each.subject.rfc4514_string() for each in found)


async def is_trusted(store: Store, *names: str) -> bool:
    return await trusted(store) == [f"O={name}" for name in names]


async def test_what_an_endpoint_tells_is_followed_and_kept(store: Store, tmp_path: Path) -> None:
    async with endpoint(tmp_path) as other:
        other.tell(5, FIRST)
        await configure(store, other.settings)
        with log_events() as logged:
            async with publishing(store):
                await until(lambda: is_trusted(store, "first"))
                other.tell(6, FIRST, SECOND)
                await until(lambda: is_trusted(store, "first", "second"))

                other.tell(4, FIRST)  # somebody plays an old answer again
                while (line := await logged.get())["event"] != "federation.failed":
                    pass
                assert line["error"] == "sequence 4 after 6"
                other.text, other.status = "no bundle", 200
                asked = other.asked
                await until(lambda: other.asked > asked + 1)
                assert await is_trusted(store, "first", "second")

        other.status = 503
        async with publishing(store):
            asked = other.asked
            await until(lambda: other.asked > asked)
            assert await is_trusted(store, "first", "second"), "a replica that starts knows it"
            await configure(store, "{}")
            await until(lambda: is_trusted(store))
            assert await store.get(trust_key(OTHER)) is None
            assert len(await trusted(store, DOMAIN)) == 1
            await until(lambda: forgotten(store))


async def forgotten(store: Store) -> bool:
    return not (await store.list("ca/fetched/")).entries


async def test_who_cannot_be_verified_is_not_asked(store: Store, tmp_path: Path) -> None:
    async with endpoint(tmp_path) as other:
        other.tell(1, FIRST)
        await configure(store, other.settings)
        with log_events() as logged:
            async with publishing(store, roots=SECOND):
                while (line := await logged.get())["event"] != "federation.failed":
                    pass
                assert "CERTIFICATE_VERIFY_FAILED" in line["error"]
                assert await is_trusted(store)
        assert other.asked == 0


@pytest.mark.parametrize("trust_domains", ["", ", trustDomains: [b.example]"], ids=["ours", "b"])
async def test_roots_that_are_given(store: Store, trust_domains: str) -> None:
    """Without trust domains an entry is for our own."""
    pem = FIRST.pem.decode().replace("\n", "\n\n")
    await configure(store, "{caCertificates: [{pem: '%s'%s}]}" % (pem, trust_domains))
    domain = OTHER if trust_domains else DOMAIN
    async with publishing(store):

        async def done() -> bool:
            return "O=first" in await trusted(store, domain)

        await until(done)
        assert len(await trusted(store, DOMAIN)) == (1 if trust_domains else 2)
