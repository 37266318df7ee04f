"""The debug pages over HTTP, and who may see them (pilot.md M1, M2)."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import structlog
from aiohttp import web

from mast.common.process.monitoring import Handler, Readiness
from mast.pilot.api.pages import Pages, Question
from mast.pilot.core.xds.access import (
    BadQuestion,
    NotAllowed,
    NotHere,
    Unauthenticated,
    Viewer,
    viewer,
)
from mast.pilot.core.xds.report import Replica

log = structlog.get_logger()


def is_loopback(address: str) -> bool:
    """Callers on this machine."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Gate:
    """Lets callers from this machine see everything, others what their token is for (M2).

    `tokens` is a file with a line `TOKEN` or `TOKEN NAMESPACE` for each; a token without a
    namespace, or with the system namespace, opens all pages. The file may change at any time.
    """

    system_namespace: str
    tokens: Path | None = None
    trusted: Callable[[str], bool] = is_loopback

    def admit(self, address: str, authorization: str) -> Viewer:
        """What a caller may see; raises `Unauthenticated`."""
        if self.trusted(address):
            return Viewer()
        if self.tokens is None:
            raise Unauthenticated(
                "debug pages are for callers on this machine: no tokens are configured"
                " (--debug-token-file)"
            )
        scheme, _, shown = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("debug pages need a header 'Authorization: Bearer TOKEN'")
        try:
            known = _tokens(self.tokens.read_text())
        except OSError as error:
            log.warning("debug.tokens_unreadable", path=str(self.tokens), detail=str(error))
            raise Unauthenticated("the token file cannot be read") from error
        for token, namespace in known.items():
            if hmac.compare_digest(token.encode(), shown.strip().encode()):
                return viewer(namespace or self.system_namespace, self.system_namespace)
        raise Unauthenticated("the token is not one of those configured")


class DebugPages:
    """Serves the pages below `/debug`."""

    def __init__(self, pages: Pages, gate: Gate, replica: Replica) -> None:
        self._pages = pages
        self._gate = gate
        self._replica = replica

    @property
    def pages(self) -> Mapping[str, Handler]:
        """Handlers of the pages by path."""
        pages = {f"/debug/{name}": self._handler(name) for name in self._pages.names}
        return {"/debug": self._handler("list"), **pages}

    def routes(self, ready: Callable[[], Readiness]) -> Mapping[str, Handler]:
        """Handlers of the pages, and of what else is known of this replica, by path."""

        async def readiness(_: web.Request) -> web.Response:
            now = ready()
            body = {"ready": now.ready, **now.detail}
            return web.json_response(body, status=200 if now.ready else 503)

        async def version(_: web.Request) -> web.Response:
            return web.json_response({"version": self._replica.version, "id": self._replica.name})

        return {"/ready": readiness, "/version": version, **self.pages}

    def _handler(self, page: str) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            authorization = request.headers.get("authorization", "")
            try:
                who = self._gate.admit(request.remote or "", authorization)
                found = await self._pages.answer(Question(page, request.query, who))
            except Unauthenticated as error:
                raise web.HTTPUnauthorized(
                    text=f"{error}\n", headers={"www-authenticate": "Bearer"}
                ) from error
            except NotAllowed as error:
                raise web.HTTPForbidden(text=f"{error}\n") from error
            except BadQuestion as error:
                raise web.HTTPBadRequest(text=f"{error}\n") from error
            except NotHere as error:
                raise web.HTTPNotFound(text=f"{error}\n") from error
            return web.json_response(found)

        return handler


def _tokens(text: str) -> Mapping[str, str]:
    """Namespace by token, "" for the system namespace; `#` begins a comment."""
    found = {}
    for line in text.splitlines():
        token, _, namespace = line.partition("#")[0].strip().partition(" ")
        if token:
            found[token] = namespace.strip()
    return found
