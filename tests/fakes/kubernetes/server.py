"""A Kubernetes API server for tests: real HTTP over TLS, objects in memory.

    async with api_server() as cluster:
        cluster.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
        async with connect(cluster.access()) as api: ...

What it does as the real one: resourceVersions and conflicts, listings in pages with `continue`,
watches with bookmarks that end after `timeoutSeconds`, 410 for what is compacted
(``cluster.objects.compact()``), status and approval as subresources, finalizers, namespaces that
end, admission into them, generateName, selectors, CRDs that are served once created, bearer tokens,
service-account tokens with audiences and bound pods (TokenRequest, TokenReview, the issuer's
discovery documents), CertificateSigningRequests with signers, schemas of CRDs (pruning and
validation), admission webhooks over TLS, dry runs, patches of three kinds. Tests steer it by
``objects``, ``callers`` (tokens, refusals), ``signers``, ``admission`` (where Services of webhooks
answer) and ``cut`` (drops every connection's stream). What they write into ``objects`` themselves
is neither held to schemas nor are webhooks asked about it.

What it does not: validation of built-in kinds, RBAC by roles (``callers.refused`` instead), server-
side apply.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import yaml
from aiohttp import web

from mast.common.kubernetes import Access
from mast.common.kubernetes.objects import (
    CERTIFICATE_SIGNING_REQUESTS,
    SERVICE_ACCOUNTS,
    Object,
    Resource,
)
from tests.fakes.kubernetes.admission import Admission, warning_headers
from tests.fakes.kubernetes.callers import Callers, User
from tests.fakes.kubernetes.objects import Event, Objects, selector
from tests.fakes.kubernetes.paths import Target, target
from tests.fakes.kubernetes.signers import Signers
from tests.fakes.kubernetes.status import Status
from tests.fakes.kubernetes.writes import Write
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
    # Every request as "VERB path", and the seconds between two bookmarks.
    requests: list[str] = field(default_factory=list)
    bookmarks_every: timedelta = timedelta(milliseconds=200)
    # Not answering: requests hang until it is set again.
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    streams: set[asyncio.Event] = field(default_factory=set)
    bookmarks: int = 0

    def __post_init__(self) -> None:
        self.callers = Callers(self.objects)
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

    def cut(self) -> None:
        """Drop every watch that is open, without a word."""
        for stream in self.streams:
            stream.set()

    def asked(self, start: str) -> int:
        """How many requests began like this, as in ``POST /apis/…/tokenreviews``."""
        return sum(request.startswith(start) for request in self.requests)


@asynccontextmanager
async def api_server() -> AsyncIterator[Cluster]:
    """A server on a free port of the loopback interface, ended with the block."""
    cluster = Cluster(Ca.root("kubernetes"))
    application = web.Application(middlewares=[_statuses(cluster)], client_max_size=4 << 20)
    handlers = _Handlers(cluster)
    application.router.add_get("/.well-known/openid-configuration", handlers.discovery)
    application.router.add_get("/openid/v1/jwks", handlers.keys)
    application.router.add_post(
        "/apis/authentication.k8s.io/v1/tokenreviews", handlers.token_review
    )
    application.router.add_post(
        "/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", handlers.token_request
    )
    application.router.add_route("*", "/{path:apis?/.*}", handlers.any)
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


def _statuses(cluster: Cluster) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        cluster.requests.append(f"{request.method} {request.path}")
        await cluster.answering.wait()
        try:
            answer: web.StreamResponse = await handler(request)
        except Status as status:
            return web.json_response(status.body(), status=status.code)
        return answer

    return middleware


@dataclass
class _Handlers:
    cluster: Cluster

    async def discovery(self, _: web.Request) -> web.Response:
        callers = self.cluster.callers
        keys = f"{self.cluster.url}/openid/v1/jwks"
        return web.json_response({"issuer": callers.issuer, "jwks_uri": keys})

    async def keys(self, _: web.Request) -> web.Response:
        return web.json_response(self.cluster.callers.keys())

    async def token_review(self, request: web.Request) -> web.Response:
        self._allow(request, "create", "tokenreviews", "")
        return web.json_response(self.cluster.callers.review(await request.json()), status=201)

    async def token_request(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        self._allow(request, "create", "serviceaccounts/token", namespace)
        spec = (await request.json()).get("spec", {})
        self.cluster.objects.get(SERVICE_ACCOUNTS, namespace, name)
        token = self.cluster.callers.token(
            namespace,
            name,
            spec.get("audiences") or (),
            seconds=spec.get("expirationSeconds", 3600),
        )
        return web.json_response({"kind": "TokenRequest", "status": {"token": token}}, status=201)

    async def any(self, request: web.Request) -> web.StreamResponse:
        """Whatever is stored, by the path that it has."""
        found = target(self.cluster.objects.resources, request.match_info["path"])
        return await (self._one(request, found) if found.name else self._all(request, found))

    async def _all(self, request: web.Request, named: Target) -> web.StreamResponse:
        namespace, resource = named.namespace, named.resource
        if request.method == "POST":
            user = self._allow(request, "create", resource.plural, namespace)
            body = await _object(request)
            if resource == CERTIFICATE_SIGNING_REQUESTS:
                self.cluster.signers.check(body)
            write = self._write(request, named, user)
            return _written(write, await write.create(body), 201)
        if request.method != "GET":
            raise Status(405, "MethodNotAllowed", "the server does not allow this method")
        if request.query.get("watch") in {"true", "1"}:
            self._allow(request, "watch", resource.plural, namespace)
            return await self._watch(request, resource, namespace)
        self._allow(request, "list", resource.plural, namespace)
        return web.json_response(self._page(request, resource, namespace))

    async def _one(self, request: web.Request, named: Target) -> web.Response:
        namespace, resource = named.namespace, named.resource
        name, subresource = named.name, named.subresource
        plural = f"{resource.plural}/{subresource}" if subresource else resource.plural
        verbs = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
        verb = verbs.get(request.method)
        if verb is None:
            raise Status(405, "MethodNotAllowed", "the server does not allow this method")
        user = self._allow(request, verb, plural, namespace)
        write = self._write(request, named, user)
        if verb == "get":
            return web.json_response(self.cluster.objects.get(resource, namespace, name))
        if verb == "delete":
            text = await request.text()
            uid = (json.loads(text) if text else {}).get("preconditions", {}).get("uid", "")
            return _written(write, await write.delete(uid), 200)
        if verb == "update":
            made = await write.update(await _object(request))
        else:
            made = await write.patch(await request.json(), request.content_type)
        if resource == CERTIFICATE_SIGNING_REQUESTS and subresource == "approval":
            self.cluster.signers.act(made)
        return _written(write, made, 200)

    def _allow(self, request: web.Request, verb: str, plural: str, namespace: str) -> User:
        user = self.cluster.callers.caller(request.headers.get("Authorization", ""))
        self.cluster.callers.check(user, verb, plural, namespace)
        return user

    def _write(self, request: web.Request, named: Target, user: User) -> Write:
        return Write(
            objects=self.cluster.objects,
            admission=self.cluster.admission,
            user=user,
            resource=named.resource,
            namespace=named.namespace,
            name=named.name,
            subresource=named.subresource,
            dry_run=request.query.get("dryRun") == "All",
            field_validation=request.query.get("fieldValidation", "Warn"),
        )

    def _page(self, request: web.Request, resource: Resource, namespace: str) -> Object:
        """ "Retrieving large results sets in chunks": all pages show one revision."""
        objects, query = self.cluster.objects, request.query
        token = query.get("continue", "")
        if token:
            if token not in objects.pages:
                raise Status(410, "Expired", "The provided continue parameter is too old")
            rest, revision = objects.pages.pop(token)
        else:
            selects = selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
            rest, revision = objects.list(resource, namespace, selects), objects.revision
        limit = int(query.get("limit", "0")) or len(rest)
        page, rest = rest[:limit], rest[limit:]
        metadata: Object = {"resourceVersion": str(revision)}
        if rest:
            metadata["continue"] = f"page-{revision}-{len(objects.pages)}-{len(rest)}"
            metadata["remainingItemCount"] = len(rest)
            objects.pages[metadata["continue"]] = (rest, revision)
        bare = [{k: v for k, v in o.items() if k not in {"apiVersion", "kind"}} for o in page]
        kind = f"{resource.kind}List"
        return {
            "kind": kind,
            "apiVersion": resource.api_version,
            "metadata": metadata,
            "items": bare,
        }

    async def _watch(
        self, request: web.Request, resource: Resource, namespace: str
    ) -> web.StreamResponse:
        """ "Efficient detection of changes"; what begins or ceases to be selected comes or goes."""
        objects, query = self.cluster.objects, request.query
        selects = selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        seen = int(query.get("resourceVersion") or objects.revision)
        list(objects.since(seen, resource, namespace))  # 410 as a status, not as an event
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        cut = asyncio.Event()
        self.cluster.streams.add(cut)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(int(query.get("timeoutSeconds", "1800"))):
                try:
                    await self._events(
                        response,
                        cut,
                        resource,
                        namespace,
                        selects,
                        seen,
                        bookmarks=query.get("allowWatchBookmarks") == "true",
                    )
                finally:
                    self.cluster.streams.discard(cut)
        if cut.is_set() and request.transport is not None:
            request.transport.abort()
        return response

    async def _events(
        self,
        response: web.StreamResponse,
        cut: asyncio.Event,
        resource: Resource,
        namespace: str,
        selects: Any,
        seen: int,
        *,
        bookmarks: bool,
    ) -> None:
        objects = self.cluster.objects
        while not cut.is_set():
            change, upto = objects.change, objects.revision
            try:
                fresh = list(objects.since(seen, resource, namespace))
            except Status as status:
                await response.write(_line("ERROR", status.body()))
                return
            for event in fresh:
                if kind := _selected(event, selects):
                    await response.write(_line(kind, event.object))
            seen = upto
            try:
                async with asyncio.timeout(self.cluster.bookmarks_every.total_seconds()):
                    await _either(change.wait(), cut.wait())
            except TimeoutError:
                if bookmarks:
                    mark = {
                        "kind": resource.kind,
                        "apiVersion": resource.api_version,
                        "metadata": {"resourceVersion": str(seen)},
                    }
                    await response.write(_line("BOOKMARK", mark))
                    self.cluster.bookmarks += 1


def _selected(event: Event, selects: Any) -> str | None:
    """An event as a watcher with selectors sees it."""
    now = event.type != "DELETED" and selects(event.object)
    before = event.previous is not None and selects(event.previous)
    if now:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else None


async def _either(*waits: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(wait) for wait in waits]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


def _written(write: Write, made: Object, status: int) -> web.Response:
    response = web.json_response(made, status=status)
    for name, value in warning_headers(write.warnings):
        response.headers.add(name, value)
    return response


def _line(kind: str, found: Object) -> bytes:
    return json.dumps({"type": kind, "object": found}).encode() + b"\n"


async def _object(request: web.Request) -> Object:
    try:
        body = await request.json()
    except ValueError as error:
        raise Status(400, "BadRequest", f"the object provided is unrecognized: {error}") from error
    if not isinstance(body, dict):
        raise Status(400, "BadRequest", "the object provided is unrecognized")
    return body
