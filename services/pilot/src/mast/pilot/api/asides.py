"""What is told on ADS beside configuration: debug pages, and events (pilot.md B28)."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage

from mast.common.identity.spiffe import SpiffeId
from mast.pilot.api.connections import Connections
from mast.pilot.api.pages import Pages, Question
from mast.pilot.core.debug import events
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.access import (
    BadQuestion,
    Unauthenticated,
    Viewer,
    verify_generator,
    viewer,
)
from mast.pilot.core.xds.client_status import sync_status
from mast.pilot.core.xds.config_dump import dump
from mast.pilot.core.xds.resources import CLIENT_CONFIG, Resource, content_version, packed, resource

PAGE: Final = "istio.io/debug"
"""Pages by name, with parameters as in a URL: `edsz?proxyID=web-1.shop`."""

SYNC: Final = "istio.io/debug/syncz"
"""How far each proxy is, as ClientConfig."""

DUMP: Final = "istio.io/debug/config_dump"
"""The parts of one proxy's dump, which the name of the resource tells."""


class Asides:
    """Answers questions of those who proved who they are."""

    def __init__(self, connections: Connections, pages: Pages, system_namespace: str) -> None:
        self._connections = connections
        self._pages = pages
        self._system_namespace = system_namespace

    def admit(self, proxy: Proxy, identity: SpiffeId | None) -> None:
        """Raises `NotAllowed` or `Unauthenticated` unless the client may have its generator."""
        verify_generator(proxy, identity, self._system_namespace)

    async def answer(
        self, proxy: Proxy, identity: SpiffeId | None, type_url: str, names: Sequence[str]
    ) -> tuple[Resource, ...] | None:
        """What is told to a client that asks for names of a type; None if it waits for events.

        Raises `Unauthenticated`, `NotAllowed`, `BadQuestion`, `NotHere`.
        """
        if identity is None:
            raise Unauthenticated(f"{type_url}: a client certificate is required")
        who = viewer(identity.namespace, self._system_namespace)
        if type_url in events.EVENTS:
            return self._events(proxy, type_url)
        if type_url == SYNC:
            return await self._sync(who)
        if type_url == DUMP:
            return await self._dump(names, who)
        if type_url == PAGE:
            return tuple([await self._page(name, who) for name in names or ("list",)])
        if type_url.startswith(f"{PAGE}/"):
            page = type_url.removeprefix(f"{PAGE}/")
            asked = [f"{page}?proxyID={name}" for name in names] or [page]
            return tuple([await self._page(name, who) for name in asked])
        raise BadQuestion(f"type_url: {type_url!r} is not known")

    def _events(self, proxy: Proxy, type_url: str) -> tuple[Resource, ...] | None:
        if proxy.generator != "event":
            raise BadQuestion(f"type_url: {type_url!r} is for clients with GENERATOR 'event'")
        if type_url != events.CONNECT:
            return None
        return events.connected(each.proxy for each in self._connections.proxies)

    async def _sync(self, who: Viewer) -> tuple[Resource, ...]:
        who.check_page("syncz")
        found = []
        for each in self._connections.proxies:
            tell = partial(sync_status, each.stream, each.session.state)
            made = await self._connections.facilities.work(tell)
            found.append(resource(made.node.id, CLIENT_CONFIG, made))
        return tuple(found)

    async def _dump(self, names: Sequence[str], who: Viewer) -> tuple[Resource, ...]:
        if len(names) != 1:
            raise BadQuestion("resource_names: name one proxy, NAME.NAMESPACE")
        question = Question("config_dump", {"proxyID": names[0]}, who)
        connection = await self._pages.connection(question)
        parts = await self._connections.facilities.work(
            lambda: dump(connection.session.state, endpoints=True).configs
        )
        return tuple(map(_part, parts))

    async def _page(self, text: str, who: Viewer) -> Resource:
        question = Question.parse(text, who)
        body = json.dumps(await self._pages.answer(question)).encode()
        return packed(text, PAGE, (body,), content_version(body))


def _part(part: AnyMessage) -> Resource:
    kind = part.type_url.rpartition(".")[2]
    return packed(kind, part.type_url, (part.value,), content_version(part.value))
