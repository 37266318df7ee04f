"""The admission webhooks over TLS: /validate, and /admitpilot and /admitmixer as in 1.4 (A3).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from aiohttp import web

from mast.common.identity.ca_client import KeyPair
from mast.common.identity.tls_pair import load_pair
from mast.common.process.monitoring import http_server
from mast.galley.api.metrics import GalleyMetrics
from mast.galley.core.admission import validation
from mast.galley.core.admission.review import BadReview, Review, Verdict, answer, review
from mast.galley.core.objects import Defaults

log = structlog.get_logger()

# Two objects of 3 MiB, the most that API servers take, and what a review puts around them.
LONGEST_BODY_BYTES = 8 << 20
# How many of them are in memory at a time.
BODIES = 64

PATHS = ("/validate", "/admitpilot", "/admitmixer")

Judge = Callable[[Review], Verdict]

Changed = Callable[[KeyPair | None], Awaitable[KeyPair]]
"""The certificate, as soon as it is another one (``WorkloadCertificates.changed``)."""


@dataclass
class Webhooks:
    """Answers reviews; every answer is worked out in a thread."""

    defaults: Defaults
    metrics: GalleyMetrics
    # How long a body may take to arrive: API servers wait no longer for an answer by default.
    patience: timedelta = timedelta(seconds=10)
    _bodies: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(BODIES))

    async def validate(self, request: web.Request) -> web.StreamResponse:
        """Judge the object of a review.

        What is no review ends with 400, 408, 413 or 415: the caller's failure policy decides then.
        """
        try:
            asked, verdict = await self._judged(request, self._verdict)
        except web.HTTPException as error:
            self.metrics.unanswered(error.status)
            raise
        self.metrics.reviewed(validation.kind_of(asked.content), verdict)
        if not verdict.allowed:
            log.info(
                "review.denied",
                resource=asked.resource,
                namespace=asked.namespace,
                object=asked.name,
                reason=verdict.reason,
            )
        return web.json_response(answer(asked, verdict))

    async def ready(self, _: web.Request) -> web.StreamResponse:
        """As Galley of 1.4: 200 as soon as there is something that answers."""
        return web.Response(text="ok\n")

    def _verdict(self, asked: Review) -> Verdict:
        return validation.verdict(asked, self.defaults)

    async def _judged(self, request: web.Request, judge: Judge) -> tuple[Review, Verdict]:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(
                text=f"content type {request.content_type!r}; allowed: application/json\n"
            )
        async with self._bodies:
            body = await self._body(request)

            def work() -> tuple[Review, Verdict]:
                asked = review(body)
                return asked, judge(asked)

            try:
                return await asyncio.to_thread(work)
            except BadReview as error:
                raise web.HTTPBadRequest(text=f"{error}\n") from error

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self.patience.total_seconds()):
                return await request.read()
        except TimeoutError as error:
            raise web.HTTPRequestTimeout(text="the body did not arrive\n") from error


@asynccontextmanager
async def webhook_server(
    listen: str, first: KeyPair, changed: Changed, webhooks: Webhooks
) -> AsyncIterator[int]:
    """Serve the webhooks on ``host:port``; yields the port.

    ``first`` is presented, and then whatever it has ``changed`` to: new connections see that.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_pair(context, first.chain_pem, first.key_pem)
    posts: Mapping[str, Any] = dict.fromkeys(PATHS, webhooks.validate)
    async with (
        http_server(
            listen,
            {"/ready": webhooks.ready},
            name="webhooks",
            tls=context,
            posts=posts,
            longest_body=LONGEST_BODY_BYTES,
        ) as port,
        asyncio.TaskGroup() as tasks,
    ):
        renewing = tasks.create_task(_renewed(context, first, changed), name="webhooks tls")
        yield port
        renewing.cancel()


async def _renewed(context: ssl.SSLContext, seen: KeyPair, changed: Changed) -> None:
    """New connections get the newest certificate."""
    while True:
        seen = await changed(seen)
        load_pair(context, seen.chain_pem, seen.key_pem)
