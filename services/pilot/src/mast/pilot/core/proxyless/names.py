"""Names that gRPC's xDS client asks for: targets of channels, addresses of servers (B29)."""

from ipaddress import ip_address
from typing import Final, NamedTuple

from mast.pilot.core.model import hosts
from mast.pilot.core.model.model import Port, Protocol, Resolution, Service
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.ports.outbound_sockets import reaches_automatic_addresses
from mast.pilot.core.scope.scope import Scope

SERVER_LISTENER: Final = "xds.istio.io/grpc/lds/inbound/"
"""Begin of the listener names of servers; the address they listen on follows."""


class ServerAddress(NamedTuple):
    """What a server listens on; the address may stand for all."""

    address: str
    port: int


class Target(NamedTuple):
    """A service port that a client may call."""

    service: Service
    port: Port


def server_address(name: str) -> ServerAddress | None:
    """The address in the listener name of a server, None for any other name."""
    if not name.startswith(SERVER_LISTENER):
        return None
    text, _, number = name.removeprefix(SERVER_LISTENER).rpartition(":")
    address = text.removeprefix("[").removesuffix("]")
    try:
        ip_address(address)
    except ValueError:
        return None
    return ServerAddress(address, int(number)) if _is_port(number) else None


def target(name: str, scope: Scope, proxy: Proxy) -> Target | None:
    """What a client means by `HOST:PORT`; None if it may call nothing of that name.

    The host may be as short as in the virtual hosts of sidecars (pilot.md C4).
    """
    host, _, number = name.rpartition(":")
    if not _is_port(number):
        return None
    for full in hosts.full_names(host, proxy.namespace, scope.mesh.domain):
        service = scope.service(full)
        port = service.port(int(number)) if service else None
        if service is not None and port is not None and is_callable(service, port):
            return Target(service, port) if host in domains(service, proxy) else None
    return None


def is_callable(service: Service, port: Port) -> bool:
    """Whether a gRPC client can find endpoints of a service port by itself.

    There is no original destination to dial, and no proxy that resolves what it is asked for.
    """
    if port.protocol is Protocol.UDP:
        return False
    return (
        service.resolution is Resolution.STATIC
        or service.resolution.is_dns
        or (service.resolution is Resolution.PASSTHROUGH and service.headless)
    )


def domains(service: Service, proxy: Proxy) -> tuple[str, ...]:
    """Names of a service, without ports."""
    automatic = reaches_automatic_addresses(proxy)
    return hosts.domains(
        service, proxy.namespace, proxy.dns_domain, cluster=proxy.cluster_id, automatic=automatic
    )


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) < 65536
