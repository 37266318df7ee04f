"""The debug pages over HTTP, in Istio's shapes (pilot.md M1, M2)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, replace
from functools import wraps
from ipaddress import ip_address
from typing import Any, Final

from aiohttp import web
from google.protobuf.json_format import MessageToDict

from mast.common.monitoring import Handler, Readiness
from mast.pilot.api.connection import Connection
from mast.pilot.api.connections import Connections
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.model import Config
from mast.pilot.core.xds.config_dump import config_dump, resources
from mast.pilot.core.xds.report import Replica, client_row, rejection_rows, sync_row
from mast.pilot.core.xds.resources import ECDS, EDS, NDS
from mast.pilot.core.xds.session import Session

Page = Callable[[web.Request], Awaitable[Any]]

_TRUE: Final = frozenset({"1", "true", "yes"})


class DebugPages:
    """Reads the connections of this replica and the newest index; changes nothing of them."""

    def __init__(
        self, connections: Connections, index: Callable[[], Index], replica: Replica
    ) -> None:
        self._connections = connections
        self._index = index
        self._replica = replica
        self._pages: Mapping[str, tuple[str, Page]] = {
            "adsz": ("Connected proxies; push=true sends everything again", self._adsz),
            "syncz": ("What proxies were sent and acknowledged", self._syncz),
            "connections": ("Connected proxies, in short", self._connected),
            "config_dump": ("Configuration of the proxy proxyID", self._config_dump),
            "edsz": ("Endpoints of the proxy proxyID", self._of_type(EDS)),
            "ndsz": ("Name table of the proxy proxyID", self._of_type(NDS)),
            "ecdsz": ("Extensions of the proxy proxyID", self._of_type(ECDS)),
            "configz": ("All configuration objects", self._configz),
            "registryz": ("All services", self._registryz),
            "endpointz": ("All endpoints", self._endpointz),
            "endpointShardz": ("All endpoints", self._endpointz),
            "mesh": ("Settings of the mesh", self._mesh),
            "push_status": ("The push made last and what proxies reject of it", self._push_status),
            "force_disconnect": ("Ends the stream of the proxy proxyID", self._force_disconnect),
            "list": ("These pages", self._list),
        }

    def routes(self, ready: Callable[[], Readiness]) -> Mapping[str, Handler]:
        """Handlers by path; callers from elsewhere than this machine get 403 (M2)."""

        async def readiness(_: web.Request) -> web.Response:
            now = ready()
            body = {"ready": now.ready, **now.detail}
            return web.json_response(body, status=200 if now.ready else 503)

        async def version(_: web.Request) -> web.Response:
            return web.json_response({"version": self._replica.version, "id": self._replica.name})

        pages = {f"/debug/{name}": _local(page) for name, (_, page) in self._pages.items()}
        return {
            "/ready": readiness,
            "/version": version,
            "/debug": _local(self._list),
            **pages,
        }

    async def _list(self, _: web.Request) -> Any:
        return {f"/debug/{name}": text for name, (text, _) in self._pages.items()}

    async def _adsz(self, request: web.Request) -> Any:
        chosen = tuple(self._connections.open.values())
        if request.query.get("proxyID"):
            chosen = (self._connection(request),)
        push = self._connections.push
        if request.query.get("push", "").lower() in _TRUE and push is not None:
            now = self._connections.facilities.clock.instant()
            again = replace(push, number=self._connections.next_number(), started=now, resend=True)
            for each in chosen:
                each.offer(again)
        clients = [await self._of(each, client_row) for each in chosen]
        return {"totalClients": len(clients), "clients": clients}

    async def _syncz(self, request: web.Request) -> Any:
        namespace = request.query.get("namespace")
        return [
            await self._of(each, sync_row)
            for each in tuple(self._connections.open.values())
            if namespace in {None, each.proxy.namespace}
        ]

    async def _connected(self, _: web.Request) -> Any:
        clients = [
            {
                "connectionId": each.name,
                "connectedAt": each.connected_at.isoformat(),
                "address": each.peer.address,
            }
            for each in self._connections.open.values()
        ]
        return {"totalClients": len(clients), "clients": clients}

    async def _config_dump(self, request: web.Request) -> Any:
        types = frozenset(filter(None, request.query.get("types", "").split(",")))
        endpoints = request.query.get("include_eds", "").lower() in _TRUE
        return await self._of(
            self._connection(request),
            lambda _, session: config_dump(session, types=types, endpoints=endpoints),
        )

    def _of_type(self, type_url: str) -> Page:
        async def page(request: web.Request) -> Any:
            return await self._of(
                self._connection(request), lambda _, session: resources(session, type_url)
            )

        return page

    async def _configz(self, _: web.Request) -> Any:
        collections = self._index().collections
        return await asyncio.to_thread(
            lambda: [_object(each) for found in collections.values() for each in found]
        )

    async def _registryz(self, _: web.Request) -> Any:
        services = self._index().services
        return await asyncio.to_thread(
            lambda: [_plain(asdict(each)) for found in services.values() for each in found]
        )

    async def _endpointz(self, _: web.Request) -> Any:
        endpoints = self._index().endpoints
        return await asyncio.to_thread(
            lambda: [
                {
                    "svc": key.host,
                    "namespace": key.namespace,
                    "ep": [_plain(asdict(each)) for each in found],
                }
                for key, found in endpoints.items()
            ]
        )

    async def _mesh(self, _: web.Request) -> Any:
        return MessageToDict(self._index().mesh.config)

    async def _push_status(self, _: web.Request) -> Any:
        push = self._connections.push
        rejections = {
            each.proxy.id: await self._of(each, rejection_rows)
            for each in tuple(self._connections.open.values())
        }
        return {
            "push": None if push is None else push.number,
            "revision": None if push is None else push.snapshot.revision,
            "rejected": {proxy: types for proxy, types in rejections.items() if types},
        }

    async def _force_disconnect(self, request: web.Request) -> Any:
        connection = self._connection(request)
        connection.close(self._connections.facilities.clock.instant())
        return {"disconnected": connection.name}

    def _connection(self, request: web.Request) -> Connection:
        """The newest connection of the proxy `proxyID`; 400 without it, 404 if it is not here."""
        wanted = request.query.get("proxyID")
        if not wanted:
            raise web.HTTPBadRequest(text="proxyID: name a proxy, NAME.NAMESPACE\n")
        found = [
            each
            for each in self._connections.open.values()
            if wanted in {each.proxy.id, each.proxy.node_id, each.name}
        ]
        if not found:
            raise web.HTTPNotFound(
                text=f"proxy {wanted!r} is not connected to {self._replica.name};"
                " it may be connected to another Pilot replica\n"
            )
        return found[-1]

    async def _of(self, connection: Connection, tell: Callable[[Any, Session], Any]) -> Any:
        """Something about a connection, computed where its session lives."""
        return await self._connections.facilities.work(
            lambda: tell(connection.stream, connection.session.state)
        )


def _local(page: Page) -> Handler:
    """A handler that answers with JSON, and only to callers on this machine."""

    @wraps(page)
    async def handler(request: web.Request) -> web.Response:
        if not ip_address(request.remote or "0.0.0.0").is_loopback:  # noqa: S104
            raise web.HTTPForbidden(text="debug pages are for callers on this machine\n")
        return web.json_response(await page(request))

    return handler


def _object(config: Config[Any]) -> Mapping[str, Any]:
    """A configuration object as it would be written in YAML."""
    meta = config.meta
    return {
        "apiVersion": f"{meta.group}/{meta.api_version}",
        "kind": meta.kind,
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "labels": dict(meta.labels),
            "annotations": dict(meta.annotations),
            "resourceVersion": meta.version,
        },
        "spec": MessageToDict(config.spec),
    }


def _plain(value: Any) -> Any:
    """The value in terms of JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Iterable):
        return [_plain(each) for each in value]
    return value
