"""Ports that a sidecar takes traffic for (pilot.md E8, E15)."""

from collections.abc import Sequence
from dataclasses import dataclass

from istio.networking.v1alpha3.gateway_pb2 import ServerTLSSettings
from istio.networking.v1alpha3.sidecar_pb2 import CaptureMode, IstioIngressListener
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Protocol, Service, Target
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.model.service_entries import protocol
from mast.pilot.core.ports.sockets import Socket, can_bind, captures
from mast.pilot.core.scope.scope import Scope


@dataclass(frozen=True, kw_only=True)
class Served:
    """A port of the workload: `number` is what it listens on, `service_port` what clients dial.

    It has a socket of its own where traffic is not captured. `tls` replaces mutual TLS where that
    is switched off.
    """

    number: int
    service_port: int
    protocol: Protocol
    service: Service | None = None
    socket: Socket | None = None
    tls: ServerTLSSettings | None = None


def served_ports(scope: Scope, proxy: Proxy, targets: Sequence[Target]) -> list[Served]:
    """Ports that the sidecar takes traffic for: those of a Sidecar's ingress, else of its services.

    Where traffic is not captured only ports count that the proxy says an application is behind.
    Services that share a port with an older one of another protocol are reported (E15, N12).
    """
    sidecar = scope.sidecar
    if sidecar is not None and sidecar.spec.ingress:
        wanted = (_ingress(each, proxy, targets) for each in sidecar.spec.ingress)
        unique = {each.number: each for each in reversed(list(wanted))}
        served = [unique[number] for number in sorted(unique)]
    else:
        served = _from_targets(scope, proxy, targets)
    return [
        each for each in served if each.socket is None or can_bind(proxy, scope.mesh, each.socket)
    ]


def _from_targets(scope: Scope, proxy: Proxy, targets: Sequence[Target]) -> list[Served]:
    """One entry per workload port; the oldest service has it (pilot.md E15, N12)."""
    found: dict[int, Served] = {}
    owners: dict[int, Target] = {}
    for target in sorted(targets, key=lambda each: (each.service.age, each.port.number)):
        number = target.target_port
        if not captures(proxy) and number not in proxy.app_endpoints:
            continue
        known = owners.get(number)
        if known is not None:
            if known.port.protocol is not target.port.protocol:
                scope.report(_conflict(target, known))
        elif target.port.protocol is not Protocol.UDP:
            owners[number] = target
            found[number] = Served(
                number=number,
                service_port=target.port.number,
                protocol=target.port.protocol,
                service=target.service,
                socket=None if captures(proxy) else _own_socket(proxy, number),
            )
    return [found[number] for number in sorted(found)]


def _conflict(loser: Target, winner: Target) -> Finding:
    """A service that shares a workload port with an older one of another protocol."""
    number = loser.target_port
    return Finding(
        fault=Fault.INBOUND_PORT,
        key=f"{number} {loser.service.host}:{loser.port.number}",
        message=(
            f"Workload port {number} speaks {winner.port.protocol or 'what the proxy finds out'},"
            f" as port {winner.port.number} of {winner.service.host} says, and not"
            f" {loser.port.protocol or 'what the proxy finds out'}, as port {loser.port.number}"
            f" of {loser.service.host} says: the older service wins."
        ),
        subject=loser.service.object_name,
        winner=winner.service.object_name,
    )


def _ingress(ingress: IstioIngressListener, proxy: Proxy, targets: Sequence[Target]) -> Served:
    number = ingress.port.number
    owners = [each for each in targets if number in (each.target_port, each.port.number)]
    owner = min(owners, key=lambda each: each.service.age, default=None)
    bound = not captures(proxy) or ingress.capture_mode == CaptureMode.NONE
    return Served(
        number=number,
        service_port=owner.port.number if owner else number,
        protocol=protocol(ingress.port.protocol, number),
        service=owner.service if owner else None,
        socket=_own_socket(proxy, number, ingress.bind) if bound else None,
        tls=ingress.tls if ingress.HasField("tls") else None,
    )


def _own_socket(proxy: Proxy, number: int, bind: str = "") -> Socket:
    return Socket(address=bind or proxy.ip_addresses[0], port=number, bound=True)
