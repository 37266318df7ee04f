"""A Kubernetes API server for tests: real HTTP over TLS, objects in memory.

    async with api_server() as cluster:
        cluster.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
        async with connect(cluster.access()) as api: ...

What it does as the real one: resourceVersions and conflicts, listings in pages with `continue` and
at older versions, watches with bookmarks that end after `timeoutSeconds`, 410 for what is compacted
(``cluster.objects.compact()``), status and approval as subresources, finalizers, preconditions,
owners, namespaces that end, generateName, names and labels, label and field selectors, CRDs that
are served once established in several versions, with their schemas (pruning, defaulting,
validation), admission webhooks over TLS, dry runs, patches of three kinds, server-side apply with
managers of fields, bearer tokens, service-account tokens with audiences and bound objects
(TokenRequest, TokenReview, Secrets with tokens, the issuer's discovery documents), reviews of
access, RBAC by roles (``callers.by_roles``), CertificateSigningRequests with signers, discovery.

Tests steer it by ``objects``, ``callers`` (tokens, refusals), ``signers``, ``admission`` (where
Services of webhooks answer), ``chaos`` (what goes wrong), ``cut`` and ``expire`` (end every watch).
What they write into ``objects`` themselves is not held to schemas, webhooks are not asked about it,
and nobody manages its fields.

What it does not: validation of built-in kinds beyond their metadata, conversion webhooks, rules in
CEL, controllers and kubelets (pods run nowhere, and are gone once deleted), OpenAPI documents.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import yaml
from aiohttp import web

from mast.common.kubernetes import Access
from tests.fakes.kubernetes.admission import Admission
from tests.fakes.kubernetes.callers import Callers
from tests.fakes.kubernetes.chaos import Chaos
from tests.fakes.kubernetes.handlers import Handlers, failures, route
from tests.fakes.kubernetes.objects import Objects
from tests.fakes.kubernetes.signers import Signers
from tests.fakes.kubernetes.watches import Streams
from tests.support.pki import Ca, Pair


@dataclass
class Cluster:
    """A running server and everything that can be done to it from outside of the API."""

    authority: Ca
    objects: Objects = field(default_factory=Objects)
    callers: Callers = field(init=False)
    signers: Signers = field(init=False)
    admission: Admission = field(init=False)
    url: str = ""
    version: str = "v1.33.1"
    chaos: Chaos = field(default_factory=Chaos)
    streams: Streams = field(default_factory=Streams)
    # Every request as "VERB path".
    requests: list[str] = field(default_factory=list)
    # Not answering: requests hang until it is set again.
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.callers = Callers(self.objects, ca_pem=self.authority.pem)
        self.signers = Signers(self.objects)
        self.admission = Admission(self.objects)
        self.answering.set()

    def access(self, token: str = "admin-token") -> Access:  # noqa: S107
        """How a client reaches it with a token."""
        return Access(server=self.url, ca_pem=self.authority.pem, token=lambda: token)

    def kubeconfig(self, token: str = "admin-token") -> str:  # noqa: S107
        """The same as a kubeconfig."""
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "fake",
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
                "clusters": [
                    {
                        "name": "fake",
                        "cluster": {
                            "server": self.url,
                            "certificate-authority-data": base64.b64encode(
                                self.authority.pem
                            ).decode(),
                        },
                    }
                ],
                "users": [{"name": "fake", "user": {"token": token}}],
            }
        )

    @property
    def bookmarks(self) -> int:
        """How many were sent."""
        return self.streams.bookmarks

    def cut(self) -> None:
        """Drop every watch that is open, without a word."""
        self.streams.end()

    def expire(self) -> None:
        """Tell every watch that is open that its version is forgotten (410)."""
        self.streams.end(expired=True)

    def stall(self) -> None:
        """Let the watch cache stand still: watches hear nothing, cheap listings show the past."""
        self.chaos.cache = self.objects.revision

    def resume(self) -> None:
        """Let it follow again."""
        self.chaos.cache = None
        self.objects.wake()

    def asked(self, start: str) -> int:
        """How many requests began like this, as in ``POST /apis/…/tokenreviews``."""
        return sum(request.startswith(start) for request in self.requests)


@asynccontextmanager
async def api_server() -> AsyncIterator[Cluster]:
    """A server on a free port of the loopback interface, ended with the block."""
    cluster = Cluster(Ca.root("kubernetes"))
    application = web.Application(middlewares=[failures(cluster)], client_max_size=4 << 20)
    route(application, Handlers(cluster))
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_tls(cluster.authority))
        await site.start()
        assert runner.addresses
        cluster.url = f"https://localhost:{runner.addresses[0][1]}"
        yield cluster
    finally:
        cluster.answering.set()
        cluster.cut()
        await runner.cleanup()


def _tls(authority: Ca) -> ssl.SSLContext:
    own: Pair = authority.leaf(dns=["localhost", "kubernetes.default.svc"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(own.key + own.chain)
        file.flush()
        context.load_cert_chain(file.name)
    return context
