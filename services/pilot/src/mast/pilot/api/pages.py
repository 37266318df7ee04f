"""The debug pages, whoever asks for them: over HTTP or over xDS (pilot.md M1, B28)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

from mast.common.etcd import EtcdError
from mast.pilot.api.connection import Connection
from mast.pilot.api.connections import Connections
from mast.pilot.core.debug import mesh, proxies
from mast.pilot.core.model.finding import Finding
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.xds import registration
from mast.pilot.core.xds.access import BadQuestion, NotHere, Viewer
from mast.pilot.core.xds.config_dump import config_dump, resources
from mast.pilot.core.xds.redaction import plain_redacted
from mast.pilot.core.xds.report import (
    Replica,
    Stream,
    client_row,
    connection_row,
    distribution_row,
    rejection_rows,
    sync_row,
)
from mast.pilot.core.xds.resources import ECDS, EDS, NDS
from mast.pilot.core.xds.session import Session
from mastapi.registry.v1.registry_pb2 import Workload
from mastapi.status.v1.status_pb2 import ProxyStatus

_TRUE: Final = frozenset({"1", "true", "yes"})


@dataclass(frozen=True)
class Question:
    """A page that somebody wants to see, with the parameters given."""

    page: str
    parameters: Mapping[str, str]
    viewer: Viewer

    @classmethod
    def parse(cls, text: str, viewer: Viewer) -> "Question":
        """From a page and parameters as in a URL: `edsz?proxyID=web-1.shop`."""
        page, _, query = text.partition("?")
        return cls(page, dict(parse_qsl(query)), viewer)

    def flag(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.parameters.get(name, "").lower() in _TRUE


@dataclass(frozen=True)
class Sources:
    """Where pages read: streams of this replica, the newest snapshot, what is wrong, the store.

    `locate` finds the status of a proxy that some replica holds; it raises EtcdError. `registered`
    are the workloads that registered themselves with this replica.
    """

    connections: Connections
    snapshot: Callable[[], MeshSnapshot | None]
    findings: Callable[[], Iterable[Finding]]
    locate: Callable[[str], Awaitable[ProxyStatus | None]]
    replica: Replica
    registered: Callable[[], Sequence[Workload]] = tuple


class Pages:
    """Answers with JSON values; all that pages change is asked for by a parameter."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._connections = sources.connections
        self._pages: Mapping[str, tuple[str, Callable[[Question], Awaitable[Any]]]] = {
            "adsz": ("Connected clients; push=true sends everything again", self._adsz),
            "authorizationz": ("Authorization policies", self._of_mesh(mesh.authorization)),
            "cachez": ("Kept results, by what they are; clear=true forgets them", self._cachez),
            "clusterz": ("Clusters that report workloads", self._of_mesh(mesh.clusters)),
            "config_distribution": (
                "Up to which revision of the store each proxy has everything",
                self._distribution,
            ),
            "config_dump": ("Configuration of the proxy proxyID", self._config_dump),
            "configz": ("All configuration objects", self._of_mesh(mesh.configs)),
            "connections": ("Connected clients, in short", self._connected),
            "ecdsz": ("Extensions of the proxy proxyID", self._of_type(ECDS)),
            "edsz": ("Endpoints of the proxy proxyID", self._of_type(EDS)),
            "endpointShardz": ("All endpoints", self._of_mesh(mesh.endpoints)),
            "endpointz": ("All endpoints", self._of_mesh(mesh.endpoints)),
            "force_disconnect": ("Ends the stream of the proxy proxyID", self._force_disconnect),
            "gateway_statusz": (
                "Statuses of Gateway API objects",
                self._of_snapshot(mesh.gateway_statuses),
            ),
            "inject": ("Who injects sidecars", self._inject),
            "instancesz": ("Service ports that each proxy serves", self._instancesz),
            "list": ("These pages", self._list),
            "mesh": ("Settings of the mesh", self._of_mesh(mesh.mesh_settings)),
            "ndsz": ("Name table of the proxy proxyID", self._of_type(NDS)),
            "networkz": ("Gateways of other networks", self._of_snapshot(mesh.network_gateways)),
            "push_status": ("The push made last and what is wrong with it", self._push_status),
            "pushcontext": ("Policies and networks", self._of_snapshot(mesh.push_context)),
            "registryz": ("All services", self._of_mesh(mesh.services)),
            "resourcesz": ("Kinds of configuration", self._resourcesz),
            "sidecarz": ("What the proxy proxyID sees", self._sidecarz),
            "syncz": ("What proxies were sent and acknowledged", self._syncz),
            "telemetryz": ("Telemetry objects", self._of_mesh(mesh.telemetry)),
            "workloadz": ("Workloads that registered themselves here", self._workloadz),
        }

    @property
    def names(self) -> Mapping[str, str]:
        """What each page tells."""
        return {name: text for name, (text, _) in self._pages.items()}

    async def answer(self, question: Question) -> Any:
        """The page, without secrets; raises `BadQuestion`, `NotHere`, `NotAllowed`."""
        if question.page not in self._pages:
            raise NotHere(f"there is no page {question.page!r}; see list")
        question.viewer.check_page(question.page)
        found = await self._pages[question.page][1](question)
        return await asyncio.to_thread(plain_redacted, found)

    # This replica and its streams

    async def _list(self, _: Question) -> Any:
        return {f"/debug/{name}": text for name, text in self.names.items()}

    async def _workloadz(self, question: Question) -> Any:
        namespace = question.parameters.get("namespace")
        return [
            registration.entry(each)
            for each in self._sources.registered()
            if namespace in {None, each.namespace}
        ]

    async def _adsz(self, question: Question) -> Any:
        chosen = await self._chosen(question)
        push = self._connections.push
        if question.flag("push") and push is not None:
            now = self._connections.facilities.clock.instant()
            again = replace(push, number=self._connections.next_number(), started=now, resend=True)
            for each in chosen:
                each.offer(again)
        clients = [await self._of(each, client_row) for each in chosen]
        return {"totalClients": len(clients), "clients": clients}

    async def _syncz(self, question: Question) -> Any:
        namespace = question.parameters.get("namespace")
        return [
            await self._of(each, sync_row)
            for each in self._connections.proxies
            if namespace in {None, each.proxy.namespace}
        ]

    async def _distribution(self, question: Question) -> Any:
        namespace = question.parameters.get("namespace")
        return [
            await self._of(each, partial(distribution_row, revision=each.revision))
            for each in self._connections.proxies
            if namespace in {None, each.proxy.namespace}
        ]

    async def _connected(self, _: Question) -> Any:
        clients = [connection_row(each.stream) for each in self._connections.open.values()]
        return {"totalClients": len(clients), "clients": clients}

    async def _force_disconnect(self, question: Question) -> Any:
        connection = await self.connection(question)
        connection.close(self._connections.facilities.clock.instant())
        return {"disconnected": connection.name}

    async def _push_status(self, _: Question) -> Any:
        push = self._connections.push
        rejections = {
            each.proxy.id: await self._of(each, rejection_rows)
            for each in tuple(self._connections.open.values())
        }
        return {
            "push": None if push is None else push.number,
            "revision": None if push is None else push.snapshot.revision,
            "rejected": {proxy: types for proxy, types in rejections.items() if types},
            "conflicts": mesh.conflicts(self._sources.findings()),
        }

    async def _inject(self, _: Question) -> Any:
        return {
            "injector": "",
            "detail": "Nobody does: agents are started beside programs, as `mastctl run` does it.",
        }

    # One proxy

    async def _config_dump(self, question: Question) -> Any:
        types = frozenset(filter(None, question.parameters.get("types", "").split(",")))
        endpoints = question.flag("include_eds")
        return await self._of(
            await self.connection(question),
            lambda _, session: config_dump(session, types=types, endpoints=endpoints),
        )

    def _of_type(self, type_url: str) -> Callable[[Question], Awaitable[Any]]:
        async def page(question: Question) -> Any:
            return await self._of(
                await self.connection(question), lambda _, session: resources(session, type_url)
            )

        return page

    async def _sidecarz(self, question: Question) -> Any:
        proxy = (await self.connection(question)).proxy
        return await self._on(lambda snapshot: proxies.sidecar_scope(snapshot, proxy))

    async def _instancesz(self, question: Question) -> Any:
        chosen = [each.proxy for each in await self._chosen(question) if not each.proxy.generator]
        return await self._on(
            lambda snapshot: {each.id: proxies.served(snapshot, each) for each in chosen}
        )

    # The mesh

    def _of_mesh(self, tell: Callable[[Any], Any]) -> Callable[[Question], Awaitable[Any]]:
        """A page about an index, which does not change, made beside the loop."""

        async def page(_: Question) -> Any:
            return await asyncio.to_thread(tell, self._newest().index)

        return page

    def _of_snapshot(
        self, tell: Callable[[MeshSnapshot], Any]
    ) -> Callable[[Question], Awaitable[Any]]:
        async def page(_: Question) -> Any:
            return await self._on(tell)

        return page

    async def _resourcesz(self, _: Question) -> Any:
        return mesh.resource_kinds()

    async def _cachez(self, question: Question) -> Any:
        def tell(snapshot: MeshSnapshot) -> Any:
            if question.flag("clear"):
                snapshot.results.clear()
            sizes = snapshot.results.sizes()
            return {"total": len(snapshot.results), "results": dict(sorted(sizes.items()))}

        return await self._on(tell)

    # Where things are

    def _newest(self) -> MeshSnapshot:
        snapshot = self._sources.snapshot()
        if snapshot is None:
            raise NotHere("nothing is known of the mesh yet")
        return snapshot

    async def _on(self, tell: Callable[[MeshSnapshot], Any]) -> Any:
        """Something about the newest snapshot, computed where its results live."""
        snapshot = self._newest()
        return await self._connections.facilities.work(lambda: tell(snapshot))

    async def _of(self, connection: Connection, tell: Callable[[Stream, Session], Any]) -> Any:
        """Something about a connection, computed where its session lives."""
        return await self._connections.facilities.work(
            lambda: tell(connection.stream, connection.session.state)
        )

    async def _chosen(self, question: Question) -> tuple[Connection, ...]:
        """The proxy asked for, else all clients."""
        if question.parameters.get("proxyID"):
            return (await self.connection(question),)
        return tuple(self._connections.open.values())

    async def connection(self, question: Question) -> Connection:
        """The newest connection of the proxy `proxyID`; raises as `answer` does."""
        wanted = question.parameters.get("proxyID")
        if not wanted:
            raise BadQuestion("proxyID: name a proxy, NAME.NAMESPACE")
        found = [
            each
            for each in self._connections.open.values()
            if wanted in {each.proxy.id, each.proxy.node_id, each.name}
        ]
        if not found:
            raise NotHere(
                f"proxy {wanted!r} is not connected to {self._sources.replica.name};"
                f" {await self._elsewhere(wanted, question.viewer)}"
            )
        question.viewer.check_proxy(found[-1].proxy.namespace)
        return found[-1]

    async def _elsewhere(self, wanted: str, viewer: Viewer) -> str:
        """Where a proxy is that is not here (pilot.md M2)."""
        try:
            status = await self._sources.locate(wanted)
        except EtcdError as error:
            return f"it may be connected to another Pilot replica (unknown: {error})"
        if status is None:
            return "it may be connected to another Pilot replica, but none has said so"
        viewer.check_proxy(status.namespace)
        return f"it is connected to {status.pilot}"
