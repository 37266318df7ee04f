"""One cluster's API server: get, list, watch and write objects (Kubernetes API, "API concepts")."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

import aiohttp

from mast.common.kubernetes.access import Access
from mast.common.kubernetes.decoding import decoded
from mast.common.kubernetes.errors import Expired, Unreachable, api_error
from mast.common.kubernetes.objects import Object, Resource, name_of, namespace_of, version_of

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


@dataclass(frozen=True)
class WatchEvent:
    """ADDED, MODIFIED, DELETED, or a BOOKMARK, whose object has a resourceVersion only."""

    type: str
    object: Object


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

    @property
    def namespace(self) -> str:
        """The namespace that the access belongs to."""
        return self._access.namespace

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """One object."""
        return await self._call("GET", resource.path(namespace, name))

    async def list(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing:
        """All objects, of all namespaces if none is given, read in pages.

        If the server forgets the listing meanwhile, it is read once more in one piece.
        """
        selectors = _selectors(labels, fields)
        try:
            return await self._paged(resource.path(namespace), selectors, resource)
        except Expired:
            whole = await self._call("GET", resource.path(namespace), query=selectors)
            return Listing(_items(whole, resource), version_of(whole))

    async def _paged(self, path: str, selectors: Mapping[str, str], resource: Resource) -> Listing:
        objects: list[Object] = []
        more = ""
        while True:
            query = {**selectors, "limit": str(PAGE), **({"continue": more} if more else {})}
            page = await self._call("GET", path, query=query)
            objects += _items(page, resource)
            more = str(page.get("metadata", {}).get("continue") or "")
            if not more:
                return Listing(tuple(objects), version_of(page))

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

    async def apply(self, resource: Resource, body: Object, *, force: bool = False) -> Object:
        """Make an object have these fields, by server-side apply; creates it if it is not there.

        What we applied before and do not now is removed. Conflict if others own fields that would
        change, unless it is by force.
        """
        path = resource.path(namespace_of(body), name_of(body))
        query = {"fieldManager": FIELD_MANAGER, "force": str(force).lower()}
        kind = "application/apply-patch+yaml"  # of which JSON is a part
        return await self._call(
            "PATCH", path, body=_typed(body, resource), query=query, content_type=kind
        )

    async def delete(
        self, resource: Resource, name: str, namespace: str = "", *, uid: str = ""
    ) -> None:
        """Delete an object; with ``uid`` only that very one (else Conflict)."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1"}
        options: Object = {**body, "preconditions": {"uid": uid}} if uid else dict(body)
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
    ) -> AsyncGenerator[WatchEvent, None]:
        """What happens after ``version``, for ``seconds`` at most; use it under ``aclosing``.

        Raises Expired if the server does not know that version any more, at once or in between.
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
                    raise api_error(response.status, await _json(response))
                async for line in response.content:
                    if line.strip():
                        yield _event(line)
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
                answer = await _json(response)
                if not 200 <= response.status < 300:
                    raise api_error(response.status, answer)
        except TimeoutError as error:
            raise Unreachable(f"{self._access.server}: {method} {path}: no answer") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(f"{self._access.server}: {method} {path}: {error}") from error
        if not isinstance(answer, dict):
            raise Unreachable(f"{self._access.server}: {method} {path}: answer is no object")
        return answer

    def _headers(self) -> dict[str, str]:
        told = self._access.authorization()
        accept = {"Accept": "application/json", "User-Agent": "mast"}
        return {**accept, "Authorization": told} if told else accept


async def _json(response: aiohttp.ClientResponse) -> Any:
    text = await response.text()
    try:
        return decoded(text)
    except ValueError:
        return {"message": text[:200]}


def _selectors(labels: str, fields: str) -> dict[str, str]:
    named = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in named.items() if value}


def _items(page: Mapping[str, Any], resource: Resource) -> tuple[Object, ...]:
    """The objects of a list, which leaves out what all of them have in common."""
    common = {"apiVersion": resource.api_version, "kind": resource.kind}
    return tuple({**common, **item} for item in page.get("items") or ())


def _typed(body: Object, resource: Resource) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **body}


def _event(line: bytes) -> WatchEvent:
    event = decoded(line.decode())
    kind, found = str(event["type"]), event["object"]
    if kind == "ERROR":
        raise api_error(500, found)
    return WatchEvent(kind, found)
