"""How exports reach a collector: OTLP over gRPC, or over HTTP in binary protobuf (OTLP 1.x)."""

from __future__ import annotations

import ssl
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from google.protobuf import message_factory
from google.protobuf.message import Message

from mast.mixer.adapters.datagrams import address_problem
from mast.mixer.adapters.fetching import post
from mast.mixer.adapters.opentelemetry.messages import (
    logs_service,
    metrics_service,
    trace_service,
)
from mast.mixer.adapters.remote.backend import Backend
from mast.mixer.adapters.remote.security import Metadata, Security, client_context
from mast.mixer.adapters.remote.tunnel import Tunnel
from mastapi.opentelemetry.v1.opentelemetry_pb2 import Params

_SCHEMES: Final = frozenset({"http", "https"})


class Signal(NamedTuple):
    """A kind of telemetry: its service in gRPC, its path in HTTP."""

    module: Any
    service: str
    path: str


METRICS: Final = Signal(metrics_service, "MetricsService", "v1/metrics")
LOGS: Final = Signal(logs_service, "LogsService", "v1/logs")
TRACES: Final = Signal(trace_service, "TraceService", "v1/traces")


class Transport(Protocol):
    """The way to one collector."""

    async def send(self, signal: Signal, request: Message, metadata: Metadata) -> None:
        """Send an export; AdapterError or OSError unless it is taken."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


class OverGrpc:
    """One connection, kept."""

    def __init__(self, params: Params) -> None:
        self._backend = Backend(params.address, _security(params), params.timeout.ToTimedelta())

    async def send(self, signal: Signal, request: Message, metadata: Metadata) -> None:
        """Call Export of the signal's service."""
        method = signal.module.DESCRIPTOR.services_by_name[signal.service].methods_by_name["Export"]
        path = f"/{method.containing_service.full_name}/{method.name}"
        response = message_factory.GetMessageClass(method.output_type)
        await self._backend.call(path, request, response, metadata)

    async def close(self) -> None:
        """Hang up."""
        await self._backend.close()


class OverHttp:
    """A connection for each export."""

    def __init__(self, params: Params) -> None:
        self._params = params
        self._url = params.address.rstrip("/")

    async def send(self, signal: Signal, request: Message, metadata: Metadata) -> None:
        """POST to the signal's path below the address."""
        await post(
            f"{self._url}/{signal.path}",
            request.SerializeToString(),
            "application/x-protobuf",
            self._params.timeout.ToTimedelta(),
            headers=metadata,
            tls=self._context(),
            server_name=self._params.tls.server_name,
        )

    def _context(self) -> ssl.SSLContext | None:
        if not self._params.HasField("tls"):
            return None
        found = _client_context(self._params.tls)
        found.set_alpn_protocols(["http/1.1"])
        return found

    async def close(self) -> None:
        """Nothing is open."""


def transport(params: Params) -> Transport:
    """The way that the address names."""
    return OverHttp(params) if "://" in params.address else OverGrpc(params)


def place_problem(params: Params) -> str:
    """Why the address leads nowhere, "" if it does."""
    address = params.address
    if "://" not in address:
        return address_problem(address)
    try:
        at = urlsplit(address)
        good = at.scheme in _SCHEMES and at.hostname and (at.port is None or at.port > 0)
    except ValueError:
        good = False
    if not good or at.query or at.fragment or at.username is not None:
        return f"address: {address!r} is not http(s)://HOST[:PORT][/PATH]"
    if at.scheme == "http" and params.HasField("tls"):
        return f"tls: the address {address!r} is without TLS"
    return ""


def _security(params: Params) -> Security:
    if not params.HasField("tls"):
        return Security()
    tls = params.tls
    return Security(
        Tunnel(params.address, tls.server_name, lambda: _client_context(tls), lambda _: "")
    )


def _client_context(tls: Params.Tls) -> ssl.SSLContext:
    found = client_context(tls.ca_certificates)
    if tls.client_certificate:
        found.load_cert_chain(tls.client_certificate, tls.private_key)
    return found
