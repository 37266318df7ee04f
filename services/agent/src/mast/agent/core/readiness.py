"""Is this proxy ready, and how busy is it: read from Envoy's own statistics (B6.2, B7)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CDS: Final = "cluster_manager.cds.update_success"
CDS_REJECTED: Final = "cluster_manager.cds.update_rejected"
LDS: Final = "listener_manager.lds.update_success"
LDS_REJECTED: Final = "listener_manager.lds.update_rejected"
STATE: Final = "server.state"
WORKERS: Final = "listener_manager.workers_started"
READINESS_FILTER: Final = (
    r"^(cluster_manager\.cds|listener_manager\.lds)\.update_(success|rejected)$"
    r"|^server\.state$|^listener_manager\.workers_started$"
)
CONNECTIONS_FILTER: Final = r"^listener\..*downstream_cx_active$"

_LIVE: Final = 0
_UNCOUNTED: Final = re.compile(r"^listener\.(admin\.|envoy_internal)|\.worker_\d+\.")

_TERMINATING: Final = "the proxy is terminating"

Stats = Mapping[str, int]


def stats(text: str) -> Stats:
    """Counters and gauges of the admin port's ``/stats``: ``name: value`` a line."""
    found = {}
    for line in text.splitlines():
        name, separator, value = line.rpartition(": ")
        if separator and value.isdecimal():
            found[name] = int(value)
    return found


@dataclass(slots=True)
class Readiness:
    """Why the proxy is not ready; once configured it stays so for ever (B7)."""

    names_needed: bool
    configured: bool = False
    names_known: bool = False
    terminating: bool = False

    def problems(self, seen: Stats | None) -> tuple[str, ...]:
        """Each condition that does not hold; empty if the proxy is ready.

        ``seen`` are statistics of Envoy, None if its admin port did not answer in time.
        """
        if self.terminating:
            return (_TERMINATING,)
        if seen is None:
            return ("Envoy's admin port does not answer",)
        self.configured = self.configured or bool(seen.get(CDS) and seen.get(LDS))
        found = []
        if not self.configured:
            found.append(
                f"no configuration yet: CDS {_updates(seen, CDS, CDS_REJECTED)},"
                f" LDS {_updates(seen, LDS, LDS_REJECTED)}"
            )
        if seen.get(STATE) != _LIVE:
            found.append(f"Envoy is not live: server.state {seen.get(STATE, 'unknown')}")
        if not seen.get(WORKERS):
            found.append("Envoy's workers have not started")
        return (*found, *self._names_missing())

    def problems_without_envoy(self) -> tuple[str, ...]:
        """The same for an agent that runs no Envoy (``DISABLE_ENVOY``)."""
        return (_TERMINATING,) if self.terminating else self._names_missing()

    def _names_missing(self) -> tuple[str, ...]:
        if self.names_needed and not self.names_known:
            return ("the DNS proxy has no name table yet",)
        return ()


def _updates(seen: Stats, success: str, rejected: str) -> str:
    return f"{seen.get(success, 0)} accepted, {seen.get(rejected, 0)} rejected"


def active_connections(seen: Stats, own_ports: frozenset[int]) -> int | None:
    """Connections of applications; None if Envoy keeps no such statistic (B6.2).

    Not counted: the admin port, ``own_ports`` (readiness, metrics), internal listeners, and the
    workers' shares of a listener's count.
    """
    counted = [
        value
        for name, value in seen.items()
        if name.startswith("listener.")
        and not _UNCOUNTED.search(name)
        and _port(name) not in own_ports
    ]
    return sum(counted) if counted else None


def _port(name: str) -> int | None:
    """The port of ``listener.ADDRESS_PORT.downstream_cx_active``."""
    port = name.removesuffix(".downstream_cx_active").rpartition("_")[2]
    return int(port) if port.isdecimal() else None
