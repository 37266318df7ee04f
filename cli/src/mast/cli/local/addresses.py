"""Addresses and ports of a laptop mesh, given out so that nobody meets anybody."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from typing import Final

_INBOUND: Final = ipaddress.IPv4Network("127.64.0.0/10")
_OUTBOUND: Final = ipaddress.IPv4Network("127.128.0.0/10")
_CONTROL: Final = ipaddress.IPv4Network("127.192.0.0/11")


def workload_number(taken: Collection[int]) -> int:
    """The smallest free workload number, from 1."""
    number = 1
    while number in taken:
        number += 1
    return number


def in_subnet(subnet: str, number: int) -> str:
    """Address of workload ``number`` on the bridge; the gateway is the subnet's first host."""
    return str(ipaddress.ip_network(subnet)[9 + number])


def gateway(subnet: str) -> str:
    """The bridge's own address."""
    return str(ipaddress.ip_network(subnet)[1])


def on_loopback(tag: str, number: int) -> tuple[str, str]:
    """Inbound and outbound loopback addresses of workload ``number`` in the mesh ``tag``.

    Inbound ones are in 127.64.0.0/10, outbound ones in 127.128.0.0/10. Every tag has 64 of each
    before it meets the next one.
    """
    offset = (int(tag, 16) * 64 + number) % _INBOUND.num_addresses
    return str(_INBOUND[offset]), str(_OUTBOUND[offset])


def control(tag: str) -> str:
    """The loopback address in 127.192.0.0/11 that the control plane of a mesh has to itself."""
    return str(_CONTROL[int(tag, 16) * 32 + 1])


def port(host: str, preferred: int) -> int:
    """``preferred`` if it can be bound on ``host``, else a free one."""
    for candidate in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {host}")
