"""One cluster's API server: get, list, watch and write objects (Kubernetes API, "API concepts")."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any, TypeVar

import aiohttp

from mast.common.kubernetes.access import Access
from mast.common.kubernetes.decoding import Decoder, Page, decoded
from mast.common.kubernetes.errors import Expired, Unreachable, api_error
from mast.common.kubernetes.objects import Object, Resource, name_of, namespace_of

T = TypeVar("T")

PAGE = 500
# Under which name fields that we apply are ours.
FIELD_MANAGER = "mast"
# Longest line of a watch: an object of 1.5 MiB, etcd's limit, and some for JSON's escapes.
_LONGEST_LINE = 8 << 20


class Patch(Enum):
    """How a patch is meant; the value is its content type."""

    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    JSON = "application/json-patch+json"


@dataclass(frozen=True)
class Listing:
    """Objects of one resource at one resourceVersion."""

    objects: tuple[Object, ...]
    version: str


@asynccontextmanager
async def connect(
    access: Access, *, timeout: timedelta = timedelta(seconds=10)
) -> AsyncIterator[Api]:
    """The API server of ``access``, whether it answers or not; connections close with the block.

    Raises InvalidAccess if the TLS material does not load.
    """
    tls = access.tls()
    connector = aiohttp.TCPConnector(ssl=tls, limit=100)
    async with aiohttp.ClientSession(connector=connector, read_bufsize=_LONGEST_LINE) as session:
        yield Api(access, session, timeout)


class Api:
    """Every call ends within the timeout and raises an ApiFailure if it comes to nothing."""

    def __init__(self, access: Access, session: aiohttp.ClientSession, timeout: timedelta) -> None:
        self._access = access
        self._session = session
        self._timeout = timeout
        self._turn = asyncio.Lock()

    async def in_turn(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, done in a thread, one after the other.

        More threads would not make it faster, and everybody else wait longer.
        """
        async with self._turn:
            return await asyncio.to_thread(work)

    @property
    def namespace(self) -> str:
        """The namespace that the access belongs to."""
        return self._access.namespace

    async def version(self) -> Object:
        """Which Kubernetes it is: ``gitVersion`` and the parts of it."""
        return await self._call("GET", "/version")

    async def kinds(self, api_version: str) -> tuple[Resource, ...]:
        """The kinds of a version of a group, such as ``apps/v1``; NotFound if it is not served."""
        group, _, version = api_version.rpartition("/")
        told = await self._call("GET", f"/apis/{api_version}" if group else f"/api/{version}")
        return tuple(
            Resource(group, version, each["name"], each["kind"], namespaced=each["namespaced"])
            for each in told.get("resources") or ()
            if "/" not in each["name"]
        )

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """One object."""
        return await self._call("GET", resource.path(namespace, name))

    async def list(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing:
        """All objects, of all namespaces if none is given, read in pages."""
        objects: list[Object] = []
        version = ""
        pages = self.pages(resource, namespace, Decoder(), labels=labels, fields=fields)
        async with aclosing(pages) as found:
            async for again, page in found:
                objects = [*([] if again else objects), *page.objects]
                version = page.version
        return Listing(tuple(_typed(each, resource) for each in objects), version)

    async def pages(
        self, resource: Resource, namespace: str, decoder: Decoder, *, labels: str, fields: str
    ) -> AsyncGenerator[tuple[bool, Page], None]:
        """All objects, page by page; use it under ``aclosing``.

        If the server forgets the listing meanwhile, it is read once more in one piece: then the
        page comes with True, and what came before counts for nothing.
        """
        path, selectors = resource.path(namespace), _selectors(labels, fields)
        query = {**selectors, "limit": str(PAGE)}
        again = False
        while True:
            try:
                body = await self._send("GET", path, query=query)
            except Expired:
                if "continue" not in query:
                    raise
                query, again = selectors, True
                continue
            try:
                page = await self.in_turn(partial(decoder.page, body))
            except ValueError as error:
                raise self._garbled("GET", path, error) from error
            yield again, page
            if not page.more:
                return
            query = {**query, "continue": page.more}

    async def create(
        self, resource: Resource, body: Object, *, subresource: str = "", dry_run: bool = False
    ) -> Object:
        """A new object, as it was stored; with ``subresource`` what is posted to that of it.

        Raises AlreadyExists if the name is taken.
        """
        name = name_of(body) if subresource else ""
        path = resource.path(namespace_of(body), name, subresource)
        query = {"dryRun": "All"} if dry_run else {}
        return await self._call("POST", path, body=_typed(body, resource), query=query)

    async def update(self, resource: Resource, body: Object, *, subresource: str = "") -> Object:
        """Replace an object; Conflict if it has a resourceVersion that is not the current one."""
        path = resource.path(namespace_of(body), name_of(body), subresource)
        return await self._call("PUT", path, body=_typed(body, resource))

    async def patch(
        self,
        resource: Resource,
        name: str,
        change: Any,
        namespace: str = "",
        *,
        how: Patch = Patch.MERGE,
        subresource: str = "",
    ) -> Object:
        """Change parts of an object; returns it as it was stored."""
        path = resource.path(namespace, name, subresource)
        return await self._call("PATCH", path, body=change, content_type=how.value)

    async def apply(
        self,
        resource: Resource,
        body: Object,
        *,
        force: bool = False,
        manager: str = FIELD_MANAGER,
    ) -> Object:
        """Make an object have these fields, by server-side apply; creates it if it is not there.

        What the manager applied before and does not now is removed. Conflict if others own fields
        that would change, unless it is by force.
        """
        path = resource.path(namespace_of(body), name_of(body))
        query = {"fieldManager": manager, "force": str(force).lower()}
        kind = "application/apply-patch+yaml"  # of which JSON is a part
        return await self._call(
            "PATCH", path, body=_typed(body, resource), query=query, content_type=kind
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        propagation: str = "",
    ) -> None:
        """Delete an object; with ``uid`` only that very one (else Conflict).

        ``propagation`` (Background, Foreground, Orphan) says what becomes of objects that it owns;
        "" means what is usual for the kind, which for Jobs is that pods stay.
        """
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if propagation:
            options["propagationPolicy"] = propagation
        await self._call("DELETE", resource.path(namespace, name), body=options)

    async def watch(
        self,
        resource: Resource,
        version: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        seconds: int = 300,
    ) -> AsyncGenerator[Sequence[bytes], None]:
        """What happens after ``version``, for ``seconds`` at most; use it under ``aclosing``.

        Events come as lines of JSON, all that are there at once; one may be an ERROR. Raises
        Expired if the server does not know that version any more.
        """
        query = {
            **_selectors(labels, fields),
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        # The server ends the stream; should it die without a word, we do.
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=self._timeout.total_seconds(), sock_read=seconds + 30
        )
        try:
            async with self._session.get(
                self._access.server + resource.path(namespace),
                params=query,
                headers=self._headers(),
                server_hostname=self._access.tls_server_name or None,
                proxy=self._access.proxy or None,
                timeout=limits,
            ) as response:
                if response.status != 200:
                    raise api_error(response.status, _json(await response.read()))
                async for lines in _lines(response.content):
                    yield lines
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(f"{self._access.server}: watch {resource.plural}: {error}") from error

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        answer = _json(
            await self._send(method, path, body=body, query=query, content_type=content_type)
        )
        if not isinstance(answer, dict):
            raise self._garbled(method, path, "answer is no object")
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        """The body of an answer that is a success."""
        try:
            async with (
                asyncio.timeout(self._timeout.total_seconds()),
                self._session.request(
                    method,
                    self._access.server + path,
                    params=dict(query or {}),
                    data=None if body is None else json.dumps(body),
                    headers={**self._headers(), "Content-Type": content_type},
                    server_hostname=self._access.tls_server_name or None,
                    proxy=self._access.proxy or None,
                    allow_redirects=False,
                ) as response,
            ):
                answer = await response.read()
                if not 200 <= response.status < 300:
                    raise api_error(response.status, _json(answer))
        except TimeoutError as error:
            raise Unreachable(f"{self._access.server}: {method} {path}: no answer") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._garbled(method, path, error) from error
        return answer

    def _garbled(self, method: str, path: str, why: object) -> Unreachable:
        return Unreachable(f"{self._access.server}: {method} {path}: {why}")

    def _headers(self) -> dict[str, str]:
        told = self._access.authorization()
        accept = {"Accept": "application/json", "User-Agent": "mast"}
        return {**accept, "Authorization": told} if told else accept


def _json(body: bytes) -> Any:
    text = body.decode(errors="replace")
    try:
        return decoded(text)
    except ValueError:
        return {"message": text[:200]}


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[Sequence[bytes]]:
    """Whole lines, as many as are there; ValueError if one is longer than any object is."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise ValueError(f"an event is longer than {_LONGEST_LINE} bytes")
        if found := [line for line in lines if line.strip()]:
            yield found


def _selectors(labels: str, fields: str) -> dict[str, str]:
    named = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in named.items() if value}


def _typed(body: Object, resource: Resource) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **body}
