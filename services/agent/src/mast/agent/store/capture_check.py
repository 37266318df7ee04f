"""Checks that connections are captured, as the proxy's user would see it (C4, validation)."""

import socket
import struct
from contextlib import ExitStack
from dataclasses import dataclass

SO_ORIGINAL_DST = 80
IP6T_SO_ORIGINAL_DST = 80
PROBE_PORT = 15002
PROBE_SECONDS = 5


@dataclass(frozen=True)
class Captured:
    """The address that a captured connection was for."""

    host: str
    port: int


def check(ports: tuple[int, int], *, ipv6: bool = False) -> str:
    """Connect from the proxy's user to its own source address: rule 10 must redirect it.

    ``ports`` are those of outbound and inbound capture. Gives "" or what went wrong.
    """
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    host = "::6" if ipv6 else "127.0.0.6"
    with ExitStack() as stack:
        listeners = [stack.enter_context(_listener(family, port)) for port in ports]
        probe = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        probe.settimeout(PROBE_SECONDS)
        try:
            # Left to itself IPv6 would take ::6, the proxy's source address: rule 9 lets that pass.
            probe.bind(("::1" if ipv6 else "127.0.0.1", 0))
            probe.connect((host, PROBE_PORT))
        except OSError as error:
            return f"no rule captured a connection to {host}:{PROBE_PORT}: {error}"
        for listener in listeners:
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, TimeoutError):
                continue
            with connection:
                found = original_destination(connection)
                if found.port == PROBE_PORT:
                    return ""
                return f"captured, but the original port is {found.port}, want {PROBE_PORT}"
    return f"a connection to {host}:{PROBE_PORT} was accepted by another program"


def _listener(family: int, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))  # noqa: S104
    listener.listen()
    listener.settimeout(0.2)
    return listener


def original_destination(connection: socket.socket) -> Captured:
    """Where a redirected connection was going (netfilter's SO_ORIGINAL_DST)."""
    if connection.family == socket.AF_INET6:
        raw = connection.getsockopt(socket.IPPROTO_IPV6, IP6T_SO_ORIGINAL_DST, 28)
        port = struct.unpack_from("!H", raw, 2)[0]
        return Captured(socket.inet_ntop(socket.AF_INET6, raw[8:24]), port)
    raw = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    return Captured(socket.inet_ntoa(raw[4:8]), struct.unpack_from("!H", raw, 2)[0])
