"""Our own trust bundle for other meshes: SPIFFE's bundle endpoint over https (A8.4).

Section numbers are those of citadel-and-agent.md.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from aiohttp import web
from cryptography import x509

from mast.citadel.api.server_certificate import OwnCertificate
from mast.citadel.core.spiffe_bundle import SpiffeBundle, document
from mast.common.identity.tls_front import Material
from mast.common.identity.tls_pair import load_pair
from mast.common.latest import Latest
from mast.common.process.monitoring import http_server
from mastapi.trust.v1.trust_pb2 import TrustBundle

CONTENT = "application/json"


@asynccontextmanager
async def bundle_endpoint(
    listen: str,
    own: Latest[OwnCertificate],
    published: Callable[[], TrustBundle | None],
    hint: timedelta,
) -> AsyncIterator[int]:
    """Serve what is published on ``host:port``, with Citadel's own certificate; yields the port.

    503 while nothing is published.
    """

    async def bundle(_: web.Request) -> web.Response:
        found = published()
        if found is None:
            raise web.HTTPServiceUnavailable(text="no trust bundle is published yet\n")
        return web.Response(text=text(found, hint), content_type=CONTENT)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _present(context, own.value.material)
    async with (
        http_server(listen, {"/": bundle}, name="spiffe-bundle", tls=context) as port,
        asyncio.TaskGroup() as tasks,
    ):
        renewing = tasks.create_task(_renewed(context, own), name="bundle endpoint certificate")
        yield port
        renewing.cancel()


def text(bundle: TrustBundle, hint: timedelta) -> str:
    """A stored bundle as SPIFFE has it."""
    roots = tuple(x509.load_pem_x509_certificate(root.pem.encode()) for root in bundle.roots)
    return document(SpiffeBundle(roots, bundle.sequence, hint))


async def _renewed(context: ssl.SSLContext, own: Latest[OwnCertificate]) -> None:
    """New connections get the newest certificate."""
    seen = own.value
    while True:
        seen = await own.after(seen)
        _present(context, seen.material)


def _present(context: ssl.SSLContext, material: Material) -> None:
    load_pair(context, material.cert_chain_pem, material.key_pem)
