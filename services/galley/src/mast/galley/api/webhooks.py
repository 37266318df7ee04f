"""The admission webhooks over TLS: /validate, 1.4's /admitpilot and /admitmixer, and /inject.

What they promise are A3 and C of galley-and-kubernetes.md.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from aiohttp import web

from mast.common.identity.ca_client import KeyPair
from mast.common.identity.tls_pair import load_pair
from mast.common.process.monitoring import Handler, http_server, staying
from mast.galley.api.metrics import GalleyMetrics
from mast.galley.core.admission import validation
from mast.galley.core.admission.review import BadReview, Judge, Review, Verdict, answer, review
from mast.galley.core.objects import Defaults

log = structlog.get_logger()

# Two objects of 3 MiB, the most that API servers take, and what a review puts around them.
LONGEST_BODY_BYTES = 8 << 20
# How many of them are in memory at a time.
BODIES = 64

VALIDATE = ("/validate", "/admitpilot", "/admitmixer")
# Where the caller's cluster and network may be told: /inject/cluster/C/net/N.
INJECT = ("/inject", "/inject/{place:.+}")

Injection = Callable[[str, str], Judge | None]
"""Judges pods of a cluster and network, as far as the caller names them; None without settings."""

Changed = Callable[[KeyPair | None], Awaitable[KeyPair]]
"""The certificate, as soon as it is another one (``WorkloadCertificates.changed``)."""


@dataclass
class Webhooks:
    """Answers reviews; every answer is worked out in a thread."""

    defaults: Defaults
    metrics: GalleyMetrics
    injection: Injection
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

    async def inject(self, request: web.Request) -> web.StreamResponse:
        """Give the pod of a review its proxy; 404 for unknown places, 503 without settings.

        A pod that cannot be injected as its annotations want it is denied (C3).
        """
        begun = asyncio.get_running_loop().time()
        try:
            judge = self.injection(*_place(request.match_info.get("place", "")))
            if judge is None:
                raise web.HTTPServiceUnavailable(text="there are no settings for injection yet\n")
            asked, verdict = await self._judged(request, judge)
        except web.HTTPException:
            self.metrics.uninjected()
            raise
        spent = asyncio.get_running_loop().time() - begun
        self.metrics.injected(verdict, timedelta(seconds=spent))
        if not verdict.allowed:
            log.info("injection.refused", namespace=asked.namespace, error=verdict.message)
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


def _place(path: str) -> tuple[str, str]:
    """Cluster and network out of pairs of name and value, in any order; 404 for others."""
    parts = path.split("/") if path else []
    names, texts = parts[::2], parts[1::2]
    found = dict(zip(names, texts, strict=False))
    if len(found) != len(texts) or len(names) != len(texts) or not all(texts):
        raise _unknown_place()
    cluster, network = found.pop("cluster", ""), found.pop("net", "")
    if found:
        raise _unknown_place()
    return cluster, network


def _unknown_place() -> web.HTTPNotFound:
    return web.HTTPNotFound(text="allowed: /inject[/cluster/CLUSTER][/net/NETWORK]\n")


@asynccontextmanager
async def webhook_server(
    listen: str,
    first: KeyPair,
    changed: Changed,
    webhooks: Webhooks,
    *,
    leaving: Callable[[], bool] = staying,
    grace: timedelta = timedelta(seconds=5),
) -> AsyncIterator[int]:
    """Serve the webhooks on ``host:port``; yields the port. See `http_server` for the end.

    ``first`` is presented, and then whatever it has ``changed`` to: new connections see that.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_pair(context, first.chain_pem, first.key_pem)
    posts: Mapping[str, Handler] = {
        **dict.fromkeys(VALIDATE, webhooks.validate),
        **dict.fromkeys(INJECT, webhooks.inject),
    }
    async with (
        http_server(
            listen,
            {"/ready": webhooks.ready},
            name="webhooks",
            tls=context,
            posts=posts,
            longest_body=LONGEST_BODY_BYTES,
            leaving=leaving,
            grace=grace,
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
