"""Addresses and ports of a laptop mesh, given out so that nobody meets anybody."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection


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

    Two meshes of one machine differ in the second octet (inbound 64-127, outbound 128-191).
    """
    lane = int(tag, 16) % 64
    rest = f"{number >> 8}.{number & 0xFF}"
    return f"127.{64 + lane}.{rest}", f"127.{128 + lane}.{rest}"


def control(tag: str) -> str:
    """The loopback address that the control plane of the mesh ``tag`` has to itself (192-253)."""
    return f"127.{192 + int(tag, 16) % 62}.0.1"


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
