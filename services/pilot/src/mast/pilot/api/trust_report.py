"""Tells Citadel how many of the proxies here confirmed the roots of the mesh (A8.5)."""

from collections.abc import Awaitable, Callable, Hashable
from datetime import datetime
from typing import Final

from mast.common.keys import trust_status_key
from mast.pilot.api.connection import Connection
from mast.pilot.api.connections import PROXIES
from mast.pilot.core.model.index import Index
from mast.pilot.core.xds.holders import Holders, confirmed
from mastapi.status.v1.status_pb2 import TrustStatus

Changed = Callable[[str, object, Callable[[], Awaitable[TrustStatus]]], None]

SERVICE: Final = "pilot"


class TrustReport:
    """Work follows change: an answer or a push of one proxy costs one comparison.

    ``index`` is the newest state of the mesh, ``changed`` gets the status written by and by.
    """

    def __init__(
        self, replica: str, since: datetime, index: Callable[[], Index], changed: Changed
    ) -> None:
        self._reporter = f"{SERVICE}-{replica}"
        self._since = since
        self._index = index
        self._changed = changed
        self._holders = Holders()

    def observe(self, connection: Connection) -> None:
        """A proxy may have confirmed something."""
        if connection.proxy.generator in PROXIES:
            index, session = self._index(), connection.session.state
            held = confirmed(session, index.generation, _sequence(index))
            if self._holders.observe(connection, held):
                self.renewed()

    def gone(self, connection: Connection) -> None:
        """A proxy is not connected any more."""
        if self._holders.gone(connection):
            self.renewed()

    def renewed(self) -> None:
        """What there is to tell has changed, or what it is compared with."""
        self._changed(trust_status_key(self._reporter), self, self._status)

    async def _status(self) -> TrustStatus:
        index = self._index()
        status = TrustStatus(reporter=self._reporter, trust_domain=index.mesh.trust_domain)
        status.since.FromDatetime(self._since)
        return self._holders.fill(status, _sequence(index), _name)


def _sequence(index: Index) -> int:
    bundle = index.trust.get(index.mesh.trust_domain)
    return bundle.sequence if bundle is not None else 0


def _name(connection: Hashable) -> str:
    return connection.proxy.node_id if isinstance(connection, Connection) else str(connection)
